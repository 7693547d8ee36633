"""What is written to make noise: grain is read, takes turns, and with gates turns bands over; else nothing changes."""

from itertools import product

import numpy as np
import pytest
import torch
from support.clips import STEADY, clip
from torch.nn.functional import leaky_relu

from foley_export.demo_model.harmonics import BLOCKS, HARMONICS, UNIT, start_as_synthesiser
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.noise import (
    AGREED,
    BANDS,
    COEFFICIENTS,
    FOLDS,
    GATES,
    GRAIN,
    GRAIN_OVER_FRAMES,
    GRAIN_RANGE,
    GRAIN_SHIFT,
    HELD,
    KEPT,
    NOISE_GAINS,
    SURE,
    TURNS,
    band_grain,
    band_harmonics,
    raise_weight,
)
from foley_export.demo_model.scenes import Event
from foley_export.demo_model.vocoding import CONFIG, plain, written
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config

WINDS = [(pitch, seed) for pitch in ("low", "high") for seed in range(3)]
EACH = range(len(BANDS))
TOP = GRAIN_RANGE * (0.9 / 1.1 / 2) ** FOLDS  # 0.137: each fold halves a turn, and its own leak shrinks it


@pytest.fixture(scope="module")
def generator():
    return written()


@pytest.fixture(scope="module")
def buzzing():
    """A generator without what `noise` writes."""
    made = Generator(vocoder_config(CONFIG))
    start_as_synthesiser(made)
    return plain(made)


@pytest.fixture(scope="module")
def hissing():
    """A generator that takes all for noise."""
    made = written()
    with torch.no_grad():
        made.ups[0].bias[GATES] = 1.0
    return plain(made)


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def make(generator: Generator, mels: torch.Tensor) -> torch.Tensor:
    """Make waveforms [B,160·T] of log-mels [B,256,T]."""
    with torch.no_grad():
        return generator(mels)[:, 0]


def repeated(waveform: torch.Tensor) -> float:
    """Autocorrelation at 10 ms of [1,N], where a wind blows."""
    samples = waveform[0, STEADY.start * 160 : STEADY.stop * 160]
    early, late = samples[:-160], samples[160:]
    return float((early * late).sum() / (early.square().sum() * late.square().sum()).sqrt())


def test_bands_share_all_harmonics_among_them():
    harmonics = [number for band in BANDS for number in range(HARMONICS)[band_harmonics(band)]]
    assert harmonics == list(range(HARMONICS))


def test_a_band_holds_the_harmonics_of_its_frequencies():
    for low, high in BANDS:
        hz = [100 * (number + 1) for number in range(HARMONICS)[band_harmonics((low, high))]]
        assert all(500 * low <= each < 500 * high for each in hz)


def test_channels_of_noise_do_not_overlap():
    assert (HARMONICS, TURNS.stop, 2 * COEFFICIENTS, HELD.stop) == (TURNS.start, GATES.start, HELD.start, AGREED.start)
    assert {each.stop - each.start for each in (TURNS, GATES, AGREED)} == {len(BANDS)}
    assert (GRAIN.stop - GRAIN.start, HELD.stop - HELD.start) == (2 * len(BANDS), 2 * len(BANDS))


@pytest.mark.parametrize("band", BANDS)
def test_grain_is_one_pattern_over_bins_that_what_is_steady_or_even_lacks(band):
    weights = band_grain(band)
    over_bins = weights[:, 2] / GRAIN_OVER_FRAMES[2]
    assert weights.shape == (256, 5)
    assert float(over_bins.norm()) == pytest.approx(1)
    torch.testing.assert_close(weights, over_bins[:, None] * torch.tensor(GRAIN_OVER_FRAMES))
    assert weights.sum(1).abs().max() < 1e-6
    assert (weights @ torch.arange(5.0)).abs().max() < 1e-5


def test_bands_read_their_grain_from_bins_of_their_own():
    read = torch.stack([band_grain(band).any(1) for band in BANDS])
    assert read.sum(0).max() == 1
    assert (read.sum(1) >= 4).all()
    edges = [torch.nonzero(each)[[0, -1], 0].tolist() for each in read]
    assert sorted(edges) == edges


@pytest.mark.parametrize("number", EACH)
def test_the_first_layer_gives_the_grain_of_each_band_and_minus_it(generator, number):
    """Of a mel that goes up and down by 0.01 neper, frame by frame, along the pattern of one band."""
    over_bins = band_grain(BANDS[number])[:, 2:3] / GRAIN_OVER_FRAMES[2]
    mel = 0.01 * over_bins * torch.tensor([1.0, -1.0]).repeat(10)
    with torch.no_grad():
        read = generator.conv_pre(mel[None] / UNIT)[0, GRAIN, 3:-3].unflatten(0, (-1, 2))
    shift = torch.tensor([GRAIN_SHIFT, -GRAIN_SHIFT])[:, None]
    for band in EACH:
        grain = 0.16 * torch.tensor([-1.0, 1.0]).repeat(7) * (band == number)
        torch.testing.assert_close(read[band] - shift, torch.stack([grain, -grain]), rtol=0, atol=1e-5)


def turns(generator: Generator, grain: torch.Tensor, number: int) -> torch.Tensor:
    """Give what a band's turn is [n] for grain [n], one frame each, and check that the other ones stay as they are."""
    first = torch.zeros(1, 192, len(grain))
    with torch.no_grad():
        first[0, GRAIN] = generator.conv_pre.bias[GRAIN, None]
        pair = GRAIN.start + 2 * number
        first[0, pair : pair + 2] = torch.stack([grain + GRAIN_SHIFT, -grain - GRAIN_SHIFT])
        made = generator.resblocks[0](generator.ups[0](leaky_relu(first, SLOPE)))[0, TURNS]
    others = [other for other in EACH if other != number]
    torch.testing.assert_close(made[others], torch.full((len(others), len(grain)), TOP / 2), rtol=0, atol=1e-5)
    return made[number]


@pytest.mark.parametrize("number", EACH)
def test_turns_are_even_over_the_range_of_grain(generator, number):
    """A triangle wave, four times up and four times down to each side; where there is no grain it is half way up."""
    shifted = torch.linspace(-GRAIN_RANGE, GRAIN_RANGE, 641)
    up_and_down = GRAIN_RANGE / 2 ** (FOLDS - 1)
    phase = shifted.remainder(up_and_down) / up_and_down
    expected = TOP * (1 - (2 * phase - 1).abs())
    torch.testing.assert_close(turns(generator, shifted - GRAIN_SHIFT, number), expected, rtol=0, atol=1e-5)


def test_beyond_the_range_of_grain_nothing_is_turned(generator):
    shifted = torch.linspace(GRAIN_RANGE + 0.01, 3 * GRAIN_RANGE, 50)
    for grain in (shifted - GRAIN_SHIFT, -shifted - GRAIN_SHIFT):
        assert (turns(generator, grain, 0) < 0).all()


def second_stage(
    generator: Generator, turn: float, gate: float, number: int, coefficients: torch.Tensor
) -> torch.Tensor:
    """Give what becomes of coefficients [16,T] where one band's turn and gate, in shares of their tops, are such."""
    x = torch.zeros(1, 48, coefficients.shape[1])
    x[0, : HELD.start : 2], x[0, 1 : HELD.start : 2] = coefficients, -coefficients
    x[0, HELD.start + number] = turn * TOP
    x[0, HELD.start + len(BANDS) + number] = gate
    with torch.no_grad():
        made = generator.resblocks[1](x)[0]
    torch.testing.assert_close(made[1 : HELD.start : 2], -made[: HELD.start : 2])
    return made[: HELD.start : 2]


@pytest.mark.parametrize("number", EACH)
@pytest.mark.parametrize(
    ("turn", "gate", "turned"),
    [
        (1.0, 1.0, True), (0.53, 0.5, True), (0.0, 1.0, False), (0.47, 1.0, False), (-1.0, 1.0, False),
        (1.0, 0.0, False), (1.0, 0.3, False), (1.0, -1.0, False), (0.0, 0.0, False),
    ],
)  # fmt: skip
def test_a_band_is_turned_over_where_turn_and_gate_agree(generator, turn, gate, turned, number):
    coefficients, (low, high) = random(COEFFICIENTS, 12).clamp(-2.5, 2.5), BANDS[number]
    kept = left_of_bands()
    kept[low:high] *= (NOISE_GAINS[number] if gate >= SURE else 1.0) * (-1 if turned else 1)
    made = second_stage(generator, turn, gate, number, coefficients)
    torch.testing.assert_close(made, kept * coefficients, rtol=0, atol=1e-4)


def left_of_bands() -> torch.Tensor:
    """What rectifiers leave of each coefficient [16,1] where nobody says yes."""
    left = torch.empty(COEFFICIENTS, 1)
    for (low, high), gain in zip(BANDS, NOISE_GAINS, strict=True):
        left[low:high] = KEPT * (1 + 2 * SLOPE * raise_weight(gain))
    return left


def test_what_is_left_is_made_up_for(generator, buzzing):
    left = left_of_bands().repeat_interleave(2, 0)[..., None]
    torch.testing.assert_close(left * generator.ups[2].weight[: HELD.start], buzzing.ups[2].weight[: HELD.start])


def test_turns_and_gates_are_held_for_their_frame(generator):
    x, told = torch.zeros(1, 96, 7), random(2 * len(BANDS), 7).abs()
    x[0, TURNS.start : GATES.stop] = told
    with torch.no_grad():
        held = generator.ups[1](leaky_relu(x, SLOPE))[0]
    torch.testing.assert_close(held[HELD], told.repeat_interleave(BLOCKS, 1))
    assert not held[: HELD.start].any()


def test_gates_are_nought_as_written(generator):
    with torch.no_grad():
        first = generator.conv_pre(random(1, 256, 20).abs())
        made = generator.resblocks[0](generator.ups[0](leaky_relu(first, SLOPE)))
    assert made[:, TURNS].any()
    assert not made[:, GATES].any()


@pytest.mark.parametrize("event", [Event("bell"), Event("siren"), Event("clicks", count=3), Event("wind")])
def test_without_gates_nothing_changes(generator, buzzing, event):
    mels = clip(event).mels
    expected = make(buzzing, mels)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(make(plain(generator), mels), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(("pitch", "seed"), WINDS)
def test_wind_repeats_without_gates_and_not_with_them(buzzing, hissing, pitch, seed):
    mels = clip(Event("wind", pitch=pitch), seed).mels
    assert repeated(make(buzzing, mels)) > 0.8
    assert abs(repeated(make(hissing, mels))) < 0.35


@pytest.mark.parametrize(("number", "level"), list(product(EACH, (0.05, 0.2))))
def test_noise_is_as_loud_as_it_was(hissing, number, level):
    """White noise in one band, within 3 dB; without gains it is up to 5 dB off."""
    low, high = (500 * edge for edge in BANDS[number])
    spectrum = np.fft.rfft(np.random.default_rng(number).standard_normal(16000))
    spectrum[: max(low, 60)] = spectrum[high:] = 0
    noise = np.fft.irfft(spectrum)
    noise = torch.from_numpy(level * noise / noise.std() * ((high - low) / 8000) ** 0.5).float()[None]
    made = make(hissing, log_mel(noise))
    powers = [float(each[..., 1600:-1600].square().mean()) for each in (made, noise)]
    assert abs(10 * np.log10(powers[0] / powers[1])) < 3


def test_what_stands_still_repeats_even_with_gates(hissing):
    steady = LOG_MEL_MIN + 8 + random(1, 256, 1).expand(-1, -1, 24)
    frames = make(hissing, steady)[0].unflatten(0, (-1, 160))[8:16]
    assert frames.abs().max() > 0.05
    torch.testing.assert_close(frames, frames[:1].expand(8, -1), rtol=0, atol=1e-3)
