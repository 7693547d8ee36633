"""Noise gets signs from the grain of its mels, and with them does not repeat; which crops are drawn."""

import numpy as np
import pytest
import torch
from support.clips import STEADY, clip

from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.harmonics import HARMONICS, amplitudes, synthesise
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.noise import Crops, draw, signs
from foley_export.demo_model.scenes import Event

WINDS = [(pitch, seed) for pitch in ("low", "high") for seed in range(3)]


def repeated(waveform: torch.Tensor) -> float:
    """Autocorrelation at 10 ms of [1,N], where a wind blows."""
    samples = waveform[0, STEADY.start * 160 : STEADY.stop * 160]
    early, late = samples[:-160], samples[160:]
    return float((early * late).sum() / (early.square().sum() * late.square().sum()).sqrt())


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def marked(noisy: list[bool]) -> Sounds:
    """Clips whose mels are their numbers; noise is half as loud as the whole."""
    mels = np.broadcast_to(np.arange(len(noisy), dtype=np.float16)[:, None, None], (len(noisy), 256, 256))
    waveforms = np.full((len(noisy), 40960), 8000, np.int16)
    return Sounds(waveforms, mels, waveforms // 2 * np.array(noisy, np.int16)[:, None], np.array(noisy))


def drawn(sounds: Sounds, seed: int, count: int = 10, frames: int = 24) -> Crops:
    """Draw crops of the sounds' own mels, which stand for decoded ones too."""
    return draw(sounds, sounds.mels, np.random.default_rng(seed), count, frames)


def test_steady_mels_and_even_glides_have_no_signs():
    steady = 3 * random(2, 256, 1).expand(-1, -1, 20)
    assert signs(steady).shape == (2, HARMONICS, 20)
    torch.testing.assert_close(signs(steady), torch.zeros(2, HARMONICS, 20), rtol=0, atol=1e-4)
    gliding = steady + 0.5 * torch.arange(20)
    torch.testing.assert_close(signs(gliding)[..., 2:-2], torch.zeros(2, HARMONICS, 16), rtol=0, atol=1e-4)


def test_signs_lie_between_minus_one_and_one_and_fade_with_the_grain():
    grainy = random(2, 256, 50)
    strong, weak = signs(10 * grainy), signs(1e-3 * grainy)
    assert strong.abs().max() <= 1
    assert strong.abs().mean() > 0.9
    assert 0 < weak.abs().max() < 0.1
    assert torch.equal(strong.sign(), weak.sign())


@pytest.mark.parametrize(("pitch", "seed"), WINDS)
def test_in_wind_signs_flip_about_every_second_frame(pitch, seed):
    crops = clip(Event("wind", pitch=pitch), seed)
    loudest = amplitudes(crops.noise)[0].mean(1).topk(4).indices
    positive = signs(crops.mels)[0, loudest, STEADY] > 0
    assert 0.4 < (positive[:, 1:] != positive[:, :-1]).float().mean() < 0.75


@pytest.mark.parametrize(("pitch", "seed"), WINDS)
def test_wind_repeats_without_signs_and_not_with_them(pitch, seed):
    crops = clip(Event("wind", pitch=pitch), seed)
    assert abs(repeated(crops.target())) < 0.35
    assert repeated(synthesise(amplitudes(crops.noise))) > 0.8


@pytest.mark.parametrize("kind", ["tone", "siren", "clicks"])
def test_the_target_of_a_clear_clip_is_the_clip(kind):
    crops = clip(Event(kind))
    assert torch.equal(crops.target(), crops.clear)


def test_the_target_keeps_what_is_clear_beside_noise():
    wind, bell = clip(Event("wind")), clip(Event("bell"))
    both = Crops(wind.mels, bell.clear, wind.noise)
    torch.testing.assert_close(both.target() - wind.target(), bell.clear, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("count", "frames"), [(10, 24), (3, 64)])
def test_crops_have_their_shapes(sounds, count, frames):
    crops = drawn(sounds, 0, count, frames)
    assert crops.mels.shape == (count, 256, frames)
    assert crops.clear.shape == crops.noise.shape == (count, 160 * frames)
    assert {value.dtype for value in vars(crops).values()} == {torch.float32}


def test_mels_and_both_parts_of_a_crop_belong_together(sounds):
    for seed in range(3):
        crops, inner = drawn(sounds, seed, frames=40), slice(8, 32)
        got, expected = log_mel(crops.clear + crops.noise)[..., inner], crops.mels[..., inner]
        heard = expected > -7  # below, 16-bit samples have noise of their own
        assert heard.any()
        torch.testing.assert_close(got[heard], expected[heard], rtol=0, atol=0.05)


def test_three_in_five_mels_are_decoded_ones(sounds):
    decoded = np.full_like(sounds.mels, -7)
    crops = [draw(sounds, decoded, np.random.default_rng(seed), 10, 24) for seed in range(40)]
    taken = torch.cat([(each.mels == -7).all(2).all(1) for each in crops])
    assert 0.5 < taken.float().mean() < 0.7


def test_two_crops_in_five_or_more_are_noisy():
    sounds = marked([False] * 9 + [True])
    for seed in range(10):
        crops = drawn(sounds, seed)
        noisy = crops.mels[:, 0, 0] == 9
        assert noisy[:4].all()
        assert noisy.sum() < 10
        assert torch.equal(crops.noise.any(1), noisy)


@pytest.mark.parametrize("noisy", [False, True])
def test_crops_come_from_corpora_that_are_all_alike(noisy):
    crops = drawn(marked([noisy] * 3), 0, count=20)
    assert crops.noise.any(1).tolist() == [noisy] * 20
    assert set(crops.mels[:, 0, 0].tolist()) == {0, 1, 2}


def test_silence_is_drawn_seldom():
    loud = marked([False] * 2)
    waveforms = loud.waveforms * np.array([[0], [1]], np.int16)
    crops = drawn(Sounds(waveforms, loud.mels, loud.noises, loud.noisy), 0, count=100)
    assert 0 < (crops.mels[:, 0, 0] == 0).sum() < 25


def test_crops_depend_on_the_generator_only(sounds):
    first, again, other = (vars(drawn(sounds, seed)) for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert not torch.equal(first["mels"], other["mels"])
