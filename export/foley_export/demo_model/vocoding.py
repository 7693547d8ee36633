"""Stage 2: the vocoder, HiFi-GAN's generator, from log-mel to waveform.

Spectral distances at four resolutions carry it, and the error of the waveform itself where there is no noise. Then it
is fitted to mels that went through the autoencoder, which are what it will read in use; half stay real. Discriminators
of spectrograms were tried and made it worse.
"""

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, l1_loss, pad

from foley_export.demo_model.corpus import FRAMES, Sounds, floats
from foley_export.demo_model.harmonics import HARMONICS, LOUD, UNIT, amplitudes, first_stage, start_as_synthesiser
from foley_export.demo_model.mel import FFT_SAMPLES, HOP_SAMPLES, MEL_BINS, WINDOW_SAMPLES
from foley_export.demo_model.sounds import SAMPLE_RATE_HZ
from foley_export.demo_model.training import adamw, average, descend, train
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import Generator, vocoder_config

SEED: Final = 12
CROP_FRAMES: Final = 40  # 0.4 s
CROPS: Final = 12
RATE: Final = 3e-5
"""Ten times as much unlearns the start that `harmonics` wrote."""
ERROR_WEIGHT: Final = 3.0
QUIET_WEIGHT: Final = 3.0
LIMIT: Final = 5.0
"""Of the gradient's norm."""
QUIET_LEVEL: Final = 0.02
"""RMS that counts as much as the error itself: of silence no more is asked."""
QUIETEST: Final = 1e-2
"""Spectral magnitudes below it (noise of −66 dB of full scale) count as silence."""
RESOLUTIONS: Final = ((2048, 512), (1024, 256), (512, 128), (128, 32))  # (FFT, hop) in samples

CONFIG: Final[dict[str, Any]] = {
    "resblock": "1",
    "upsample_rates": [1, 10, 16],
    "upsample_kernel_sizes": [3, 20, 32],
    "upsample_initial_channel": 192,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3]],
    "segment_size": CROP_FRAMES * HOP_SAMPLES,
    "num_mels": MEL_BINS,
    "num_freq": FFT_SAMPLES // 2 + 1,
    "n_fft": FFT_SAMPLES,
    "hop_size": HOP_SAMPLES,
    "win_size": WINDOW_SAMPLES,
    "sampling_rate": SAMPLE_RATE_HZ,
    "fmin": 0,
    "fmax": None,
}


Mels = npt.NDArray[np.float16]


class AmplitudeTask:
    """Training of the generator's first stage to read the amplitudes of harmonics from mels."""

    name = "amplitudes"

    def __init__(self, sounds: Sounds, steps: int) -> None:
        torch.manual_seed(SEED)
        self.sounds, self.steps = sounds, steps
        generator = UnitGenerator(vocoder_config(CONFIG))
        start_as_synthesiser(generator)
        self.modules = nn.ModuleDict({"generator": generator})
        self.optimisers = [adamw(generator, 1.5e-4)]

    def advance(self, step: int) -> dict[str, float]:
        """Make one step; see `Task`."""
        mel, waveform, _ = crops(self.sounds, np.random.default_rng([SEED, 1, step]))
        true = amplitudes(waveform)[:, :, 1:-1] / LOUD
        read = cast("UnitGenerator", self.modules["generator"]).amplitudes(mel)[:, :HARMONICS, 1:-1]
        error = (read - true).square().sum() / true.square().sum()
        quiet = l1_loss((read.clamp(min=0) + 1e-3).sqrt(), (true + 1e-3).sqrt())
        descend(error + QUIET_WEIGHT * quiet, self.modules["generator"], *self.optimisers, limit=LIMIT)
        return {"error": float(error.detach()), "quiet": float(quiet.detach())}


class VocoderTask:
    """Training of the whole generator, on mels of real clips or, every second time, on ones that were decoded."""

    def __init__(self, name: str, sounds: Sounds, decoded: Mels | None, start: nn.Module, steps: int) -> None:
        self.name, self.sounds, self.decoded, self.steps = name, sounds, decoded, steps
        generator, mean = (UnitGenerator(vocoder_config(CONFIG)) for _ in range(2))
        generator.load_state_dict(start.state_dict())
        mean.load_state_dict(start.state_dict())
        self.modules = nn.ModuleDict({"generator": generator, "mean": mean})
        self.optimisers = [adamw(generator, RATE)]

    def advance(self, step: int) -> dict[str, float]:
        """Make one step; see `Task`."""
        mel, real, noisy = crops(self.sounds, np.random.default_rng([SEED, step]), self.decoded)
        generator = self.modules["generator"]
        made = generator(mel)[:, 0]
        distance, error = spectral_distance(made, real), waveform_error(made[~noisy], real[~noisy])
        descend(distance + ERROR_WEIGHT * error, generator, *self.optimisers, limit=LIMIT)
        average(self.modules["mean"], generator, step)
        return {"distance": float(distance.detach()), "error": float(error.detach())}


def crops(sounds: Sounds, rng: np.random.Generator, decoded: Mels | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Draw log-mels [B,256,40], waveforms [B,6400] and whether those hold noise [B]; silence is drawn seldom.

    Half of the mels are taken from `decoded` where it is given.
    """
    mels: list[npt.NDArray[np.float16]] = []
    waveforms: list[npt.NDArray[np.int16]] = []
    noisy: list[bool] = []
    while len(mels) < CROPS:
        clip, start = int(rng.integers(len(sounds.mels))), int(rng.integers(FRAMES - CROP_FRAMES + 1))
        waveform = sounds.waveforms[clip, start * HOP_SAMPLES : (start + CROP_FRAMES) * HOP_SAMPLES]
        if np.abs(waveform).max() < 100 and rng.random() < 0.9:
            continue
        source = sounds.mels if decoded is None or rng.random() < 0.5 else decoded
        mels.append(source[clip][:, start : start + CROP_FRAMES])
        waveforms.append(waveform)
        noisy.append(bool(sounds.noisy[clip]))
    return torch.from_numpy(np.stack(mels).astype(np.float32)), floats(np.stack(waveforms)), torch.tensor(noisy)


class UnitGenerator(Generator):
    """HiFi-GAN's generator, reading its mels from silence at 0 up to about 3: in raw ones, silence drowns the rest."""

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel [B,M,T] to a waveform [B,1,T·hop]; beyond the edges it reads a log-mel of 0, as the original."""
        return self.upsample(self._first(mel))

    def amplitudes(self, mel: Tensor) -> Tensor:
        """Give what the first stage makes of log-mel [B,M,T]: [B,96,T], amplitudes of harmonics first."""
        return first_stage(self, self._first(mel))

    def _first(self, mel: Tensor) -> Tensor:
        margin = int(self.conv_pre.padding[0])
        unit = (pad(mel, (margin, margin)) - LOG_MEL_MIN) / UNIT
        return conv1d(unit, self.conv_pre.weight, self.conv_pre.bias)

    def plain(self) -> Generator:
        """Give the generator that reads raw log-mels and makes the same."""
        plain = Generator(vocoder_config(CONFIG))
        state = {name: value.clone() for name, value in self.state_dict().items()}
        state["conv_pre.weight"] /= UNIT
        state["conv_pre.bias"] -= state["conv_pre.weight"].sum((1, 2)) * LOG_MEL_MIN
        plain.load_state_dict(state)
        return plain.eval()


def spectral_distance(made: Tensor, real: Tensor) -> Tensor:
    """Give the mean absolute distance of log magnitudes and the spectral convergence over all resolutions."""
    terms = []
    for fft, hop in RESOLUTIONS:
        a, b = log_magnitude(made, fft, hop), log_magnitude(real, fft, hop)
        terms.append(l1_loss(a, b) + (a.exp() - b.exp()).norm() / b.exp().norm())
    return torch.stack(terms).mean()


def waveform_error(made: Tensor, real: Tensor) -> Tensor:
    """Give the energy of the error of waveforms [B,N], each in units of its own energy and a little more."""
    energy = real.square().mean(1) + QUIET_LEVEL**2
    return ((made - real).square().mean(1) / energy).mean() if len(real) else made.sum() * 0


def log_magnitude(waveform: Tensor, fft: int, hop: int) -> Tensor:
    """Give the natural log of STFT magnitudes [B,fft/2+1,frames] of waveforms [B,N], silence cut off."""
    margin = (fft - hop) // 2
    padded = pad(waveform, (margin, margin))
    spectrum = torch.stft(padded, fft, hop, window=torch.hann_window(fft), center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + QUIETEST**2).sqrt().log()


def train_vocoder(sounds: Sounds, folder: Path, amplitude_steps: int, steps: int) -> nn.Module:
    """Train on the mels of real clips, or resume; give the averaged generator."""
    start = AmplitudeTask(sounds, amplitude_steps)
    train(start, folder)
    task = VocoderTask("vocoder", sounds, None, start.modules["generator"], steps)
    train(task, folder)
    return task.modules["mean"]


def fit_vocoder(sounds: Sounds, decoded: Mels, trained: nn.Module, folder: Path, steps: int) -> Generator:
    """Train on, half of the mels having gone through the autoencoder, or resume; give the averaged generator."""
    task = VocoderTask("vocoder-fit", sounds, decoded, trained, steps)
    train(task, folder)
    return cast("UnitGenerator", task.modules["mean"]).plain()
