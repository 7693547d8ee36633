"""The vocoder's losses, and the generator that reads scaled mels made plain again."""

import numpy as np
import pytest
import torch

from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.vocoding import (
    CONFIG,
    UnitGenerator,
    crops,
    log_magnitude,
    spectral_distance,
    waveform_error,
)
from foley_export.vocoder import Generator, vocoder_config


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return UnitGenerator(vocoder_config(CONFIG)).eval()


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_plain_generator_makes_the_same_of_raw_mels(generator):
    mel = torch.cat([log_mel(noise(1, 3200)), log_mel(torch.zeros(1, 3200))], 2)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    plain = generator.plain()
    assert type(plain) is Generator
    with torch.no_grad():
        torch.testing.assert_close(plain(mel), generator(mel), rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_a_generator_makes_160_samples_a_frame(generator):
    with torch.no_grad():
        waveform = generator(torch.randn(2, 256, 9))
    assert waveform.shape == (2, 1, 1440)
    assert waveform.abs().max() <= 1


def test_spectral_distance_is_nought_between_equals_and_grows_with_noise():
    clip, other = noise(1, 5120), noise(1, 5120, seed=1)
    assert spectral_distance(clip, clip) == 0
    assert 0 < spectral_distance(clip + 0.1 * other, clip) < spectral_distance(clip + other, clip)


def test_the_error_of_a_waveform_is_in_units_of_its_own():
    real, other = noise(3, 5120), noise(3, 5120, seed=1)
    errors = [waveform_error(real + level * other, real) for level in (0.0, 0.1, 0.5)]
    assert errors[0] == 0
    assert 0 < errors[1] < errors[2]
    halved = waveform_error(0.5 * (real + 0.5 * other), 0.5 * real)
    assert halved == pytest.approx(float(errors[2]), rel=0.2)
    assert waveform_error(torch.zeros(1, 5120), torch.zeros(1, 5120)) == 0


def test_a_batch_of_noise_alone_has_no_error_but_can_be_descended():
    made = noise(2, 5120).requires_grad_()
    nobody = torch.zeros(2, dtype=torch.bool)
    error = waveform_error(made[nobody], noise(2, 5120, seed=1)[nobody])
    torch.autograd.backward(error)
    assert error == 0
    assert not made.grad.any()


def test_log_magnitudes_of_silence_are_the_floor():
    magnitudes = log_magnitude(torch.zeros(1, 5120), 512, 128)
    assert magnitudes.shape[:2] == (1, 257)
    np.testing.assert_allclose(magnitudes, np.log(1e-2), rtol=1e-5)


def draw(sounds, seed, decoded=None):
    return crops(sounds, np.random.default_rng(seed), decoded)


def test_crops_of_mels_and_waveforms_belong_together(sounds):
    for seed in range(3):
        mel, waveform, noisy = draw(sounds, seed)
        frames = waveform.shape[1] // 160
        assert mel.shape == (len(waveform), 256, frames)
        assert noisy.shape == (len(waveform),)
        inner = slice(8, frames - 8)  # at the edges, a clip goes on where a crop does not
        got, expected = log_mel(waveform)[..., inner], mel[..., inner]
        heard = expected > -7  # below, 16-bit samples have noise of their own
        assert heard.any()
        torch.testing.assert_close(got[heard], expected[heard], rtol=0, atol=0.05)


def test_crops_depend_on_the_generator_only(sounds):
    first, again, other = draw(sounds, 1), draw(sounds, 1), draw(sounds, 2)
    assert all(torch.equal(one, two) for one, two in zip(first, again, strict=True))
    assert not torch.equal(first[1], other[1])


def test_half_of_the_mels_are_decoded_ones_when_fitting(sounds):
    decoded = np.full_like(sounds.mels, 7)
    taken = torch.cat([(draw(sounds, seed, decoded)[0] == 7).all(2).all(1) for seed in range(40)])
    assert 0.4 < taken.float().mean() < 0.6
