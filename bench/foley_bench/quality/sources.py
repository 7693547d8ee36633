"""What makes clips: a bundle through the `foley` package, the reference in torch, and the procedures themselves."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

import foley
from foley.errors import UsageError
from foley_bench.parity.figures import load_quietly
from foley_bench.parity.hifigan import ReferenceVocoder, load_vocoder
from foley_bench.parity.reference import (
    PICTURE_HEIGHT,
    PIXELS_PER_COLUMN,
    PipelineReference,
    denormalise,
    make_scheduler,
)
from foley_bench.quality.asks import Ask, Setting
from foley_export.demo_model.sounds import CLIP_SAMPLES, SAMPLE_RATE_HZ, render

CLIP_S: Final = CLIP_SAMPLES / SAMPLE_RATE_HZ  # 2.56 s
COLUMNS: Final = 32  # 2.56 s of latent columns of 80 ms
REAL_SEED: Final = 20260103

Samples = NDArray[np.float32]


class Source(Protocol):
    """Something that makes clips."""

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def clips(self, asks: Sequence[Ask], setting: Setting) -> list[Samples]:
        """Make a clip for each ask, float32 [40960] in [-1,1]; the asks' seeds count up by one."""
        ...


class RealSounds:
    """The sounds that the captions describe, rendered anew: what a perfect model would make."""

    name = "real sounds"

    def clips(self, asks: Sequence[Ask], setting: Setting) -> list[Samples]:  # noqa: ARG002 — nothing to set
        """Render each ask's scene; its seed decides what the scene leaves open."""
        return [render(ask.scene, np.random.default_rng([REAL_SEED, ask.seed])) for ask in asks]


class BundleSource:
    """A bundle in the runtime, driven as its users drive it."""

    def __init__(self, pipeline: foley.Pipeline, name: str) -> None:
        """Take a loaded pipeline.

        Raises:
            UsageError: its sample rate is not that of the checks.
        """
        rate_hz = pipeline.bundle.manifest.audio.sample_rate_hz
        if rate_hz != SAMPLE_RATE_HZ:
            raise UsageError(f"{pipeline.bundle.folder} makes {rate_hz} Hz, expected {SAMPLE_RATE_HZ}: the demo model")
        self.name = name
        self._pipeline = pipeline

    def clips(self, asks: Sequence[Ask], setting: Setting) -> list[Samples]:
        """Generate all asks in one call and one batch."""
        made = self._pipeline.generate(
            [ask.caption for ask in asks],
            seconds=CLIP_S,
            sampler=setting.sampler,
            steps=setting.steps,
            guidance=setting.guidance,
            seed=asks[0].seed,
            max_batch=len(asks),
        )
        return [clip.samples for clip in made]


class TorchSource:
    """diffusers' StableDiffusionPipeline and the authors' vocoder in float32, several clips at once."""

    name = "torch fp32"

    def __init__(self, pipeline: Any, vocoder: ReferenceVocoder) -> None:  # noqa: ANN401 — diffusers has no types
        """Take the pipeline, with its checkpoint's scheduler, and the vocoder."""
        self._pipeline, self._vocoder = pipeline, vocoder
        self._scheduler_config = pipeline.scheduler.config

    @torch.no_grad()
    def clips(self, asks: Sequence[Ask], setting: Setting) -> list[Samples]:
        """Generate all asks in one batch; each draws its noise from a generator of its own."""
        self._pipeline.scheduler = make_scheduler(setting.sampler, self._scheduler_config)
        pictures = self._pipeline(
            [ask.caption for ask in asks],
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            height=PICTURE_HEIGHT,
            width=PIXELS_PER_COLUMN * COLUMNS,
            generator=[torch.Generator("cpu").manual_seed(ask.seed) for ask in asks],
            output_type="pt",
        ).images
        return [self._vocoder(denormalise(picture[None]))[0].numpy() for picture in pictures]


def load_torch(checkpoint: Path) -> TorchSource:
    """Load the reference of a checkpoint without adapters.

    Raises:
        UsageError: the checkpoint has adapters.
    """
    reference = load_quietly(checkpoint)
    if not isinstance(reference, PipelineReference):
        raise UsageError(f"{checkpoint} has condition adapters; the demo model's layout has none, give its checkpoint")
    return TorchSource(reference.pipeline, load_vocoder(checkpoint / "vocoder"))
