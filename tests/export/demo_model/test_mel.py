"""The mel front-end: floors, bins where Slaney's scale puts them, and the VAE's picture there and back."""

import math

import pytest
import torch

from foley_export.demo_model.mel import log_mel, to_log_mel, to_picture

SILENCE = math.log(1e-5)
LOUDEST = math.log(200)


def slaney(hz: float) -> float:
    """Slaney's mel scale: linear to 1 kHz, then 27 steps for each factor of 6.4."""
    return hz * 3 / 200 if hz < 1000 else 15 + 27 * math.log(hz / 1000) / math.log(6.4)


def sine(hz: float, amplitude: float = 0.5) -> torch.Tensor:
    return amplitude * torch.sin(2 * math.pi * hz * torch.arange(40960) / 16000)[None]


@pytest.mark.parametrize(("clips", "samples"), [(1, 40960), (3, 5120), (2, 1600)])
def test_a_frame_is_160_samples(clips, samples):
    mel = log_mel(torch.rand(clips, samples) * 2 - 1)
    assert (mel.shape, mel.dtype) == ((clips, 256, samples // 160), torch.float32)
    assert mel.isfinite().all()


def test_silence_is_the_floor():
    torch.testing.assert_close(log_mel(torch.zeros(1, 5120)), torch.full((1, 256, 32), SILENCE))


@pytest.mark.parametrize("hz", [220.0, 1000.0, 1000.0 * 6.4 ** (1 / 3), 5000.0])
def test_a_sine_lies_in_the_bin_of_slaneys_scale(hz):
    """Centres of the 256 bins part 0–8000 Hz into 257 equal steps of mel."""
    bin_number = slaney(hz) / slaney(8000) * 257 - 1
    peaks = log_mel(sine(hz))[0, :, 8:-8].argmax(0)  # a reflection at an edge turns the phase over
    assert (peaks - bin_number).abs().max() <= 1


def test_mels_are_natural_logarithms_of_magnitude():
    louder, softer = log_mel(sine(1000, 0.5))[0].amax(0), log_mel(sine(1000, 0.05))[0].amax(0)
    torch.testing.assert_close(louder - softer, torch.full((256,), math.log(10)), rtol=0, atol=1e-3)


def test_clips_of_a_batch_do_not_meet():
    waveforms = torch.rand(2, 5120, generator=torch.Generator().manual_seed(0)) * 2 - 1
    torch.testing.assert_close(log_mel(waveforms)[1:], log_mel(waveforms[1:]))


def test_full_scale_fits_the_picture():
    square = sine(200, 1.0).sign()
    assert log_mel(square).max() < LOUDEST


def test_a_picture_has_its_highest_bin_first_and_three_equal_channels():
    mel = torch.full((1, 256, 8), SILENCE)
    mel[:, 255] = LOUDEST
    picture = to_picture(mel)
    assert picture.shape == (1, 3, 256, 8)
    assert (picture[:, :, 0] == 1).all()
    assert (picture[:, :, 1:] == -1).all()


def test_mels_come_back_from_the_picture():
    mel = torch.empty(2, 256, 16).uniform_(SILENCE, LOUDEST, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(to_log_mel(to_picture(mel)), mel, rtol=0, atol=1e-5)


def test_what_is_out_of_range_is_clamped_both_ways():
    limits = torch.tensor([SILENCE, LOUDEST])
    outside = torch.tensor([-30.0, 9.0])
    torch.testing.assert_close(to_log_mel(to_picture(outside.expand(1, 256, 2)))[0, 7], limits)
    torch.testing.assert_close(to_log_mel(torch.tensor([-1.5, 1.5]).expand(1, 3, 256, 2))[0, 7], limits)
