"""Prompt to waveform: encode, denoise, decode, vocode, each through a bound graph."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from foley.bundle import Bundle, load_bundle
from foley.clip import Clip, Timings
from foley.contract import DENOISE_STEP, LATENT_DECODER, LATENTS, MEL, VOCODER, WAVEFORM
from foley.demo_bundle import demo_bundle
from foley.denoise import GROWABLE, Batch, Latents, Slot, Step
from foley.errors import EngineError, RequestError
from foley.gate import Gate
from foley.graph_files import graph_file
from foley.guidance import Conditioning, Row, guide
from foley.loras import Lora, Overlay, write_overlay
from foley.noise import NoiseStream
from foley.prompt import Part, Prompt, PromptEncoder
from foley.request import Knobs, Request, make_request
from foley.samplers import sampler_table
from foley_engines import Engine, Host, Setup, open_host
from foley_engines.registry import check_engine, engine_of, setup_of
from foley_engines.setups import Tell, tell_nobody

OnStep = Callable[[Step], None]


class Pipeline:
    """A bundle's graphs in one engine. Graphs are loaded when they are first needed, and freed by `close`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str | Setup = "cpu",
        threads: int | None = None,
        loras: Sequence[Lora] = (),
    ) -> None:
        """Take a loaded bundle, an engine's name or its setup, and what `use_loras` takes.

        Raises:
            EngineUnavailableError: the engine cannot run here, or not this bundle; the message says what would help.
            UsageError: `threads` is given for another engine than the CPU's, or out of range; or as `use_loras`.
        """
        setup = setup_of(engine, threads)
        bundle.check_engine(engine_of(setup).name)
        self.bundle = bundle
        self._host: Host = open_host(setup)
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        self._gate = Gate()
        self._overlay: Overlay | None = None
        self.loras: tuple[Lora, ...] = ()
        """What `use_loras` was given last."""
        with _closed_on_error(self):
            self.use_loras(loras)

    def use_loras(self, loras: Sequence[Lora], *, tell: Tell = tell_nobody) -> None:
        """Generate with these LoRAs in the weights, and no others, from now on; with none, as exported, bit for bit.

        Weights are always computed from the bundle's own and written to a temporary folder, which takes as much room as
        the weights of the graphs that change; `tell` hears of it. Those graphs are loaded again when they are next
        needed. A `Generation` that was started before stops with an error at its next step.

        Raises:
            BundleError: the bundle does not say where its matrices lie.
            UsageError: a LoRA cannot be read or does not fit, or there is no room; the pipeline is as it was then.
        """
        chosen = tuple(loras)
        overlay = write_overlay(self.bundle, chosen, tell)
        with self._gate.alone(), self._loading:
            former, self._overlay, self.loras = self._overlay, overlay, chosen
            for each in (former, overlay):
                self._forget(each.graphs(self.bundle) if each is not None else [])
        if former is not None:
            former.close()

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        latents: NDArray[np.float32] | None = None,
        on_step: OnStep | None = None,
        **knobs: Unpack[Knobs],
    ) -> list[Clip]:
        """Generate clips, `count` for each prompt.

        Args:
            prompts: a text, weighted `Part`s that guide one clip together, or several of either.
            latents: starting noise float32 [clips,C,H,W] of unit variance, in place of the seeds' first draw.
            on_step: called after each graph call.
            knobs: seconds, steps, guidance, sampler, seed, negative, count and more: see `foley.request.Knobs`.

        Raises:
            RequestError: a knob is out of range.
            EngineError: a graph fails.
        """
        generation = self.start(self.request(prompts, **knobs), latents=latents)
        for step in generation:
            if on_step is not None:
                on_step(step)
        return generation.clips()

    def request(self, prompts: Prompt | Sequence[Prompt], **knobs: Unpack[Knobs]) -> Request:
        """Fill and check a request for `start`.

        Raises:
            RequestError: a knob is out of range.
        """
        return make_request(self.bundle.manifest.defaults, prompts, **knobs)

    def start(self, request: Request, *, latents: NDArray[np.float32] | None = None) -> "Generation":
        """Encode a request's prompts and stand ready to denoise, step by step, as the caller iterates.

        Raises:
            RequestError: the sampler, its options, the guidance or the latents do not fit.
        """
        return Generation(self, request, latents)

    def decode(self, latents: Latents) -> NDArray[np.float32]:
        """Decode latents [C,H,W] to log-mel [M,T]; any step's latents will do, for a preview."""
        return self._run_one(LATENT_DECODER, LATENTS, MEL, latents)

    def vocode(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn log-mel [M,T] into a waveform [N] in [-1,1]."""
        return self._run_one(VOCODER, MEL, WAVEFORM, mel)

    def render(self, latents: Latents) -> "Rendering":
        """Decode latents [C,H,W] and vocode the mel, which stays where the engine has it until both are done."""
        begin = time.perf_counter()
        decoder = self.graph(LATENT_DECODER).bind(**{LATENTS: (1, *latents.shape)})
        with closing(decoder):
            decoder[LATENTS].write(np.ascontiguousarray(latents[None]))
            decoder.run()
            decoder.wait()
            decoded = time.perf_counter()
            with closing(self.graph(VOCODER).bind(**{MEL: decoder[MEL].shape})) as vocoder:
                vocoder[MEL].take(decoder[MEL])
                vocoder.run()
                samples = cast("NDArray[np.float32]", vocoder[WAVEFORM].read()[0])
            ended = time.perf_counter()
            mel = cast("NDArray[np.float32]", decoder[MEL].read()[0])
        return Rendering(mel, samples, (decoded - begin) * 1e3, (ended - decoded) * 1e3)

    def graph(self, name: str) -> Engine:
        """Give a graph, loaded."""
        with self._loading:
            if name not in self._engines:
                self._engines[name] = self._host.open(graph_file(self.bundle, name, self._overlay))
            return self._engines[name]

    @contextmanager
    def steady(self) -> Iterator[Overlay | None]:
        """Keep the weights as they are while the block runs; gives what tells them from others.

        `use_loras` waits for it, so the block must not call that.
        """
        with self._gate.passing():
            yield self._overlay

    @cached_property
    def prompts(self) -> PromptEncoder:
        """The text encoders."""
        conditioning = self.bundle.manifest.conditioning
        graphs = {encoder.graph: self.graph(encoder.graph) for encoder in conditioning.encoders}
        return PromptEncoder(conditioning, self.bundle.folder, graphs)

    def close(self) -> None:
        """Free every graph, and the engine's library; the pipeline must not be used any more."""
        self.__dict__.pop("prompts", None)
        self._engines.clear()
        self._host.close()
        if self._overlay is not None:
            self._overlay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self, graphs: Sequence[str]) -> None:
        """Close graphs, where they are loaded; and let prompts be encoded anew, where one of them encodes."""
        for name in graphs:
            if name in self._engines:
                self._engines.pop(name).close()
        if any(encoder.graph in graphs for encoder in self.bundle.manifest.conditioning.encoders):
            self.__dict__.pop("prompts", None)

    def _run_one(self, graph: str, given: str, wanted: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        session = self.graph(graph).bind(**{given: (1, *value.shape)})
        try:
            session[given].write(np.ascontiguousarray(value[None]))
            session.run()
            return cast("NDArray[np.float32]", session[wanted].read()[0])
        finally:
            session.close()


@dataclass(frozen=True, eq=False)
class Rendering:
    """What latents sound like."""

    mel: NDArray[np.float32]
    """Log-mel [M,T]."""
    samples: NDArray[np.float32]
    """Waveform [N] in [-1,1], the latents' whole length."""
    decode_ms: float
    vocode_ms: float


class Generation:
    """A request on its way. Iterate to denoise; stop iterating to cancel; then take the clips."""

    def __init__(self, pipeline: Pipeline, request: Request, latents: NDArray[np.float32] | None = None) -> None:
        self._pipeline = pipeline
        self.request = request
        manifest = pipeline.bundle.manifest
        self._table = sampler_table(
            request.sampler, manifest.schedule, request.steps, eta=request.eta, spacing=request.spacing
        )
        columns = request.columns(manifest.latents, manifest.audio)
        self._shape = manifest.latents.shape(columns)
        self._check_latents(latents)
        with pipeline.steady() as self._weights:
            begin = time.perf_counter()
            self._slots = self._make_slots(latents)
            self._encode_ms = _since(begin)
            self._batches = self._arranged()
        self._denoise_ms: list[float] = []
        self._steps = self._denoise()

    @property
    def total_steps(self) -> int:
        """Graph calls in all."""
        return len(self._batches) * len(self._table.timesteps)

    def __iter__(self) -> Iterator[Step]:
        """Denoise, batch after batch, or go on where an earlier loop stopped.

        Each `Step` counts over the whole request. A step raises RequestError where the pipeline's LoRAs were changed
        after the generation was started.
        """
        return self._steps

    def _arranged(self) -> list[Batch]:
        """Split the clips into batches, and make the engine ready for each before the first step of any."""
        denoiser, size = self._pipeline.graph(DENOISE_STEP), self.request.max_batch
        parts = [self._slots[first : first + size] for first in range(0, len(self._slots), size)]
        batches = [Batch(denoiser, part) for part in parts]
        denoiser.prepare([denoiser.fit(shapes, GROWABLE) for batch in batches for shapes in batch.arrangements()])
        self._pipeline.graph(LATENT_DECODER).prepare([{LATENTS: (1, *self._shape)}])
        return batches

    def _denoise(self) -> Iterator[Step]:
        done = 0
        for batch in self._batches:
            self._denoise_ms.append(0.0)
            steps = iter(batch)
            for _ in self._table.timesteps:
                self._advance(steps)
                done += 1
                yield Step(done, self.total_steps, batch)

    def _advance(self, steps: Iterator[Step]) -> None:
        """Go one step with the weights that the generation was started with."""
        with self._pipeline.steady() as weights:
            if weights is not self._weights:
                raise RequestError("the pipeline's LoRAs were changed after this generation was started; start it anew")
            begin = time.perf_counter()
            next(steps)
            self._denoise_ms[-1] += _since(begin)

    def clips(self) -> list[Clip]:
        """Decode and vocode the finished latents.

        Raises:
            RequestError: the loop has not run to its end.
        """
        unfinished = sum(not slot.done for slot in self._slots)
        if unfinished:
            raise RequestError(f"{unfinished} clips are not denoised yet; iterate the generation to its end first")
        return [self._clip(index, slot.latents) for index, slot in enumerate(self._slots)]

    def _clip(self, index: int, latents: Latents) -> Clip:
        audio = self._pipeline.bundle.manifest.audio
        rendered = self._pipeline.render(latents)
        _check_finite(latents, rendered.mel, rendered.samples)
        denoise_ms, steps = self._denoise_ms[index // self.request.max_batch], len(self._table.timesteps)
        timings = Timings(self._encode_ms, denoise_ms, steps, rendered.decode_ms, rendered.vocode_ms)
        return Clip(
            prompt=_title(self.request.prompts[index]),
            seed=self.request.seeds[index],
            samples=rendered.samples[: self.request.samples(audio)],
            sample_rate_hz=audio.sample_rate_hz,
            hop_samples=audio.hop_samples,
            latents=latents,
            mel=rendered.mel,
            timings=timings,
        )

    def _make_slots(self, latents: NDArray[np.float32] | None) -> list[Slot]:
        encoded, none = self._encoded()
        slots = []
        for index, (prompt, seed) in enumerate(zip(self.request.prompts, self.request.seeds, strict=True)):
            rows = [Row(encoded[part.text], part.weight) for part in prompt]
            guidance = guide(rows, none, scale=self.request.guidance, stop=self.request.guidance_stop)
            noise = NoiseStream(seed)
            start = noise.normal(self._shape) if latents is None else latents[index]
            slots.append(Slot(self._table, guidance, noise, start * np.float32(self._table.initial_scale)))
        return slots

    def _encoded(self) -> tuple[dict[str, Conditioning], Conditioning]:
        """Encode every text of the request, and what stands for no prompt."""
        encoder, negative = self._pipeline.prompts, self.request.negative
        texts = [part.text for prompt in self.request.prompts for part in prompt]
        if negative is None:
            return encoder.encode(texts), encoder.unconditional
        encoded = encoder.encode([*texts, negative])
        return encoded, encoded[negative]

    def _check_latents(self, latents: NDArray[np.float32] | None) -> None:
        expected = (len(self.request.prompts), *self._shape)
        if latents is None:
            return
        if not isinstance(latents, np.ndarray):
            raise RequestError(f"latents are a {type(latents).__name__}, expected float32 {list(expected)}")
        if latents.shape != expected or latents.dtype != np.float32:
            raise RequestError(f"latents are {latents.dtype} {list(latents.shape)}, expected float32 {list(expected)}")


def load(
    bundle: str | Path | None = None,
    *,
    engine: str | Setup = "cpu",
    threads: int | None = None,
    loras: Sequence[Lora] = (),
    verify_files: bool = True,
) -> Pipeline:
    """Load a bundle for an engine; without one, the demo bundle.

    `engine` is "cpu", "cuda", "tensorrt", or a setup of one that says more, such as `foley_engines.TensorRtSetup`.
    `threads` is the number of cores for one operator on the CPU (None: all); `loras` are put into the weights, as by
    `Pipeline.use_loras`; `verify_files=False` skips the digests of the files.

    Raises:
        BundleError: the bundle is missing, damaged or newer than this foley.
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        UsageError: `threads` is given for another engine than the CPU's, or out of range; or a LoRA does not fit.
    """
    check_engine(engine)
    folder = demo_bundle() if bundle is None else bundle
    return Pipeline(load_bundle(folder, verify_files=verify_files), engine=engine, threads=threads, loras=loras)


@contextmanager
def _closed_on_error(pipeline: Pipeline) -> Iterator[None]:
    """Close a pipeline where the block fails: nobody gets it then."""
    try:
        yield
    except BaseException:
        pipeline.close()
        raise


def _check_finite(latents: Latents, mel: NDArray[np.float32], samples: NDArray[np.float32]) -> None:
    """Refuse to hand out silence or noise for a sound.

    Raises:
        EngineError: a stage gave NaN or infinity; the first such stage is named.
    """
    for stage, values in ((DENOISE_STEP, latents), (LATENT_DECODER, mel), (VOCODER, samples)):
        if not np.isfinite(values).all():
            raise EngineError(f"{stage} gave NaN or infinity; a bundle of --precision fp32 does not overflow")


def _title(prompt: tuple[Part, ...]) -> str:
    """Join a prompt's parts as a person would read them."""
    return " + ".join(part.text if part.weight == 1 else f"{part.text} ({part.weight:g})" for part in prompt)


def _since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1e3
