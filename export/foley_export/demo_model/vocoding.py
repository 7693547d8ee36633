"""Stage 2: the vocoder, HiFi-GAN's generator, from log-mel to waveform.

`harmonics` writes its first weights. Its first stage then learns by itself, which is quick, the amplitudes of decoded
mels and the signs of noise (`noise`); the whole learns after it from the error of the waveform and from spectral
distances at four resolutions. Discriminators of spectrograms were tried and made it worse.
"""

from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, conv1d, l1_loss, leaky_relu, pad

from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.harmonics import HARMONICS, LOUD, UNIT, amplitudes, first_stage, start_as_synthesiser
from foley_export.demo_model.latents import Mels
from foley_export.demo_model.mel import FFT_SAMPLES, HOP_SAMPLES, MEL_BINS, WINDOW_SAMPLES
from foley_export.demo_model.noise import Crops, draw, signs
from foley_export.demo_model.sounds import SAMPLE_RATE_HZ
from foley_export.demo_model.training import average, descend, train
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, VocoderConfig, vocoder_config

SEED: Final = 12
AMPLITUDE_CROPS, AMPLITUDE_FRAMES = 16, 64
CROPS, CROP_FRAMES = 12, 40
EDGE_FRAMES: Final = 4
"""At a crop's ends, where its clip goes on: not compared."""
AMPLITUDE_RATE, FIRST_RATE, LATER_RATE = 3e-4, 1e-4, 3e-5
"""Of the first stage alone; of the first stage and of the later ones together."""
SMOOTH_FRAMES: Final = 5
"""Over which the amplitude of noise is averaged."""
ERROR_WEIGHT: Final = 3.0
NOISE_WEIGHT: Final = 0.4
"""Of the error where there is noise, which shrinks what is not understood of its signs."""
LEVEL_WEIGHT: Final = 1.0
LIMIT: Final = 5.0
"""Of the gradient's norm."""
LEAST_VARIANCE: Final = 0.01
"""Added to those of mels along their axes, of which the least is 5e-5 and the largest 68."""
LEAST_ENERGY: Final = 0.01
"""Sum of squared amplitudes, in units of `LOUD`, that counts as much as the error itself."""
LEAST_POWER: Final = 1e-5
MELS_TO_WHITEN: Final = 256
QUIET_LEVEL: Final = 0.02
"""RMS that counts as much as the error itself: of silence no more is asked."""
QUIETEST: Final = 1e-2
"""Spectral magnitudes below it (noise of −66 dB of full scale) count as silence."""
RESOLUTIONS: Final = ((2048, 512), (1024, 256), (512, 128), (128, 32))  # (FFT, hop) in samples

CONFIG: Final[dict[str, Any]] = {
    "resblock": "1",
    "upsample_rates": [1, 10, 16],
    "upsample_kernel_sizes": [1, 20, 32],
    "upsample_initial_channel": 192,
    "resblock_kernel_sizes": [3],
    "resblock_dilation_sizes": [[1, 3, 5]],
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


class AmplitudeTask:
    """Training of the first stage alone, of a generator that was written, to read amplitudes and their signs."""

    name = "amplitudes"

    def __init__(self, sounds: Sounds, decoded: Mels, steps: int) -> None:
        self.sounds, self.decoded, self.steps = sounds, decoded, steps
        self.written = written()
        mels = torch.from_numpy(sounds.mels[:: len(sounds.mels) // MELS_TO_WHITEN or 1, :, ::4].astype(np.float32))
        generator, mean = written(), written()
        for each in (generator, mean):
            each.whiten(mels)
        self.modules = nn.ModuleDict({"generator": generator, "mean": mean})
        self.optimisers = [rated(generator, AMPLITUDE_RATE, 0.0)]

    def advance(self, step: int) -> dict[str, float]:
        """Make one step; see `Task`."""
        rng = np.random.default_rng([SEED, 0, step])
        crops = draw(self.sounds, self.decoded, rng, AMPLITUDE_CROPS, AMPLITUDE_FRAMES)
        generator, inner = cast("UnitGenerator", self.modules["generator"]), slice(EDGE_FRAMES, -EDGE_FRAMES)
        with torch.no_grad():
            true = self._signed(crops)[..., inner]
        read = read_amplitudes(generator, crops.mels)[..., inner]
        loss = ((read - true).square().sum((1, 2)) / (true.square().sum((1, 2)) + LEAST_ENERGY)).mean()
        descend(loss, generator, *self.optimisers, limit=LIMIT)
        average(self.modules["mean"], generator, step)
        return {"error": float(loss.detach())}

    def _signed(self, crops: Crops) -> Tensor:
        """Give amplitudes [B,79,T], in units of `LOUD`, those of noise with signs.

        Those of noise are what the generator, as it was written, reads from the same mels around each frame: measured
        in a frame, they would not follow from the mel.
        """
        clear, noise = amplitudes(crops.clear), amplitudes(crops.noise)
        share = noise / (clear + noise + 1e-4)
        read = read_amplitudes(self.written, crops.mels)
        smooth = avg_pool1d(read, SMOOTH_FRAMES, 1, SMOOTH_FRAMES // 2, count_include_pad=False)
        return clear / LOUD + smooth * share * signs(crops.mels)


class VocoderTask:
    """Training of the whole generator."""

    name = "vocoder"

    def __init__(self, sounds: Sounds, decoded: Mels, start: nn.Module, steps: int) -> None:
        self.sounds, self.decoded, self.steps = sounds, decoded, steps
        generator, mean = written(), written()
        for each in (generator, mean):
            each.load_state_dict(start.state_dict())
        self.modules = nn.ModuleDict({"generator": generator, "mean": mean})
        self.optimisers = [rated(generator, FIRST_RATE, LATER_RATE)]

    def advance(self, step: int) -> dict[str, float]:
        """Make one step; see `Task`."""
        crops = draw(self.sounds, self.decoded, np.random.default_rng([SEED, 1, step]), CROPS, CROP_FRAMES)
        generator = self.modules["generator"]
        edge = EDGE_FRAMES * HOP_SAMPLES
        made, real = (waveform[:, edge:-edge] for waveform in (generator(crops.mels)[:, 0], crops.target()))
        weights = torch.where(crops.noise.abs().amax(1) > 0, NOISE_WEIGHT, 1.0)
        distance, error = spectral_distance(made, real), (weights * waveform_errors(made, real)).mean()
        level = level_distance(made, real)
        descend(distance + ERROR_WEIGHT * error + LEVEL_WEIGHT * level, generator, *self.optimisers, limit=LIMIT)
        average(self.modules["mean"], generator, step)
        losses = {"distance": distance, "error": error, "level": level}
        return {name: float(loss.detach()) for name, loss in losses.items()}


class UnitGenerator(Generator):
    """HiFi-GAN's generator, reading its mels from silence at 0 up to about 3: in raw ones, silence drowns the rest.

    Once it is told what mels are like (`whiten`), it reads them decorrelated, which lets its first layer learn faster.
    """

    centre: Tensor
    """[1,256,1], in units."""
    basis: Tensor
    """[256,256]."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__(config)
        self.register_buffer("centre", torch.zeros(1, config.mel_bins, 1))
        self.register_buffer("basis", torch.eye(config.mel_bins))

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel [B,M,T] to a waveform [B,1,T·hop]; beyond the edges it reads a log-mel of 0, as the original."""
        return self.upsample(self._first(mel))

    def amplitudes(self, mel: Tensor) -> Tensor:
        """Give what the first stage makes of log-mel [B,M,T]: [B,96,T], amplitudes of harmonics first."""
        return first_stage(self, self._first(mel))

    def _first(self, mel: Tensor) -> Tensor:
        margin = int(self.conv_pre.padding[0])
        unit = (pad(mel, (margin, margin)) - LOG_MEL_MIN) / UNIT - self.centre
        return conv1d(torch.einsum("ij,bjt->bit", self.basis, unit), self.conv_pre.weight, self.conv_pre.bias)

    def whiten(self, mels: Tensor) -> None:
        """Read mels in the basis in which those given, log-mels [N,256,T], are uncorrelated; once, making the same."""
        units = ((mels - LOG_MEL_MIN) / UNIT).transpose(0, 1).flatten(1).double()
        variance, axes = torch.linalg.eigh(torch.cov(units))
        scale = (variance + LEAST_VARIANCE).rsqrt()
        centre, back = units.mean(1).float(), ((axes / scale) @ axes.T).float()
        weight = self.conv_pre.weight
        with torch.no_grad():
            cast("Tensor", self.conv_pre.bias).add_(torch.einsum("oik,i->o", weight, centre))
            weight.copy_(torch.einsum("oik,ij->ojk", weight, back))
            self.centre.copy_(centre[None, :, None])
            self.basis.copy_((axes * scale) @ axes.T)

    def plain(self) -> Generator:
        """Give the generator that reads raw log-mels and makes the same."""
        plain = Generator(vocoder_config(CONFIG))
        state = {name: value.clone() for name, value in self.state_dict().items() if name in plain.state_dict()}
        weight = torch.einsum("ojk,ji->oik", state["conv_pre.weight"], self.basis)
        state["conv_pre.bias"] -= torch.einsum("oik,i->o", weight, LOG_MEL_MIN / UNIT + self.centre[0, :, 0])
        state["conv_pre.weight"] = weight / UNIT
        plain.load_state_dict(state)
        return plain.eval()


def spectral_distance(made: Tensor, real: Tensor) -> Tensor:
    """Give the mean absolute distance of log magnitudes and the spectral convergence over all resolutions."""
    terms = []
    for fft, hop in RESOLUTIONS:
        a, b = log_magnitude(made, fft, hop), log_magnitude(real, fft, hop)
        terms.append(l1_loss(a, b) + (a.exp() - b.exp()).norm() / b.exp().norm())
    return torch.stack(terms).mean()


def waveform_errors(made: Tensor, real: Tensor) -> Tensor:
    """Give the energy [B] of the error of waveforms [B,N], each in units of its own energy and a little more."""
    return (made - real).square().mean(1) / (real.square().mean(1) + QUIET_LEVEL**2)


def log_magnitude(waveform: Tensor, fft: int, hop: int) -> Tensor:
    """Give the natural log of STFT magnitudes [B,fft/2+1,frames] of waveforms [B,N], silence cut off."""
    margin = (fft - hop) // 2
    padded = pad(waveform, (margin, margin))
    spectrum = torch.stft(padded, fft, hop, window=torch.hann_window(fft), center=False, return_complex=True)
    return (spectrum.real.square() + spectrum.imag.square() + QUIETEST**2).sqrt().log()


def level_distance(made: Tensor, real: Tensor) -> Tensor:
    """Give the mean absolute distance of the logs of power of waveforms [B,N]."""
    levels = [(waveform.square().mean(1) + LEAST_POWER).log() for waveform in (made, real)]
    return (levels[0] - levels[1]).abs().mean()


def written() -> UnitGenerator:
    """Give a generator as `harmonics` writes it, always the same."""
    torch.manual_seed(SEED)
    generator = UnitGenerator(vocoder_config(CONFIG))
    start_as_synthesiser(generator)
    return generator


def read_amplitudes(generator: UnitGenerator, mels: Tensor) -> Tensor:
    """Give the amplitudes [B,79,T], in units of `LOUD`, that the later stages will hear of log-mels [B,256,T]."""
    return leaky_relu(generator.amplitudes(mels)[:, :HARMONICS], SLOPE)


def rated(generator: UnitGenerator, first: float, later: float) -> torch.optim.Optimizer:
    """Give AdamW with a rate for the first stage and one for the later ones; wide layers get less, narrow ones more."""
    kernels = generator.kernels
    residual = list(generator.resblocks)
    groups = [
        (generator.conv_pre, 0.5 * first),
        (generator.ups[0], first),
        (nn.ModuleList(residual[:kernels]), 2 * first),
        (nn.ModuleList([*list(generator.ups)[1:], generator.conv_post]), later),
        (nn.ModuleList(residual[kernels:]), 2 * later),
    ]
    return torch.optim.AdamW(
        [{"params": list(module.parameters()), "initial_lr": rate} for module, rate in groups],
        lr=first,
        betas=(0.9, 0.99),
        weight_decay=0.0,
    )


def train_vocoder(sounds: Sounds, decoded: Mels, folder: Path, amplitude_steps: int, steps: int) -> Generator:
    """Train both stages, or resume; give the averaged generator, which reads raw log-mels."""
    start = AmplitudeTask(sounds, decoded, amplitude_steps)
    train(start, folder)
    task = VocoderTask(sounds, decoded, start.modules["mean"], steps)
    train(task, folder)
    return cast("UnitGenerator", task.modules["mean"]).plain()
