"""Stage 2: the vocoder, HiFi-GAN's generator, from log-mel to waveform.

`harmonics` and `noise` write its weights. What is left to learn is read from mels by its first stage, a part at a time:
the amplitudes of decoded mels, whose written reading is trained on, and which bands hold noise. The rest stays as it
is: trained as a whole by spectral distances, it lost the levels that were written right. At last `ends` moves the first
stage, so that clips end in silence.
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool1d, leaky_relu

from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.crops import Crops, draw
from foley_export.demo_model.ends import read_silence_beyond
from foley_export.demo_model.harmonics import HARMONICS, LOUD, UNIT, amplitudes, start_as_synthesiser
from foley_export.demo_model.latents import Mels
from foley_export.demo_model.mel import FFT_SAMPLES, HOP_SAMPLES, MEL_BINS, WINDOW_SAMPLES
from foley_export.demo_model.noise import BANDS, GRAIN, TURNS, band_harmonics, write_noise
from foley_export.demo_model.readers import Place, Reader
from foley_export.demo_model.sounds import SAMPLE_RATE_HZ
from foley_export.demo_model.training import average, descend, train
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config

SEED: Final = 12
CROPS, CROP_FRAMES = 16, 64
EDGE_FRAMES: Final = 4
"""At a crop's ends, where its clip goes on: not compared."""
LIMIT: Final = 5.0
"""Of the gradient's norm."""
MELS_TO_WHITEN: Final = 256
MELS_TO_END: Final = 64
"""At least so many of either sort, real and decoded, and fewer than twice as many: `ends` keeps how these are read."""
CHANNELS: Final = 192

AMPLITUDES: Final = Place(slice(2 * HARMONICS), slice(HARMONICS), slice(HARMONICS))
AMPLITUDE_RATE: Final = 6e-5
"""At 1e-4 and more, levels that were written right are lost."""
SMOOTH_FRAMES: Final = 5
"""Over which the amplitude of noise is averaged."""
LEAST_ENERGY: Final = 0.01
"""Sum of squared amplitudes, in units of `LOUD`, that counts as much as the error itself."""

NOISE: Final = Place(slice(GRAIN.stop, CHANNELS), slice(TURNS.stop, CHANNELS // 2), slice(TURNS.stop, CHANNELS // 2))
"""All channels that are left; the first five that it makes are the gates."""
NOISE_RATES: Final = (2e-4, 2e-3)
"""Of the first convolution, and of the other ones."""
NOISE_SPREADS: Final = (0.01, 0.15, 0.12, 0.05)
"""Of random weights: of the first convolution, the second, and of each residual layer's two."""
AUDIBLE: Final = 1e-6
"""Sum of squared amplitudes of a band; …"""
UNHEARD_WEIGHT: Final = 0.05
"""… below it, only so much counts what is told."""

CONFIG: Final[dict[str, Any]] = {
    "resblock": "1",
    "upsample_rates": [1, 10, 16],
    "upsample_kernel_sizes": [1, 20, 32],
    "upsample_initial_channel": CHANNELS,
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
    """Training of what reads amplitudes from mels."""

    name = "amplitudes"

    def __init__(self, sounds: Sounds, decoded: Mels, steps: int, device: torch.device) -> None:
        self.sounds, self.decoded, self.steps, self.device = sounds, decoded, steps, device
        self.written = Reader(written(), AMPLITUDES).to(device)
        reader = Reader(written(), AMPLITUDES)
        whiten(reader, sounds)
        self.modules = nn.ModuleDict({"reader": reader, "mean": deepcopy(reader)}).to(device)
        self.optimisers = [optimiser(reader, AMPLITUDE_RATE / 2, AMPLITUDE_RATE)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        rng = np.random.default_rng([SEED, 0, step])
        crops = draw(self.sounds, self.decoded, rng, CROPS, CROP_FRAMES).to(self.device)
        reader, inner = self.modules["reader"], slice(EDGE_FRAMES, -EDGE_FRAMES)
        with torch.no_grad():
            true = self.target(crops)[..., inner]
        read = leaky_relu(reader(crops.mels), SLOPE)[..., inner]
        loss = ((read - true).square().sum((1, 2)) / (true.square().sum((1, 2)) + LEAST_ENERGY)).mean()
        descend(loss, reader, *self.optimisers, limit=LIMIT)
        average(self.modules["mean"], reader, step)
        return {"error": loss.detach()}

    def target(self, crops: Crops) -> Tensor:
        """Give amplitudes [B,79,T] to read, in units of `LOUD`.

        Those of noise are what was read, as written, from the same mels around each frame: measured in a frame, they
        would not follow from the mel.
        """
        clear, noise = amplitudes(crops.clear), amplitudes(crops.noise)
        share = noise / (clear + noise + 1e-4)
        read = leaky_relu(self.written(crops.mels), SLOPE)
        smooth = avg_pool1d(read, SMOOTH_FRAMES, 1, SMOOTH_FRAMES // 2, count_include_pad=False)
        return clear / LOUD + smooth * share


class GateTask:
    """Training of what tells noise from other sound, in each band and frame."""

    name = "gates"

    def __init__(self, sounds: Sounds, decoded: Mels, steps: int, device: torch.device) -> None:
        self.sounds, self.decoded, self.steps, self.device = sounds, decoded, steps, device
        reader = Reader(written(), NOISE)
        whiten(reader, sounds)
        _randomise(reader)
        self.modules = nn.ModuleDict({"reader": reader, "mean": deepcopy(reader)}).to(device)
        self.optimisers = [optimiser(reader, *NOISE_RATES)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        rng = np.random.default_rng([SEED, 1, step])
        crops = draw(self.sounds, self.decoded, rng, CROPS, CROP_FRAMES).to(self.device)
        reader, inner = self.modules["reader"], slice(EDGE_FRAMES, -EDGE_FRAMES)
        true, weight = (each[..., inner] for each in self.target(crops))
        told = reader(crops.mels)[:, : len(BANDS), inner]
        loss = (weight * (told - true).square()).sum() / weight.sum()
        descend(loss, reader, *self.optimisers, limit=LIMIT)
        average(self.modules["mean"], reader, step)
        right = (weight * ((told > 0.5) == (true > 0.5))).sum() / weight.sum()
        return {"error": loss.detach(), "wrong": 1 - right.double()}

    def target(self, crops: Crops) -> tuple[Tensor, Tensor]:
        """Give which bands [B,5,T] hold more noise than other sound, 1 or 0, and how much each of them counts."""
        clear, noise = (amplitudes(part).square() for part in (crops.clear, crops.noise))
        in_clear, in_noise = (
            torch.stack([part[:, band_harmonics(band)].sum(1) for band in BANDS], 1) for part in (clear, noise)
        )
        heard = in_clear + in_noise > AUDIBLE
        return (in_noise > in_clear + 1e-7).float(), UNHEARD_WEIGHT + heard.float()


def written() -> Generator:
    """Give a generator that reads `UNIT`s as `harmonics` and `noise` write it."""
    generator = Generator(vocoder_config(CONFIG))
    start_as_synthesiser(generator)
    write_noise(generator)
    return generator.eval()


def whiten(reader: Reader, sounds: Sounds) -> None:
    """Let a reader read mels decorrelated."""
    mels = torch.from_numpy(sounds.mels[:: len(sounds.mels) // MELS_TO_WHITEN or 1, :, ::4].astype(np.float32))
    reader.whiten(mels)


def optimiser(reader: Reader, first: float, other: float) -> torch.optim.Optimizer:
    """Give Adam with a rate for the first convolution and one for the other ones."""
    groups = [(reader.convolutions[:1], first), (reader.convolutions[1:], other)]
    parameters = [{"params": list(layers.parameters()), "initial_lr": rate} for layers, rate in groups]
    return torch.optim.Adam(parameters, lr=other, betas=(0.9, 0.99))


def plain(generator: Generator) -> Generator:
    """Give the generator that reads raw log-mels and makes what this one makes of `UNIT`s."""
    made = Generator(vocoder_config(CONFIG))
    made.load_state_dict(generator.state_dict())
    with torch.no_grad():
        made.conv_pre.weight.div_(UNIT)
        cast("Tensor", made.conv_pre.bias).sub_(LOG_MEL_MIN * made.conv_pre.weight.sum((1, 2)))
    return made.eval()


def _randomise(reader: Reader) -> None:
    """Give all weights random values, always the same."""
    generator = torch.Generator().manual_seed(SEED)
    spreads = [*NOISE_SPREADS[:2], *NOISE_SPREADS[2:] * (len(reader.convolutions) // 2 - 1)]
    with torch.no_grad():
        for convolution, spread in zip(reader.convolutions, spreads, strict=True):
            cast("nn.Conv1d", convolution).weight.normal_(0, spread, generator=generator)


def train_vocoder(
    sounds: Sounds, decoded: Mels, folder: Path, amplitude_steps: int, gate_steps: int, device: torch.device
) -> Generator:
    """Train what reads amplitudes and noise on a device, or resume; give the generator, which reads raw log-mels."""
    made = written()
    for task in (
        AmplitudeTask(sounds, decoded, amplitude_steps, device),
        GateTask(sounds, decoded, gate_steps, device),
    ):
        train(task, folder)
        cast("Reader", task.modules["mean"].cpu()).write(made)
    generator = plain(made)
    each = len(sounds.mels) // MELS_TO_END or 1
    samples = np.concatenate([mels[::each] for mels in (sounds.mels, decoded)])
    read_silence_beyond(generator, torch.from_numpy(samples.astype(np.float32)))
    return generator
