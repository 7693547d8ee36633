"""How the vocoder starts: as an additive synthesiser of the harmonics of its own frame rate.

From frames that are all alike, 100 a second, a stack of convolutions can only make what repeats 100 times a second: the
harmonics of 100 Hz, each at a phase that it may choose once and for all. The sounds are made of just these, so the
generator's weights can be written down: its first stage reads amplitudes from mels, the later ones are oscillators. As
written it already makes most clear sounds from their own mels; of noise it makes a buzz (see `noise`).
"""

from functools import cache
from typing import Final, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import conv_transpose1d, pad
from transformers.audio_utils import hertz_to_mel, mel_to_hertz

from foley_export.demo_model.mel import MEL_BINS, log_mel
from foley_export.demo_model.sounds import GRID_HZ, GRID_SAMPLES, PHASES, SAMPLE_RATE_HZ
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import LAST_SLOPE, SLOPE, Generator, ResBlock

HARMONICS: Final = SAMPLE_RATE_HZ // GRID_HZ // 2 - 1  # 79: 100 … 7900 Hz
BLOCK: Final = 16
"""Samples that the last stage makes from one column of the stage before."""
LOUD: Final = 0.25
"""Amplitude that the first stage gives as 1."""
UNIT: Final = 5.0
"""Nepers of log-mel to one unit of what is read while weights are written and trained, from silence at 0."""
KNEE, SLOPE_AT_KNEE = -0.966, 0.0438
"""An amplitude is read as 0 up to so many units beside the mel of `LOUD`, and rises by so much a unit from there; …"""
BENDS: Final = ((3.41, 0.0175), (4.93, 0.0692), (6.02, 0.443))
"""… each residual layer makes it rise faster beyond a further knee: (weight, knee), fitted to exp within 2.3 dB from
0.003 to 0.95 of full scale, and 1.3 dB from 0.01 to 0.84."""
CREST_BENDS: Final = ((0.185, 0.423), (0.185, 0.437))
"""The last stage's layers stretch the waveform where tanh will squeeze it: (weight, knee), fitted up to 0.9."""
BLOCKS: Final = GRID_SAMPLES // BLOCK  # 10 a frame


def start_as_synthesiser(generator: Generator) -> None:
    """Write weights of a generator that reads `UNIT`s: the first stage's first 79 channels are then amplitudes.

    All other weights become 0.
    """
    stages = cast("list[nn.ConvTranspose1d]", list(generator.ups))
    blocks = cast("list[ResBlock]", list(generator.resblocks))
    with torch.no_grad():
        for parameter in generator.parameters():
            parameter.zero_()
        _write_reading(generator.conv_pre, stages[0])
        for layer, (weight, knee) in enumerate(BENDS):
            _write_bend(blocks[0], layer, torch.eye(HARMONICS), weight, knee)
        _write(stages[1], LOUD * _harmonics_to_blocks())
        _write(stages[2], _blocks_to_samples())
        for layer, (weight, knee) in enumerate(CREST_BENDS):
            _write_bend(blocks[-1], layer, torch.tensor([[1.0, -1.0], [-1.0, 1.0]]) / (1 + SLOPE), weight, knee)
        _write(generator.conv_post, _signs_to_sample())


def amplitudes(waveform: Tensor) -> Tensor:
    """Measure the amplitudes [B,79,N/160] of the harmonics of 100 Hz around the middle of each frame of [B,N]."""
    fft = 2 * GRID_SAMPLES  # a Hann window of 20 ms is blind to the neighbours of a harmonic
    padded = pad(waveform, (GRID_SAMPLES // 2, GRID_SAMPLES // 2))
    window = torch.hann_window(fft, device=waveform.device)
    spectrum = torch.stft(padded, fft, GRID_SAMPLES, window=window, center=False, return_complex=True)
    return spectrum[:, 2 : 2 * HARMONICS + 1 : 2].abs() / (window.sum() / 2)


def synthesise(amplitude: Tensor) -> Tensor:
    """Give the sum of harmonics [B,N] that amplitudes [B,79,T] stand for, as the written weights make it."""
    blocks = conv_transpose1d(amplitude, _harmonics_to_blocks()[:, ::2], stride=BLOCKS, padding=BLOCKS // 2)
    return conv_transpose1d(blocks, _transform()[:, None], stride=BLOCK, padding=BLOCK // 2)[:, 0]


def _write_reading(first: nn.Conv1d, second: nn.ConvTranspose1d) -> None:
    """Let the first stage read each harmonic from its mel bin, as a rectified line.

    Two channels a harmonic: u − knee through a leaky rectifier, and u + 1, which takes away what leaks.
    """
    centre, height = mel_bins()
    knee = height + KNEE
    first_bias, second_bias = (cast("Tensor", layer.bias) for layer in (first, second))
    kinked = torch.arange(HARMONICS)
    straight = kinked + HARMONICS
    for channels, bias in ((kinked, -knee), (straight, torch.ones(HARMONICS))):
        first.weight[channels, centre, 3] = 1.0
        first_bias[channels] = bias
    slope = SLOPE_AT_KNEE / (1 - SLOPE)
    second.weight[kinked, kinked, 0] = slope
    second.weight[straight, kinked, 0] = -SLOPE * slope
    second_bias[kinked] = SLOPE * slope * (knee + 1)


@cache
def mel_bins() -> tuple[Tensor, Tensor]:
    """Give the mel bin of each harmonic, int64 [79], and what it reads there at the amplitude `LOUD`, in units."""
    centre = (mel_peaks_hz()[:, None] - GRID_HZ * torch.arange(1, HARMONICS + 1)).abs().argmin(0)
    frames = 24
    mels = log_mel(synthesise(LOUD * torch.eye(HARMONICS)[:, :, None].expand(-1, -1, frames)))
    return centre, (mels[torch.arange(HARMONICS), centre, frames // 2] - LOG_MEL_MIN) / UNIT


def mel_peaks_hz() -> Tensor:
    """Give the frequency [256] that each mel bin is most sensitive to."""
    top = hertz_to_mel(SAMPLE_RATE_HZ / 2, "slaney")
    return torch.from_numpy(mel_to_hertz(np.linspace(0, top, MEL_BINS + 2), "slaney"))[1:-1]


def _write_bend(block: ResBlock, layer: int, from_channels: Tensor, weight: float, knee: float) -> None:
    """Let the low channels [n] of a residual layer rise faster where `from_channels` [n,n] of them exceeds a knee.

    A leaky rectifier's leak makes the rest a little steeper too; of the shift that goes with it, the bias of channels
    that are never negative rids them.
    """
    count = len(from_channels)
    dilated, plain = (cast("nn.Conv1d", layers[layer]) for layers in (block.convs1, block.convs2))
    dilated.weight[:count, :count, 1] = from_channels
    cast("Tensor", dilated.bias)[:count] = -knee
    plain.weight[:count, :count, 1] = weight * from_channels.sign()
    if count == HARMONICS:
        cast("Tensor", plain.bias)[:count] = SLOPE * weight * knee


def _write(layer: nn.Conv1d | nn.ConvTranspose1d, values: Tensor) -> None:
    """Write values into the low channels."""
    layer.weight[: values.shape[0], : values.shape[1]] = values


def _harmonics_to_blocks() -> Tensor:
    """Give [79, 2·16, 20]: each harmonic's transform in each block of a frame, faded from frame to frame, and minus it.

    Both signs, because a leaky rectifier follows: from x and −x it leaves 1.1 x in their difference.
    """
    k = np.arange(1, HARMONICS + 1)[:, None]
    t = np.arange(-BLOCK // 2, GRID_SAMPLES + BLOCK // 2 + BLOCK)
    waves = np.sin(2 * np.pi * (k * GRID_HZ * t / SAMPLE_RATE_HZ + PHASES[k]))
    blocks = np.stack([waves[:, n * BLOCK : n * BLOCK + 2 * BLOCK] @ _transform().numpy().T for n in range(BLOCKS)], -1)
    tap = np.arange(2 * BLOCKS)
    fade = 1 - np.abs(tap - (BLOCKS - 0.5)) / BLOCKS
    one_sign = blocks[:, :, (tap - BLOCKS // 2) % BLOCKS] * fade
    return _both_signs(one_sign, axis=1)


def _blocks_to_samples() -> Tensor:
    """Give [2·16, 2, 32]: the inverse transform of both signs, to the waveform and to minus it."""
    inverse = _both_signs(_transform().numpy() / (1 + SLOPE), axis=0)
    return torch.stack([inverse, -inverse], dim=1)


def _signs_to_sample() -> Tensor:
    """Give [1, 2, 7]: the waveform from both signs of itself."""
    weight = torch.zeros(1, 2, 7)
    weight[0, :, 3] = torch.tensor([1.0, -1.0]) / (1 + LAST_SLOPE)
    return weight


def _both_signs(values: npt.NDArray[np.float64], axis: int) -> Tensor:
    """Interleave values with their negatives along an axis."""
    pairs = np.stack([values, -values], axis=axis + 1)
    shape = [*values.shape]
    shape[axis] *= 2
    return torch.from_numpy(pairs.reshape(shape)).float()


def _transform() -> Tensor:
    """Give the modified discrete cosine transform [16,32] with a sine window: its own inverse, overlapped by half."""
    m, t = np.arange(BLOCK)[:, None] + 0.5, np.arange(2 * BLOCK) + 0.5
    window = np.sin(np.pi * t / (2 * BLOCK))
    return torch.from_numpy(np.sqrt(2 / BLOCK) * window * np.cos(np.pi / BLOCK * (t + BLOCK / 2) * m)).float()
