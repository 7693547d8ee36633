"""Measure how far this machine's engine is from the references, in dB of signal over error."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

import diffusers
import torch
import transformers

import foley
from foley.errors import EngineError
from foley.manifest import Precision
from foley.verify import SNR_FLOOR_DB, GraphReport, snr_db
from foley_bench.checkpoints.write import Layout
from foley_bench.parity.bundles import Bundles
from foley_bench.parity.reference import SCHEDULERS, Reference, Setting, Sound, load_reference
from foley_export.libraries import quiet_libraries

LAYOUTS: Final[tuple[Layout, ...]] = ("no-adapter", "adapter")
PRECISIONS: Final[tuple[Precision, ...]] = ("fp32", "fp16", "bf16")
REFERENCES: Final[dict[Layout, str]] = {
    "no-adapter": "diffusers' StableDiffusionPipeline",
    "adapter": "Auffusion's adapter recipe",
}
CLIP_SETTINGS: Final = (Setting("pndm", 100), Setting("dpmpp-2m", 25))
CLIP_FLOOR_DB: Final[dict[Precision, float]] = {"fp32": 60.0, "fp16": 50.0, "bf16": 20.0}
"""The least of a whole clip's waveform: a hundred steps add up what one step rounds."""
SAMPLER_STEPS: Final = 12
THREADS: Final = 1
SAMPLER_FLOOR_DB: Final = {"latents": 90.0, "waveform": 60.0}


@dataclass(frozen=True)
class Figure:
    """One row of the table."""

    engine: str
    precision: Precision
    what: str
    against: str
    snr_db: float
    floor_db: float

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What is measured, without the outcome."""
        return self.engine, self.precision, self.what, self.against

    @property
    def passed(self) -> bool:
        """Whether the figure is at or above its floor."""
        return self.snr_db >= self.floor_db


@dataclass(frozen=True, eq=False)
class Comparison:
    """A clip of ours against the reference's, in dB."""

    latents_db: float
    samples_db: float


def measure(bundles: Bundles, engine: str = "cpu", tell: Callable[[str], None] = lambda _: None) -> list[Figure]:
    """Measure every row of the table; the references run in torch on the CPU."""
    with one_thread():
        return list(_measure(bundles, engine, tell))


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: on graphs this small a second one only waits, forty times as long on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _measure(bundles: Bundles, engine: str, tell: Callable[[str], None]) -> Iterator[Figure]:
    reference = cache(lambda layout: load_quietly(bundles.checkpoint(layout)))
    for precision in PRECISIONS:
        tell(f"graphs in {precision}")
        yield from graph_figures(bundles, engine, precision)
    for layout in LAYOUTS:
        tell(f"whole clips, {layout}")
        yield from clip_figures(bundles, engine, layout, reference(layout))
    tell("samplers")
    yield from sampler_figures(bundles, engine, reference("no-adapter"))


def load_quietly(checkpoint: Path) -> Reference:
    """Load a checkpoint's reference without the libraries' log lines and progress bars."""
    for library in (diffusers, transformers):
        library.utils.logging.disable_progress_bar()
    try:
        with quiet_libraries():
            return load_reference(checkpoint)
    finally:
        for library in (diffusers, transformers):
            library.utils.logging.enable_progress_bar()


def graph_figures(bundles: Bundles, engine: str, precision: Precision) -> Iterator[Figure]:
    """Run both bundles' graphs on their recordings; of a graph that both have, the worse."""
    worst: dict[str, GraphReport] = {}
    for layout in LAYOUTS:
        for report in _reports(bundles, engine, layout, precision):
            if report.graph not in worst or report.snr_db < worst[report.graph].snr_db:
                worst[report.graph] = report
    for name, report in sorted(worst.items()):
        kept = "" if report.precision == precision else f", kept {report.precision}"
        what = f"graph `{name}`{kept or _emulated(engine, precision)}"
        yield Figure(engine, precision, what, "torch, same weights", report.snr_db, report.floor_db)


def _reports(bundles: Bundles, engine: str, layout: Layout, precision: Precision) -> Iterator[GraphReport]:
    """Run a bundle's graphs; an emulation counts as what it emulates."""
    graphs = foley.load_bundle(bundles.bundle(layout, precision)).manifest.graphs
    bundle = foley.load_bundle(bundles.runnable(layout, precision, engine))
    for report in foley.verify(bundle, engine=engine, threads=THREADS):
        computed = graphs[report.graph].precision
        yield replace(report, precision=computed, floor_db=SNR_FLOOR_DB[computed])


def _emulated(engine: str, precision: Precision) -> str:
    return ", emulated in float32" if (engine, precision) == ("cpu", "bf16") else ""


def clip_figures(bundles: Bundles, engine: str, layout: Layout, reference: Reference) -> Iterator[Figure]:
    """Compare the waveforms of whole clips in every precision."""
    expected = {setting: reference.generate(setting) for setting in CLIP_SETTINGS}
    for precision in PRECISIONS:
        bundle = bundles.runnable(layout, precision, engine)
        with foley.load(bundle, engine=engine, threads=THREADS) as pipeline:
            for setting, sound in expected.items():
                how = f"{setting.steps} steps, guidance {setting.guidance:g}{_emulated(engine, precision)}"
                figure = compare(pipeline, setting, sound).samples_db
                what = f"whole clip, `{setting.sampler}` {how}"
                yield Figure(engine, precision, what, REFERENCES[layout], figure, CLIP_FLOOR_DB[precision])


def sampler_figures(bundles: Bundles, engine: str, reference: Reference) -> Iterator[Figure]:
    """Compare a short clip by every sampler with diffusers' class: each one's waveform, and the worst latents."""
    compared: dict[str, Comparison] = {}
    with foley.load(bundles.bundle("no-adapter", "fp32"), engine=engine, threads=THREADS) as pipeline:
        for sampler in SCHEDULERS:
            setting = Setting(sampler, SAMPLER_STEPS)
            compared[sampler] = compare(pipeline, setting, reference.generate(setting))
    latents = min(found.latents_db for found in compared.values())
    what, floors = f"latents after {SAMPLER_STEPS} steps, the worst sampler", SAMPLER_FLOOR_DB
    yield Figure(engine, "fp32", what, "diffusers' schedulers", latents, floors["latents"])
    for sampler, found in compared.items():
        what, against = f"clip, `{sampler}` {SAMPLER_STEPS} steps", f"diffusers' `{SCHEDULERS[sampler][0]}`"
        yield Figure(engine, "fp32", what, against, found.samples_db, floors["waveform"])


def compare(pipeline: foley.Pipeline, setting: Setting, expected: Sound) -> Comparison:
    """Generate a reference's clip with a bundle and compare latents and waveform.

    Raises:
        EngineError: ours has a length that the reference has not.
    """
    audio, latents = pipeline.bundle.manifest.audio, pipeline.bundle.manifest.latents
    column_s = audio.hop_samples * latents.frames_per_column / audio.sample_rate_hz
    (clip,) = pipeline.generate(
        setting.prompt,
        seconds=setting.columns * column_s,
        steps=setting.steps,
        sampler=setting.sampler,
        guidance=setting.guidance,
        negative=setting.negative,
        seed=setting.seed,
    )
    if clip.samples.shape != expected.samples.shape:
        raise EngineError(f"the clip has {len(clip.samples)} samples, the reference {len(expected.samples)}")
    return Comparison(snr_db(expected.latents, clip.latents), snr_db(expected.samples, clip.samples))
