"""Auffusion's mel front-end and the picture that its VAE reads (`converter.py` of the authors' repository)."""

from functools import cache
from typing import Final

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.audio_utils import mel_filter_bank

from foley_export.demo_model.sounds import SAMPLE_RATE_HZ
from foley_export.graphs import LOG_MEL_MAX, LOG_MEL_MIN

FFT_SAMPLES: Final = 2048
WINDOW_SAMPLES: Final = 1024
HOP_SAMPLES: Final = 160
MEL_BINS: Final = 256


def log_mel(waveform: Tensor) -> Tensor:
    """Give the natural-log mel magnitudes [B,256,N/160] of waveforms [B,N] in [-1,1]; the floor is ln 1e-5."""
    margin = (FFT_SAMPLES - HOP_SAMPLES) // 2
    padded = pad(waveform[:, None], (margin, margin), mode="reflect")[:, 0]
    spectrum = torch.stft(
        padded, FFT_SAMPLES, HOP_SAMPLES, WINDOW_SAMPLES, torch.hann_window(WINDOW_SAMPLES), center=False,
        return_complex=True,
    )  # fmt: skip
    magnitude = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    return (_filters() @ magnitude).clamp(min=1e-5).log()


def to_picture(mel: Tensor) -> Tensor:
    """Turn log-mel [B,256,T] into the VAE's picture [B,3,256,T] in [-1,1]: highest bin first, three equal channels."""
    unit = (mel - LOG_MEL_MIN) / (LOG_MEL_MAX - LOG_MEL_MIN)
    return (unit.clamp(0, 1).flip(1) * 2 - 1)[:, None].expand(-1, 3, -1, -1)


def to_log_mel(picture: Tensor) -> Tensor:
    """Turn a picture [B,3,256,T] back into log-mel [B,256,T]; only its first channel is read."""
    unit = (picture[:, 0] / 2 + 0.5).clamp(0, 1).flip(1)
    return unit * (LOG_MEL_MAX - LOG_MEL_MIN) + LOG_MEL_MIN


@cache
def _filters() -> Tensor:
    """Give Slaney's triangles [256,1025], 0–8000 Hz, each of unit area."""
    bank = mel_filter_bank(
        FFT_SAMPLES // 2 + 1, MEL_BINS, 0.0, 8000.0, SAMPLE_RATE_HZ, norm="slaney", mel_scale="slaney"
    )
    return torch.from_numpy(bank.T).float()
