"""The waveforms that the vocoder learns to make: sounds as they are, but for noise.

No mel tells the waveform of noise, and what averages over all that it may be is silence or a buzz. So the amplitude of
each harmonic gets a sign that the mel's own grain decides, frame by frame: harmonics that flip at random are noise to
the ear and to autocorrelation. Where there is no grain, noise fades. The waveform follows from the mel once more.

That much is true of the targets. What the generator learnt of 79 signs in 16,000 steps was little: see the README.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv1d, pad

from foley_export.demo_model.corpus import FRAMES, Sounds, floats
from foley_export.demo_model.harmonics import HARMONICS, amplitudes, mel_bins, synthesise
from foley_export.demo_model.latents import Mels
from foley_export.demo_model.mel import HOP_SAMPLES

GRAIN_FILTER: Final = (1.0, -4.0, 6.0, -4.0, 1.0)
"""Over frames: the fourth difference. Grain turns from frame to frame, in spite of a window of six frames."""
GRAIN_STEEPNESS: Final = 2.0
"""A harmonic's sign is the tanh of so many times its grain in nepers: harmonics of little grain fade."""
NOISY_SHARE: Final = 0.4
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

    def target(self) -> Tensor:
        """Give the waveforms [B,160·T] to make: noise with the signs that the mels decide."""
        return self.clear + synthesise(amplitudes(self.noise) * signs(self.mels))


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


def signs(mels: Tensor) -> Tensor:
    """Give each harmonic's sign [B,79,T] in log-mels [B,256,T]: about -1 or 1 where there is grain, 0 where none."""
    bins, _ = mel_bins()
    margin = len(GRAIN_FILTER) // 2
    read = pad(mels[:, bins], (margin, margin), mode="replicate")
    weight = torch.tensor(GRAIN_FILTER).expand(HARMONICS, 1, -1)
    return torch.tanh(GRAIN_STEEPNESS * conv1d(read, weight, groups=HARMONICS))
