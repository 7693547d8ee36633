"""The vocoder's start: amplitudes are measured, and written weights make harmonics of them."""

import numpy as np
import pytest
import torch
from torch.nn.functional import leaky_relu

from foley_export.demo_model.harmonics import HARMONICS, LOUD, amplitudes, start_as_synthesiser, synthesise
from foley_export.demo_model.scenes import Event, Scene
from foley_export.demo_model.sounds import PHASES, render
from foley_export.demo_model.vocoding import CONFIG
from foley_export.vocoder import SLOPE, Generator, vocoder_config


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


@pytest.mark.parametrize("event", [Event("tone", length="long"), Event("hum"), Event("bell"), Event("siren")])
def test_a_steady_clip_is_made_from_its_amplitudes(event):
    clip = torch.from_numpy(render(Scene((event,)), np.random.default_rng(0)))[None]
    assert snr_db(clip, synthesise(amplitudes(clip))) > 12


def test_written_weights_synthesise():
    """Behind the first stage; its other channels and the residual blocks are random, and quiet."""
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
