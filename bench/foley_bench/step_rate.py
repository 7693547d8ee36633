"""Denoising steps a second: a bundle in an engine beside diffusers in torch, eager and compiled, in one run.

    python -m foley_bench.step_rate BUNDLE --engine cuda --checkpoint CHECKPOINT --results bench/results/gpu.jsonl

All do the same: guided steps (two U-Net rows a clip) with the sampler's arithmetic, from the same half-precision
weights. They take turns, round after round, so that what disturbs one disturbs all. A step counts from the first launch
of a round to the end of its last.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final, cast

import click
import torch
from torch import Tensor, nn

import foley
from foley.generation import Generation
from foley_bench.rows import append, row
from foley_engines import CudaSetup, Setup, TensorRtSetup, choose

GUIDANCE: Final = 7.5
PROMPT: Final = "a dog barking in the rain"
SCHEDULERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", {"algorithm_type": "dpmsolver++", "solver_order": 2}),
}
PEAK_SIZE: Final = 8192
"""Rows and columns of the matrices whose product stands for the device's best."""


@dataclass(frozen=True)
class Task:
    """What is timed."""

    sampler: str
    """A key of `SCHEDULERS`."""
    steps: int
    clips: int
    seconds: float


Contestant = Callable[[Task], float]
"""Does a task's loop; gives its seconds."""


def foley_loop(pipeline: foley.Pipeline) -> Contestant:
    """Give a bundle's loop: the generation, without decoding."""

    def run(task: Task) -> float:
        generation = _generation(pipeline, task)
        begin = time.perf_counter()
        for _ in generation:
            pass
        return time.perf_counter() - begin  # the last step has read its latents back

    return run


def torch_loop(unet: nn.Module, checkpoint: Path, context: Tensor, shape: tuple[int, ...]) -> Contestant:
    """Give diffusers' loop, as StableDiffusionPipeline has it. `context` is [2,L,D], unconditional first."""

    def run(task: Task) -> float:
        scheduler = _scheduler(checkpoint, task.sampler)
        scheduler.set_timesteps(task.steps, device=context.device)
        rows = context.repeat_interleave(task.clips, dim=0)
        latents = torch.randn(task.clips, *shape, device=context.device, dtype=context.dtype)
        _synchronise(context.device)
        begin = time.perf_counter()
        with torch.no_grad():
            for timestep in scheduler.timesteps:
                latents = _torch_step(unet, scheduler, latents, timestep, rows)
        _synchronise(context.device)
        return time.perf_counter() - begin

    return run


def race(contestants: dict[str, Contestant], task: Task, rounds: int) -> dict[str, list[float]]:
    """Let contestants take turns, after one unmeasured round each; give each one's steps a second, round by round."""
    for run in contestants.values():
        run(task)
    evaluations = task.steps + (task.sampler == "pndm")
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            rates[name].append(evaluations / run(task))
    return rates


def clip_timings(pipeline: foley.Pipeline, task: Task) -> dict[str, float]:
    """Give a whole batch's times in ms, prompts to waveforms, of a second generation."""
    for _ in range(2):
        begin = time.perf_counter()
        generation = _generation(pipeline, task)
        for _ in generation:
            pass
        clips = generation.clips()
        total = (time.perf_counter() - begin) * 1e3
    timings = clips[0].timings
    stages = {
        "text_encoder_ms": timings.text_encoder_ms,
        "denoise_ms": timings.denoise_ms,
        "latent_decoder_ms": timings.latent_decoder_ms,
        "vocoder_ms": timings.vocoder_ms,
    }
    return {name: round(value, 2) for name, value in {**stages, "batch_ms": total}.items()}


def peak_tflops(device: torch.device, size: int = PEAK_SIZE, repeats: int = 20) -> float:
    """Measure the device's product of two half matrices in TFLOP/s."""
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    _ = left @ right
    _synchronise(device)
    begin = time.perf_counter()
    for _ in range(repeats):
        _ = left @ right
    _synchronise(device)
    return 2 * size**3 * repeats / (time.perf_counter() - begin) / 1e12


def row_flops(unet: nn.Module, context: Tensor, shape: tuple[int, ...]) -> float:
    """Count the operations of one U-Net row, twice the multiply-adds."""
    from torch.utils.flop_counter import FlopCounterMode

    latents = torch.zeros(1, *shape, device=context.device, dtype=context.dtype)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(latents, torch.zeros(1, device=context.device), context[:1])
    return float(counter.get_total_flops())


def _generation(pipeline: foley.Pipeline, task: Task) -> Generation:
    knobs = pipeline.request(
        PROMPT, count=task.clips, max_batch=task.clips, steps=task.steps, sampler=task.sampler, guidance=GUIDANCE,
        seconds=task.seconds,
    )  # fmt: skip
    return pipeline.start(knobs)


def _torch_step(unet: nn.Module, scheduler: Any, latents: Tensor, timestep: Tensor, rows: Tensor) -> Tensor:  # noqa: ANN401
    both = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
    none, prompt = unet(both, timestep, rows).sample.chunk(2)
    stepped: Tensor = scheduler.step(none + GUIDANCE * (prompt - none), timestep, latents).prev_sample
    return stepped


def _scheduler(checkpoint: Path, sampler: str) -> Any:  # noqa: ANN401
    import diffusers

    name, options = SCHEDULERS[sampler]
    own = diffusers.PNDMScheduler.from_pretrained(checkpoint / "scheduler")
    return getattr(diffusers, name).from_config(own.config, **options)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _contestants(
    pipeline: foley.Pipeline,
    engine: str,
    unet: nn.Module | None,
    checkpoint: Path | None,
    seconds: float,
    compiled: bool,
) -> Iterator[tuple[str, Contestant]]:
    """Give the bundle's loop, and diffusers' beside it."""
    yield f"foley {engine}", foley_loop(pipeline)
    if unet is None or checkpoint is None:
        return
    rows, shape = context_of(pipeline, unet), shape_of(pipeline, seconds)
    yield "diffusers eager", torch_loop(unet, checkpoint, rows, shape)
    if compiled:
        faster = cast("nn.Module", torch.compile(unet, mode="max-autotune", fullgraph=True))
        yield "diffusers torch.compile", torch_loop(faster, checkpoint, rows, shape)


def load_unet(checkpoint: Path, device: torch.device) -> nn.Module:
    """Load a checkpoint's U-Net, in half on a GPU."""
    from diffusers import UNet2DConditionModel

    dtype = torch.float16 if device.type == "cuda" else torch.float32
    unet: nn.Module = UNet2DConditionModel.from_pretrained(checkpoint / "unet", torch_dtype=dtype)
    return unet.to(device).eval()


def context_of(pipeline: foley.Pipeline, unet: nn.Module) -> Tensor:
    """Encode no prompt and the prompt with the bundle's text encoder: [2,L,D] of the U-Net's type and device."""
    weight = next(unet.parameters())
    none, encoded = pipeline.prompts.unconditional, pipeline.prompts.encode([PROMPT])[PROMPT]
    return torch.stack([torch.from_numpy(each["context"].copy()) for each in (none, encoded)]).to(weight)


def shape_of(pipeline: foley.Pipeline, seconds: float) -> tuple[int, int, int]:
    """Give the shape [C,H,W] of latents of a length."""
    manifest = pipeline.bundle.manifest
    return manifest.latents.shape(pipeline.request(PROMPT, seconds=seconds).columns(manifest.latents, manifest.audio))


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path, exists=True))
@click.option("--engine", default="cuda", show_default=True, help="cpu, cuda or tensorrt.")
@click.option("--plans", type=click.Path(path_type=Path), help="Folder of TensorRT plans; in the bundle by default.")
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="Run diffusers beside it.")
@click.option("--compile/--no-compile", "compiled", default=True, show_default=True, help="torch.compile as well.")
@click.option("--clips", type=click.IntRange(min=1), multiple=True, default=(1, 4, 16), show_default=True)
@click.option("--sampler", "samplers", type=click.Choice(list(SCHEDULERS)), multiple=True, default=tuple(SCHEDULERS))
@click.option("--steps", type=click.IntRange(min=2), help="100 of pndm and 25 of dpmpp-2m where left out.")
@click.option("--seconds", type=float, default=10.24, show_default=True)
@click.option("--rounds", type=click.IntRange(min=1), default=5, show_default=True)
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), help="File of JSON lines to add rows to.")
def main(
    bundle: Path,
    engine: str,
    plans: Path | None,
    checkpoint: Path | None,
    clips: Sequence[int],
    samplers: Sequence[str],
    steps: int | None,
    seconds: float,
    rounds: int,
    results: Path | None,
    *,
    compiled: bool,
) -> None:
    """Measure steps a second of BUNDLE in an engine."""
    device = torch.device("cpu" if engine == "cpu" else "cuda")
    unet = load_unet(checkpoint, device) if checkpoint else None
    with foley.load(bundle, engine=_setup(engine, plans)) as pipeline:
        facts = _facts(pipeline, engine, device)
        for sampler in samplers:
            for count in clips:
                task = Task(sampler, steps or {"pndm": 100, "dpmpp-2m": 25}[sampler], count, seconds)
                contestants = dict(_contestants(pipeline, engine, unet, checkpoint, seconds, compiled))
                figures = _figures(race(contestants, task, rounds), clip_timings(pipeline, task), unet, pipeline, task)
                measured = row("steps a second", {**facts, **vars(task), "rounds": rounds}, figures)
                print(measured["configuration"], figures, flush=True)
                if results is not None:
                    append(results, measured)


def _setup(engine: str, plans: Path | None) -> Setup:
    kind = choose(engine).setup
    if kind is TensorRtSetup:
        return TensorRtSetup(plans=plans)
    return CudaSetup() if kind is CudaSetup else kind()


def _facts(pipeline: foley.Pipeline, engine: str, device: torch.device) -> dict[str, Any]:
    """Say what ran, and how near its graphs were to torch when they were exported."""
    manifest = pipeline.bundle.manifest
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    snr_db = {graph: facts.snr_db for graph, facts in manifest.graphs.items()}
    return {
        "bundle": pipeline.bundle.folder.name,
        "engine": engine,
        "device": name,
        "precision": manifest.precision,
        "snr_db": snr_db,
        "peak_tflops": round(peak_tflops(device, PEAK_SIZE if device.type == "cuda" else 256), 1),
    }


def _figures(
    rates: dict[str, list[float]],
    timings: dict[str, float],
    unet: nn.Module | None,
    pipeline: foley.Pipeline,
    task: Task,
) -> dict[str, Any]:
    medians = {name: round(median(found), 2) for name, found in rates.items()}
    figures: dict[str, Any] = {"steps_per_s": medians, "clip": timings, "rates": rates}
    if unet is not None:
        flops = row_flops(unet, context_of(pipeline, unet), shape_of(pipeline, task.seconds)) * 2 * task.clips
        figures["tflops"] = {name: round(rate * flops / 1e12, 3) for name, rate in medians.items()}
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        figures["device_memory_used_gib"] = round((total - free) / 2**30, 2)
    return figures


if __name__ == "__main__":
    main()
