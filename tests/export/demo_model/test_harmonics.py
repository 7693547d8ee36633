"""The vocoder's start: amplitudes are measured; written weights read them from mels and make harmonics of them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from foley_export.demo_model import harmonics
from foley_export.demo_model.harmonics import (
    HARMONICS,
    LOUD,
    UNIT,
    amplitudes,
    mel_bins,
    mel_peaks_hz,
    start_as_synthesiser,
    synthesise,
)
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.readers import Reader
from foley_export.demo_model.scenes import Event, Scene
from foley_export.demo_model.sounds import PHASES, render
from foley_export.demo_model.vocoding import AMPLITUDES, CONFIG, plain, written
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config


@pytest.fixture(scope="module")
def generator():
    return plain(written())


@pytest.fixture(scope="module")
def reader():
    return Reader(written(), AMPLITUDES)


def snr_db(expected: torch.Tensor, got: torch.Tensor) -> float:
    return float(10 * torch.log10(expected.square().sum() / (got - expected).square().sum()))


def harmonic(number: int, level: float = 0.3, frames: int = 20) -> torch.Tensor:
    """A harmonic of 100 Hz at its phase, [1,N]."""
    t = np.arange(frames * 160) / 16000
    return torch.from_numpy(level * np.sin(2 * np.pi * (100 * number * t + PHASES[number]))).float()[None]


@pytest.mark.parametrize("number", [1, 2, 7, 40, 79])
def test_the_amplitude_of_a_harmonic_is_measured_in_its_place(number):
    measured = amplitudes(harmonic(number))
    assert measured.shape == (1, HARMONICS, 20)
    expected = torch.zeros(HARMONICS)
    expected[number - 1] = 0.3
    for frame in range(1, 19):
        torch.testing.assert_close(measured[0, :, frame], expected, rtol=0, atol=2e-3)


@pytest.mark.parametrize("number", [1, 2, 7, 40, 79])
def test_an_amplitude_is_made_into_its_harmonic(number):
    amplitude = torch.zeros(1, HARMONICS, 20)
    amplitude[:, number - 1] = 0.3
    made, inner = synthesise(amplitude), slice(320, -320)
    assert made.shape == (1, 3200)
    assert snr_db(harmonic(number)[:, inner], made[:, inner]) > 60


@pytest.mark.parametrize("number", [1, 2, 7, 40, 79])
def test_a_harmonic_is_loudest_in_its_mel_bin(number):
    centre, height = mel_bins()
    assert centre.shape == height.shape == (HARMONICS,)
    mel = log_mel(harmonic(number))[0, :, 10]
    assert mel[centre[number - 1]] > mel.max() - 0.2
    loud = log_mel(harmonic(number, LOUD))[0, centre[number - 1], 10]
    assert (loud - LOG_MEL_MIN) / UNIT == pytest.approx(float(height[number - 1]), abs=0.01)


def test_a_mel_bin_is_most_sensitive_to_its_peak():
    peaks_hz = mel_peaks_hz()
    assert peaks_hz.shape == (256,)
    assert (peaks_hz.diff() > 0).all()
    for number in (60, 128, 200, 250):  # below, a bin is narrower than the window tells apart
        hz = torch.stack([peaks_hz[number] + off for off in (-120.0, -60.0, 0.0, 60.0, 120.0)])
        waves = 0.3 * torch.sin(2 * torch.pi * hz[:, None] * torch.arange(4800) / 16000).float()
        assert log_mel(waves)[:, number, 15].argmax() == 2


def test_all_other_weights_are_nought():
    """Whatever they were, and however often it is written."""
    states = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        generator = Generator(vocoder_config(CONFIG))
        start_as_synthesiser(generator)
        states.append({name: value.clone() for name, value in generator.state_dict().items()})
        start_as_synthesiser(generator)
        states.append(generator.state_dict())
    assert all(torch.equal(value, state[name]) for state in states[1:] for name, value in states[0].items())
    assert not states[0]["conv_pre.weight"][2 * HARMONICS :].any()
    assert not states[0]["ups.0.weight"][:, HARMONICS:].any()
    assert not states[0]["resblocks.1.convs1.0.weight"].any()


@pytest.mark.parametrize("event", [Event("tone", length="long"), Event("hum"), Event("bell"), Event("siren")])
def test_a_steady_clip_is_made_from_its_amplitudes(event):
    clip = torch.from_numpy(render(Scene((event,)), np.random.default_rng(0)))[None]
    assert snr_db(clip, synthesise(amplitudes(clip))) > 12


def test_written_weights_synthesise():
    """Behind the first stage; whatever was random is gone."""
    torch.manual_seed(0)
    generator = Generator(vocoder_config(CONFIG))
    start_as_synthesiser(generator)
    clip = torch.from_numpy(render(Scene((Event("bell", pitch="mid"),)), np.random.default_rng(0)))[None]
    x = torch.zeros(1, generator.ups[1].weight.shape[0], clip.shape[1] // 160)
    x[:, :HARMONICS] = amplitudes(clip) / LOUD
    with torch.no_grad():
        for stage, up in list(enumerate(generator.ups))[1:]:
            x = up(leaky_relu(x, SLOPE))
            blocks = generator.resblocks[stage * generator.kernels : (stage + 1) * generator.kernels]
            x = sum(block(x) for block in blocks) / generator.kernels
        made = generator.conv_post(leaky_relu(x, 0.01))[:, 0]
    assert snr_db(synthesise(amplitudes(clip)), made) > 10


@pytest.mark.parametrize("number", [1, 5, 20, 60])
@pytest.mark.parametrize("level", [0.02, 0.1, 0.5, 0.9])
def test_the_amplitude_of_a_steady_harmonic_is_read_from_its_mel(reader, number, level):
    with torch.no_grad():
        read = LOUD * leaky_relu(reader(log_mel(harmonic(number, level))), SLOPE)[0, :, 8:12]
    for column in read.T:
        assert column[number - 1] == pytest.approx(level, rel=0.2)
        others = torch.cat([column[: number - 1], column[number:]])
        assert others.abs().max() < 0.02


def crest(generator: torch.nn.Module, number: int) -> float:
    """Peak of what is made of the mel of a harmonic of 0.9."""
    with torch.no_grad():
        return float(generator(log_mel(harmonic(number, 0.9)))[..., 1000:-1000].abs().max())


@pytest.mark.parametrize("number", [1, 5, 20, 60])
def test_crests_are_loud_in_spite_of_tanh(generator, monkeypatch, number):
    assert 0.72 <= crest(generator, number) < 0.95
    monkeypatch.setattr(harmonics, "CREST_BENDS", ())
    assert crest(plain(written()), number) < 0.72


@pytest.mark.parametrize(
    ("event", "least_db"), [(Event("tone", length="long"), 16), (Event("hum"), 14), (Event("bell"), 12)]
)
def test_the_written_generator_makes_clear_sounds_from_their_mels(generator, event, least_db):
    waveform = torch.from_numpy(render(Scene((event,)), np.random.default_rng(0)))[None]
    with torch.no_grad():
        made = generator(log_mel(waveform))[:, 0]
    assert snr_db(waveform, made) > least_db


def test_the_written_generator_is_nearly_silent_in_silence(generator):
    with torch.no_grad():
        made = generator(log_mel(torch.zeros(1, 3200)))[..., 640:-640]
    assert made.abs().max() < 0.015


@pytest.mark.parametrize("level", ["quiet", None, "loud"])
def test_clicks_keep_their_level_through_the_written_generator(generator, level):
    clip = torch.from_numpy(render(Scene((Event("clicks", level=level),)), np.random.default_rng(0)))[None]
    with torch.no_grad():
        made = generator(log_mel(clip))
    assert abs(20 * float(torch.log10(made.abs().max() / clip.abs().max()))) < 3
