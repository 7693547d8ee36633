"""What the vocoder learns from: pieces of clips with their noise apart, and mels of them, real and decoded."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from foley_export.demo_model.corpus import FRAMES, Sounds, floats
from foley_export.demo_model.device import send
from foley_export.demo_model.latents import Mels
from foley_export.demo_model.mel import HOP_SAMPLES

NOISY_SHARE: Final = 0.5
"""Of the crops, drawn from clips with noise; the other ones from all."""
DECODED_SHARE: Final = 0.6
SILENT: Final = 100
"""A crop whose largest int16 sample is less holds nothing to learn."""


@dataclass(frozen=True)
class Crops:
    """Pieces of clips, the noise apart."""

    mels: Tensor
    """What is read: log-mels [B,256,T], real or decoded."""
    clear: Tensor
    """Waveforms [B,160·T] without their noise."""
    noise: Tensor
    """The noise [B,160·T]."""

    def to(self, device: torch.device) -> "Crops":
        """Give the same on a device."""
        return Crops(*(send(each, device) for each in (self.mels, self.clear, self.noise)))


def draw(sounds: Sounds, decoded: Mels, rng: np.random.Generator, count: int, frames: int) -> Crops:
    """Draw so many crops, some from noisy clips only, some of their mels decoded; silence is drawn seldom."""
    noisy = np.flatnonzero(sounds.noisy)
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    while len(found) < count:
        among = noisy if len(found) < NOISY_SHARE * count and len(noisy) else len(sounds.mels)
        clip, start = int(rng.choice(among)), int(rng.integers(FRAMES - frames + 1))
        samples, columns = slice(start * HOP_SAMPLES, (start + frames) * HOP_SAMPLES), slice(start, start + frames)
        if np.abs(sounds.waveforms[clip, samples]).max() < SILENT and rng.random() < 0.9:
            continue
        source = decoded if rng.random() < DECODED_SHARE else sounds.mels
        mel = torch.from_numpy(source[clip][:, columns].astype(np.float32))
        waveform, noise = (floats(kept[clip, samples]) for kept in (sounds.waveforms, sounds.noises))
        found.append((mel, waveform - noise, noise))
    return Crops(*(torch.stack(each) for each in zip(*found, strict=True)))
