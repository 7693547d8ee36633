"""How the vocoder makes noise: it turns bands over from frame to frame, as the grain of the mel has it.

From frames that are all alike the generator can only make what repeats every 10 ms, and no mel tells the waveform of
noise. So each of five bands has a channel that the grain of its mel decides, as good as at random, and one that tells
noise from other sound. The first is written here, the second is learnt (`vocoding.GateTask`). Where both agree, the
band is turned over for a frame: neither ear nor autocorrelation takes that for a repetition, and a level stays.
"""

from collections.abc import Sequence
from typing import Final, cast

import torch
from torch import Tensor, nn

from foley_export.demo_model.harmonics import BLOCKS, HARMONICS, UNIT, mel_peaks_hz
from foley_export.demo_model.sounds import GRID_HZ, SAMPLE_RATE_HZ
from foley_export.vocoder import SLOPE, Generator, ResBlock

BANDS: Final = ((0, 2), (2, 4), (4, 7), (7, 11), (11, 16))
"""First coefficient of the transform of each band, and one past its last; a coefficient is 500 Hz wide."""
COEFFICIENTS: Final = BANDS[-1][1]
GRAIN_OVER_FRAMES: Final = (1.0, -4.0, 6.0, -4.0, 1.0)
"""The fourth difference: grain turns from frame to frame, in spite of a window of six frames."""
GRAIN_OVER_BINS: Final = (1.0, -1.0, -1.0, 1.0)
BIN_STEP: Final = 3
"""Neighbouring mel bins have much of their grain in common."""
GRAIN_RANGE: Final = 2.0
"""Nepers of grain, up and down, in which a channel takes turns; beyond, it rests."""
FOLDS: Final = 3
"""Each makes twice as many turns of what is left: decoded grain is weak and alternates, its turns do neither."""
GRAIN_SHIFT: Final = GRAIN_RANGE / 2 ** (FOLDS + 1)
"""Half a turn: where there is nearly no grain, a channel lies between yes and no."""
FOLD: Final = -2 / (1 + SLOPE)
"""Weight of a rectifier's output that makes its input fall as fast beyond its knee as it rises before it."""
SHARPNESS: Final = 0.06
"""Share of a turn in which a channel passes from no to yes."""
UNSURE, SURE = 0.3, 0.5
"""What a learnt channel gives between no noise and noise."""
TURN: Final = -2 / (1 + 3 * SLOPE)
"""Weight of two rectifiers' difference that turns a coefficient over, where it passes them; the rest shrinks to …"""
KEPT: Final = 1 + 2 * SLOPE * TURN
"""… so much of it."""
NOISE_GAINS: Final = (1.8, 1.7, 1.4, 0.8, 0.55)
"""What each band is raised by where there is noise: a harmonic stands for 100 Hz of it, and is read as if it were one
tone from a mel bin that hears 23 Hz below and more above. White noise of 0.03 to 0.3 of full scale asks for 1.8, 1.6,
1.2, 0.75, 0.55; where wind blows, whose quiet frames are read too low, it is a little more."""
FAR: Final = 6.0
"""What a coefficient never reaches."""

TURNS: Final = slice(HARMONICS, HARMONICS + len(BANDS))
"""Channels of the first stage that take turns, …"""
GRAIN: Final = slice(2 * HARMONICS, 2 * HARMONICS + 2 * len(BANDS))
"""… and of its first layer, the grain of each band and minus it: behind the two of each harmonic."""
GATES: Final = slice(TURNS.stop, TURNS.stop + len(BANDS))
"""Channels of the first stage that are 1 where there is noise, 0 where there is none."""
HELD: Final = slice(2 * COEFFICIENTS, 2 * COEFFICIENTS + 2 * len(BANDS))
"""Channels of the second stage: turns, then gates, held for a frame; gates from 0 on are then clipped to 0 and 1."""
AGREED: Final = slice(HELD.stop, HELD.stop + len(BANDS))
"""Channels of the second stage that are 2 where both say yes, 1 or less elsewhere."""


def band_harmonics(band: tuple[int, int]) -> slice:
    """Give which of the 79 harmonics lie in a band."""
    to_harmonics = SAMPLE_RATE_HZ // (2 * COEFFICIENTS * GRID_HZ)
    return slice(max(band[0] * to_harmonics - 1, 0), min(band[1] * to_harmonics - 1, HARMONICS))


def band_grain(band: tuple[int, int]) -> Tensor:
    """Give the weights [256,5] of the grain of a band in log-mels, over bins and frames."""
    peaks_hz, width_hz = mel_peaks_hz(), SAMPLE_RATE_HZ / (2 * COEFFICIENTS)
    inside = torch.nonzero((peaks_hz > max(band[0] * width_hz, 0.9 * GRID_HZ)) & (peaks_hz < band[1] * width_hz))[:, 0]
    bins = inside[::BIN_STEP]
    pattern = torch.tensor(GRAIN_OVER_BINS).repeat(len(bins))[: len(bins)]
    weights = torch.zeros(len(peaks_hz), len(GRAIN_OVER_FRAMES))
    weights[bins] = pattern[:, None] / pattern.norm() * torch.tensor(GRAIN_OVER_FRAMES)
    return weights


def write_noise(generator: Generator) -> None:
    """Write what takes turns and what turns bands over into a generator that `harmonics` wrote; its gates stay 0."""
    stages = cast("list[nn.ConvTranspose1d]", list(generator.ups))
    blocks = cast("list[ResBlock]", list(generator.resblocks))
    with torch.no_grad():
        _write_grain(generator.conv_pre, stages[0])
        knee = GRAIN_RANGE / 2
        for layer in range(FOLDS):
            _write_fold(blocks[0], layer, knee)
            knee *= (1 + SLOPE * FOLD) / 2
        _hold(stages[1])
        _write_agreement(blocks[1], turned=2 * knee)
        _write_rectifiers(blocks[1], 1, AGREED.start, yes=2.0, weights=[TURN] * len(BANDS))
        raises = [raise_weight(gain) for gain in NOISE_GAINS]
        _write_rectifiers(blocks[1], 2, HELD.start + len(BANDS), yes=1.0, weights=raises)
        for (low, high), weight in zip(BANDS, raises, strict=True):
            stages[2].weight[2 * low : 2 * high] /= KEPT * (1 + 2 * SLOPE * weight)


def raise_weight(gain: float) -> float:
    """Give the weight of two rectifiers' difference that makes what passes them so much louder than the rest."""
    return (gain - 1) / (1 + SLOPE - 2 * SLOPE * gain)


def _write_grain(first: nn.Conv1d, second: nn.ConvTranspose1d) -> None:
    """Let a channel each fall from the top of its range as the grain of a band goes up or down."""
    for number, band in enumerate(BANDS):
        out = TURNS.start + number
        for channel, sign in ((GRAIN.start + 2 * number, 1.0), (GRAIN.start + 2 * number + 1, -1.0)):
            first.weight[channel, :, 1:-1] = sign * UNIT * band_grain(band)
            cast("Tensor", first.bias)[channel] = sign * GRAIN_SHIFT
            second.weight[channel, out, 0] = -1 / (1 - SLOPE)
        cast("Tensor", second.bias)[out] = GRAIN_RANGE


def _write_fold(block: ResBlock, layer: int, knee: float) -> None:
    """Fold channels that go from 0 to two knees: they go to what is left of the knee, and back to 0."""
    dilated, plain = (cast("nn.Conv1d", layers[layer]) for layers in (block.convs1, block.convs2))
    channels = torch.arange(TURNS.start, TURNS.stop)
    dilated.weight[channels, channels, 1] = 1.0
    cast("Tensor", dilated.bias)[channels] = -knee
    plain.weight[channels, channels, 1] = FOLD
    cast("Tensor", plain.bias)[channels] = SLOPE * FOLD * knee


def _hold(stage: nn.ConvTranspose1d) -> None:
    """Hold the first stage's turns and gates for the blocks of a frame."""
    read = torch.arange(TURNS.start, GATES.stop)
    stage.weight[read, torch.arange(HELD.start, HELD.stop), BLOCKS // 2 : BLOCKS // 2 + BLOCKS] = 1.0


def _write_agreement(block: ResBlock, turned: float) -> None:
    """Clip what a band's turn (from 0 to `turned`) and its gate say to 0 and 1; add them up, and keep the gate's."""
    dilated, plain = (cast("nn.Conv1d", layers[0]) for layers in (block.convs1, block.convs2))
    dilated_bias, plain_bias = (cast("Tensor", layer.bias) for layer in (dilated, plain))
    between = (turned * (0.5 - SHARPNESS / 2), turned * (0.5 + SHARPNESS / 2))
    for number in range(len(BANDS)):
        agreed, gate = AGREED.start + number, HELD.start + len(BANDS) + number
        for row, (held, (no, yes), targets) in enumerate(
            ((HELD.start + number, between, [agreed]), (gate, (UNSURE, SURE), [agreed, gate]))
        ):
            steep = 1 / (yes - no)
            for inner, knee, sign in ((0, no, 1.0), (1, yes, -1.0)):
                hidden = 4 * number + 2 * row + inner
                dilated.weight[hidden, held, 1] = steep
                dilated_bias[hidden] = -steep * knee
                plain.weight[targets, hidden, 1] = sign / (1 - SLOPE)
            plain_bias[targets] -= SLOPE / (1 - SLOPE)
        whole = 4 * len(BANDS) + number
        dilated.weight[whole, gate, 1] = 1.0
        plain.weight[gate, whole, 1] = -1.0


def _write_rectifiers(block: ResBlock, layer: int, channel: int, yes: float, weights: Sequence[float]) -> None:
    """Add its band's weight of each coefficient to it where the band's channel, from `channel` on, says yes."""
    dilated, plain = (cast("nn.Conv1d", layers[layer]) for layers in (block.convs1, block.convs2))
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    for number, ((low, high), weight) in enumerate(zip(BANDS, weights, strict=True)):
        for coefficient in range(low, high):
            pair = slice(2 * coefficient, 2 * coefficient + 2)
            dilated.weight[pair, pair, 1] = signs / (1 + SLOPE)
            dilated.weight[pair, channel + number, 1] = FAR
            cast("Tensor", dilated.bias)[pair] = -yes * FAR
            plain.weight[pair, pair, 1] = weight * signs
