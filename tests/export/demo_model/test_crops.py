"""Crops: mels and both parts of the sound belong together; which ones are drawn."""

import numpy as np
import pytest
import torch

from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.crops import Crops, draw
from foley_export.demo_model.mel import log_mel


def marked(noisy: list[bool]) -> Sounds:
    """Clips whose mels are their numbers; noise is half as loud as the whole."""
    mels = np.broadcast_to(np.arange(len(noisy), dtype=np.float16)[:, None, None], (len(noisy), 256, 256))
    waveforms = np.full((len(noisy), 40960), 8000, np.int16)
    return Sounds(waveforms, mels, waveforms // 2 * np.array(noisy, np.int16)[:, None], np.array(noisy))


def drawn(sounds: Sounds, seed: int, count: int = 10, frames: int = 24) -> Crops:
    """Draw crops of the sounds' own mels, which stand for decoded ones too."""
    return draw(sounds, sounds.mels, np.random.default_rng(seed), count, frames)


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
        heard = expected > -6  # below, 16-bit samples have noise of their own
        assert heard.any()
        torch.testing.assert_close(got[heard], expected[heard], rtol=0, atol=0.05)


def test_three_in_five_mels_are_decoded_ones(sounds):
    decoded = np.full_like(sounds.mels, -7)
    crops = [draw(sounds, decoded, np.random.default_rng(seed), 10, 24) for seed in range(40)]
    taken = torch.cat([(each.mels == -7).all(2).all(1) for each in crops])
    assert 0.5 < taken.float().mean() < 0.7


def test_half_of_the_crops_or_more_are_noisy():
    sounds = marked([False] * 9 + [True])
    for seed in range(10):
        crops = drawn(sounds, seed)
        noisy = crops.mels[:, 0, 0] == 9
        assert noisy[:5].all()
        assert not noisy[5:].all()
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
