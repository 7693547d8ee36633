"""Twelve captions as a picture of spectrograms, with the checks that passed and failed, and WAV files beside it."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from transformers.audio_utils import hertz_to_mel

import foley
from foley_bench.prompt_following import Check, checks
from foley_bench.quality.asks import Ask
from foley_bench.quality.sources import CLIP_S
from foley_export.demo_model.mel import MEL_BINS, log_mel
from foley_export.demo_model.sounds import SAMPLE_RATE_HZ

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS: Final = 3
TICKS_HZ: Final = (250, 500, 1000, 2000, 4000, 8000)
QUIETEST, LOUDEST = -7.0, 3.0
"""Natural log of the mel magnitudes of the darkest and brightest colours, the same in all pictures: levels show."""
COLOURS: Final = 96
"""A third of the file's size for what nobody sees."""
WRAP: Final = 52
UNBROKEN: Final = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True, eq=False)
class Picture:
    """One clip of the gallery."""

    clip: foley.Clip
    checks: tuple[Check, ...]

    @property
    def title(self) -> str:
        """The caption, and below it what passed and what failed."""
        lines = textwrap.wrap(f"“{self.clip.prompt}”", WRAP)
        found = ", ".join(describe(check).replace(" ", UNBROKEN) for check in self.checks)
        return "\n".join([*lines, *textwrap.wrap(found, WRAP)])


def describe(check: Check) -> str:
    """Say what a check asked, and what it found instead."""
    if check.passed:
        return f"✓ {check.attribute} {check.asked}"
    found = check.measured if isinstance(check.measured, str) else f"{check.measured:.3g}"
    return f"✗ {check.attribute} {check.asked} (was {found})"


def make_gallery(pipeline: foley.Pipeline, asks: Sequence[Ask], folder: Path) -> Path:
    """Generate the asks with the bundle's own defaults; write `gallery.png`, whose path is given, and a WAV each."""
    folder.mkdir(parents=True, exist_ok=True)
    made = pipeline.generate([ask.caption for ask in asks], seconds=CLIP_S, seed=asks[0].seed)
    for number, clip in enumerate(made):
        clip.save(folder / f"{number:02}.wav")
    found = [Picture(clip, checks(clip.samples, ask.scene)) for clip, ask in zip(made, asks, strict=True)]
    return draw_gallery(found, folder / "gallery.png")


def draw_gallery(pictures: Sequence[Picture], target: Path) -> Path:
    """Draw the spectrograms, three in a row, and give the picture's path."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt
    from PIL import Image

    rows = -(-len(pictures) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4.6 * COLUMNS, 3.2 * rows), squeeze=False)
    for axis in axes.flat[len(pictures) :]:
        axis.axis("off")
    for number, (axis, picture) in enumerate(zip(axes.flat, pictures, strict=False)):
        _draw(axis, picture, f"{number:02}.wav: ")
    figure.tight_layout()
    figure.savefig(target, dpi=90)
    plt.close(figure)
    with Image.open(target) as drawn:
        few = drawn.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE)
    few.save(target, optimize=True)
    return target


def _draw(axis: "Axes", picture: Picture, prefix: str) -> None:
    mel = log_mel(torch.from_numpy(picture.clip.samples[None]))[0].numpy()
    axis.imshow(mel, origin="lower", aspect="auto", extent=(0, CLIP_S, 0, MEL_BINS), vmin=QUIETEST, vmax=LOUDEST)
    axis.set_yticks([bin_of(hz) for hz in TICKS_HZ], [str(hz) for hz in TICKS_HZ], fontsize=7)
    axis.tick_params(axis="x", labelsize=7)
    axis.set_xlabel("s", fontsize=8)
    axis.set_ylabel("Hz", fontsize=8)
    passed = all(check.passed for check in picture.checks)
    axis.set_title(prefix + picture.title, fontsize=8, loc="left", color="darkgreen" if passed else "firebrick")


def bin_of(hz: float) -> float:
    """Give the height of a frequency in a picture of 256 bins, each one high: bins are even in Slaney's mel scale."""
    mel = hertz_to_mel(np.array([float(hz), SAMPLE_RATE_HZ / 2]), mel_scale="slaney")
    return float(mel[0] / mel[1] * (MEL_BINS + 1) - 0.5)  # the centre of bin k is at mel k + 1 of 257
