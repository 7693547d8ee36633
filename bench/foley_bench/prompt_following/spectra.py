"""Power spectra of a clip over time, in three windows: fine in time, fine in frequency, and between."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from foley_export.demo_model.sounds import SAMPLE_RATE_HZ

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

HOP: Final = 80
FRAME_S: Final = HOP / SAMPLE_RATE_HZ  # 0.005 s from frame to frame
FINE, MIDDLE, SHARP = 128, 512, 1024  # windows of 8, 32 and 64 ms
FINE_FACTOR: Final = 4.0
"""Where a click is 10 times a noise's power, this parts them best."""
SILENCE: Final = 1e-12
"""Power that counts as none: -120 dB of full scale."""


@dataclass(frozen=True)
class Spectra:
    """Power spectra of a clip in three windows, a frame each 5 ms; a frame's sum is its mean square."""

    fine: Floats
    """float64 [T,65], of 8 ms windows."""
    middle: Floats
    """float64 [T,257], of 32 ms windows."""
    sharp: Floats
    """float64 [T,513], of 64 ms windows."""
    peak: Floats
    """float64 [T]: the largest sample of the 5 ms around each frame."""

    def part(self, start: int, stop: int) -> "Spectra":
        """Give the frames from one to another."""
        kept = slice(start, stop)
        return Spectra(self.fine[kept], self.middle[kept], self.sharp[kept], self.peak[kept])

    def mean(self, chosen: Bools) -> "Spectra":
        """Give the mean over the chosen frames as spectra of one frame."""
        powers = (self.fine, self.middle, self.sharp)
        fine, middle, sharp = (power[chosen].mean(0, keepdims=True) for power in powers)
        return Spectra(fine, middle, sharp, self.peak[chosen].mean(keepdims=True))

    def above(self, floor: "Spectra", factor: float) -> "Spectra":
        """Give what lies above a multiple of a floor; that of the finest windows is fixed."""
        pairs = (
            (self.fine, floor.fine, FINE_FACTOR),
            (self.middle, floor.middle, factor),
            (self.sharp, floor.sharp, factor),
        )
        fine, middle, sharp = (np.maximum(power - times * under, 0.0) for power, under, times in pairs)
        return Spectra(fine, middle, sharp, self.peak)


def spectra(clip: npt.NDArray[np.float32]) -> Spectra:
    """Give power spectra of a clip, float32 [N]; frame t is centred on t · 5 ms."""
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(clip, HOP // 2), HOP)[::HOP]
    fine, middle, sharp = (_power(clip, window) for window in (FINE, MIDDLE, SHARP))
    return Spectra(fine, middle, sharp, np.abs(frames).max(-1).astype(np.float64))


def level_db(power: Floats) -> Floats:
    """Give the level [T] of power spectra [T,F]: dB of full scale."""
    return np.asarray(10 * np.log10(np.maximum(power.sum(-1), SILENCE)))


def quietest(power: Floats, share: float) -> Bools:
    """Choose [T] the given share of frames with the least power, those of digital silence among them."""
    level = level_db(power)
    return np.asarray(level <= np.quantile(level, share))


def _power(clip: npt.NDArray[np.float32], window: int) -> Floats:
    """Give [T,F] power, F = window/2 + 1, scaled so that a frame's sum is its mean square."""
    padded = np.pad(clip.astype(np.float64), window // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, window)[::HOP]
    taper = np.hanning(window + 1)[:-1]
    power = np.abs(np.fft.rfft(frames * taper)) ** 2 / (window * (taper**2).sum())
    power[:, 1:-1] *= 2
    return np.asarray(power)
