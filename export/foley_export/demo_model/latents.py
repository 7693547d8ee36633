"""Latents of the training clips, encoded once, and the scale that gives them unit variance."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from diffusers import AutoencoderKL
from numpy.lib.format import open_memmap
from torch import Tensor, nn

from foley_export.demo_model.corpus import FRAMES, Sounds, training_clip
from foley_export.demo_model.mel import MEL_BINS, log_mel, to_log_mel, to_picture
from foley_export.demo_model.progress import Progress

Mels = npt.NDArray[np.float16]
"""Log-mels [n,256,256]."""
CHANNELS: Final = 4
FACTOR: Final = 8
SHAPE: Final = (CHANNELS, MEL_BINS // FACTOR, FRAMES // FACTOR)  # (4, 32, 32)
CHUNK: Final = 16
SEED: Final = 18
MOST_OFF: Final = 0.25


@dataclass(frozen=True)
class Latents:
    """Latents of the first training clips, as the encoder gives them: float16 [n,4,32,32]."""

    values: npt.NDArray[np.float16]
    scaling_factor: float
    """What they are multiplied with for the denoiser: one over their standard deviation."""


def open_latents(vae: nn.Module, folder: Path, count: int, progress: Progress) -> Latents:
    """Open the latents of the first `count` training clips, encoding them first where they are not there."""
    file = folder / f"latents-{count}.npy"
    if not file.exists():
        part = file.with_suffix(".part")
        values = open_memmap(part, "w+", np.float16, (count, *SHAPE))
        for start in range(0, count, CHUNK):
            stop = min(start + CHUNK, count)
            clips = np.stack([training_clip(index) for index in range(start, stop)])
            values[start:stop] = encode(vae, log_mel(torch.from_numpy(clips))).numpy()
            progress.show(stop, count, {})
        values.flush()
        part.rename(file)
    values = np.load(file)
    return Latents(values, float(1 / values.astype(np.float32).std()))


def open_decoded(vae: nn.Module, sounds: Sounds, folder: Path, progress: Progress) -> Mels:
    """Open log-mels [n,256,256] that went through the autoencoder, making them first where they are not there.

    Their latents are off by up to a quarter of what they vary, as a denoiser's are.
    """
    count = len(sounds.mels)
    rng = np.random.default_rng(SEED)
    file = folder / f"decoded-{count}.npy"
    if not file.exists():
        part = file.with_suffix(".part")
        values = open_memmap(part, "w+", np.float16, (count, MEL_BINS, FRAMES))
        for start in range(0, count, CHUNK):
            mel = torch.from_numpy(sounds.mels[start : start + CHUNK].astype(np.float32))
            latents = encode(vae, mel)
            off = MOST_OFF * rng.random((len(mel), 1, 1, 1)) * rng.standard_normal(latents.shape)
            values[start : start + CHUNK] = decode(vae, latents + latents.std() * torch.from_numpy(off).float()).numpy()
            progress.show(min(start + CHUNK, count), count, {})
        values.flush()
        part.rename(file)
    decoded: Mels = np.load(file, mmap_mode="r")
    return decoded


def encode(vae: nn.Module, mel: Tensor) -> Tensor:
    """Encode log-mel [B,256,T] to the means of latents [B,4,32,T/8], not scaled."""
    with torch.no_grad():
        latents: Tensor = _vae(vae).encode(to_picture(mel)).latent_dist.mean
    return latents


def decode(vae: nn.Module, latents: Tensor) -> Tensor:
    """Decode latents [B,4,32,W], not scaled, to log-mel [B,256,8·W]."""
    with torch.no_grad():
        return to_log_mel(_vae(vae).decode(latents).sample)


def _vae(module: nn.Module) -> AutoencoderKL:
    """Tell the type checker what `new_autoencoder` made."""
    return cast("AutoencoderKL", module)
