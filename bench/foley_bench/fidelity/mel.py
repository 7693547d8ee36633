"""Auffusion's log-mel of a waveform, without torch."""

from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foley_bench.fidelity.frechet import Floats

WINDOW_S, HOP_S = 0.064, 0.010
BINS: Final = 256
LEAST: Final = 1e-5
LINEAR_HZ: Final = 200 / 3
"""Slaney's mel scale: so many Hz a mel up to 1 kHz, then 27 mel for each factor of 6.4."""
KNEE_HZ: Final = 1000.0
LOG_STEP: Final = float(np.log(6.4) / 27)


def log_mel(samples: NDArray[np.float32], rate_hz: int) -> Floats:
    """Give the natural-log mel magnitudes float64 [256,T] of a waveform [N] in [-1,1], a frame each 10 ms.

    At 16 kHz these are what Auffusion's models are trained on: windows of 64 ms, 256 bins up to half the rate.
    """
    window, hop = round(WINDOW_S * rate_hz), round(HOP_S * rate_hz)
    margin, more = (2 * window - hop) // 2, (2 * window - hop) % 2
    padded = np.pad(samples.astype(np.float64), (margin, margin + more), mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, 2 * window)[::hop]
    spectrum = np.fft.rfft(frames * _taper(window))
    magnitude = np.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-9)
    return np.asarray(np.log(np.maximum(_filters(window + 1, rate_hz) @ magnitude.T, LEAST)))


@cache
def _taper(window: int) -> Floats:
    """Give a Hann window in the middle of a transform twice as long."""
    return np.pad(np.hanning(window + 1)[:-1], (window // 2, window - window // 2))


@cache
def _filters(bins: int, rate_hz: int) -> Floats:
    """Give triangles [256,F], equally wide in mel up to half the rate, each of unit area."""
    corners = _hz(np.linspace(0, _mel(rate_hz / 2), BINS + 2))
    frequencies = np.linspace(0, rate_hz / 2, bins)
    left, middle, right = (corners[part, None] for part in (slice(-2), slice(1, -1), slice(2, None)))
    rising, falling = (frequencies - left) / (middle - left), (right - frequencies) / (right - middle)
    return np.asarray(np.maximum(np.minimum(rising, falling), 0) * 2 / (right - left))


def _mel(hz: float) -> float:
    if hz < KNEE_HZ:
        return hz / LINEAR_HZ
    return KNEE_HZ / LINEAR_HZ + float(np.log(hz / KNEE_HZ)) / LOG_STEP


def _hz(mel: Floats) -> Floats:
    knee = KNEE_HZ / LINEAR_HZ
    return np.where(mel < knee, mel * LINEAR_HZ, KNEE_HZ * np.exp(LOG_STEP * (np.maximum(mel, knee) - knee)))
