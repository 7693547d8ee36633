"""One clip, its stages clocked apart."""

import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foley.generation import Generation
from foley.pipeline import Pipeline
from foley.request import Request
from foley_bench.timing import Spread, spread

STAGES: Final = ("text_encoder", "denoising", "latent_decoder", "vocoder", "audio_write", "host")


@dataclass(frozen=True)
class ClipTimes:
    """Where the time of one call went, in milliseconds; of a batch, of all its clips."""

    text_encoder: float
    """Prompts to conditioning, tokenizer included."""
    steps: tuple[float, ...]
    """Each U-Net evaluation with the sampler's arithmetic. On a GPU the host runs ahead by two: their sum is right."""
    latent_decoder: float
    vocoder: float
    audio_write: float
    """16-bit WAV files."""
    whole: float
    """From the request to the last file."""

    @property
    def denoising(self) -> float:
        """All steps."""
        return sum(self.steps)

    @property
    def host(self) -> float:
        """What is in no stage: noise, tables, checks, binding."""
        return self.whole - self.text_encoder - self.denoising - self.latent_decoder - self.vocoder - self.audio_write


def clock_clip(pipeline: Pipeline, request: Request) -> ClipTimes:
    """Generate and write a request's clips, and clock it."""
    with tempfile.TemporaryDirectory(prefix="foley-bench-") as folder:
        begin = time.perf_counter()
        generation = pipeline.start(request)
        steps = tuple(_steps_ms(generation))
        clips = generation.clips()
        written = time.perf_counter()
        for number, clip in enumerate(clips):
            clip.save(Path(folder) / f"{number}.wav")
        end = time.perf_counter()
    return ClipTimes(
        text_encoder=clips[0].timings.text_encoder_ms,
        steps=steps,
        latent_decoder=sum(clip.timings.latent_decoder_ms for clip in clips),
        vocoder=sum(clip.timings.vocoder_ms for clip in clips),
        audio_write=(end - written) * 1e3,
        whole=(end - begin) * 1e3,
    )


def _steps_ms(generation: Generation) -> list[float]:
    times, begin = list[float](), time.perf_counter()
    for _ in generation:
        end = time.perf_counter()
        times.append((end - begin) * 1e3)
        begin = end
    return times


def stage_spreads(clips: Sequence[ClipTimes]) -> dict[str, Spread]:
    """Describe each stage over repeats, a single step, and the whole, in milliseconds."""
    found = {stage: spread([getattr(clip, stage) for clip in clips]) for stage in STAGES}
    every_step = [step for clip in clips for step in clip.steps]
    return {**found, "denoise_step": spread(every_step), "whole": spread([clip.whole for clip in clips])}
