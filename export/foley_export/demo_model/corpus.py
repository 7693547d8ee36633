"""The training corpus: clips drawn from numbered seeds, kept as arrays on disk; captions are worded anew each time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from numpy.lib.format import open_memmap
from torch import Tensor

from foley_export.demo_model.captions import draw_caption, held_out
from foley_export.demo_model.mel import MEL_BINS, log_mel
from foley_export.demo_model.progress import Progress
from foley_export.demo_model.scenes import NOISY, Scene, draw_scene
from foley_export.demo_model.sounds import CLIP_SAMPLES, render, render_apart

SOUNDS_SEED: Final = 20260101
HELD_OUT_SEED: Final = 20260102
FRAMES: Final = CLIP_SAMPLES // 160  # 256 frames
CHUNK: Final = 64


@dataclass(frozen=True)
class Sounds:
    """Clips for the autoencoder and the vocoder: waveforms int16 [n,40960] and log-mels float16 [n,256,256]."""

    waveforms: npt.NDArray[np.int16]
    mels: npt.NDArray[np.float16]
    noises: npt.NDArray[np.int16]
    """[n,40960]: what of a waveform is noise, which no mel tells."""
    noisy: npt.NDArray[np.bool_]
    """[n]: whether there is noise in a clip."""


@dataclass(frozen=True)
class HeldOut:
    """A scene that was never trained on, and one wording of it."""

    scene: Scene
    caption: str


def training_scene(index: int) -> Scene:
    """Draw the scene of training clip `index`: never one that is held out whole."""
    rng = np.random.default_rng([SOUNDS_SEED, index])
    while True:
        scene = draw_scene(rng)
        if not all(held_out(scene, draw_caption(scene, rng)) for _ in range(4)):
            return scene


def training_clip(index: int) -> npt.NDArray[np.float32]:
    """Render training clip `index` as float32 [40960]."""
    return render(training_scene(index), np.random.default_rng([SOUNDS_SEED, index, 1]))


def training_noise(index: int) -> npt.NDArray[np.float32]:
    """Render what of training clip `index` is noise, float32 [40960]; all zeros where nothing is."""
    _, noise = render_apart(training_scene(index), np.random.default_rng([SOUNDS_SEED, index, 1]))
    return np.clip(noise, -1, 1).astype(np.float32)


def training_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Word a training scene, never in words that are held out."""
    while held_out(scene, caption := draw_caption(scene, rng)):
        pass
    return caption


def held_out_captions(count: int, seed: int = HELD_OUT_SEED) -> list[HeldOut]:
    """Draw `count` different captions that were never trained on, half of one event and half of two."""
    rng = np.random.default_rng(seed)
    drawn: dict[str, HeldOut] = {}
    quota = {1: count - count // 2, 2: count // 2}
    while any(quota.values()):
        scene = draw_scene(rng)
        caption = draw_caption(scene, rng)
        if quota[len(scene.events)] and caption not in drawn and held_out(scene, caption):
            quota[len(scene.events)] -= 1
            drawn[caption] = HeldOut(scene, caption)
    return list(drawn.values())


def open_sounds(folder: Path, count: int, progress: Progress) -> Sounds:
    """Open the arrays of the first `count` training clips, rendering them first where they are not there."""
    files = [folder / f"{name}-{count}.npy" for name in ("waveforms", "mels", "noises")]
    if not all(file.exists() for file in files):
        _render_sounds(files, count, progress)
    waveforms, mels, noises = (np.load(file, mmap_mode="r") for file in files)
    noisy = [any(event.kind in NOISY for event in training_scene(index).events) for index in range(count)]
    return Sounds(waveforms, mels, noises, np.array(noisy))


def _render_sounds(files: list[Path], count: int, progress: Progress) -> None:
    parts = [file.with_suffix(".part") for file in files]
    waveforms = open_memmap(parts[0], "w+", np.int16, (count, CLIP_SAMPLES))
    mels = open_memmap(parts[1], "w+", np.float16, (count, MEL_BINS, FRAMES))
    noises = open_memmap(parts[2], "w+", np.int16, (count, CLIP_SAMPLES))
    for start in range(0, count, CHUNK):
        stop = min(start + CHUNK, count)
        clips = np.stack([training_clip(index) for index in range(start, stop)])
        waveforms[start:stop] = np.round(clips * 32767)
        mels[start:stop] = log_mel(torch.from_numpy(clips)).numpy()
        noises[start:stop] = [np.round(training_noise(index) * 32767) for index in range(start, stop)]
        progress.show(stop, count, {})
    for array, part, file in zip((waveforms, mels, noises), parts, files, strict=True):
        array.flush()
        part.rename(file)


def floats(waveforms: npt.NDArray[np.int16]) -> Tensor:
    """Give int16 waveforms as float32 in [-1,1]."""
    return torch.from_numpy(waveforms.astype(np.float32) / 32767)
