"""The Fréchet distance between two sets of sounds, over statistics of their mel spectrograms."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

BANDS: Final = 32
FEATURES: Final = 3 * BANDS
QUIETEST: Final = float(np.log(1e-3))
"""Log-mel magnitudes below it (white noise at about −68 dB of full scale) count as silence, which nobody hears."""
SHRINKAGE: Final = 0.1

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gaussian:
    """What is left of a set of sounds: the mean and covariance of their features."""

    mean: Floats
    """[F]"""
    covariance: Floats
    """[F,F]"""
    count: int
    """Sounds that it was estimated on."""


def statistics(mel: Floats) -> Floats:
    """Measure natural-log mels [n,256,T], a frame each 10 ms, as features [n,96].

    The 256 bins are averaged to 32 bands. Of each band come first the mean over time, then the standard deviation over
    time, then the mean absolute difference between frames, all in natural-log units. They know nothing of the order of
    sounds within a clip.
    """
    bands = np.maximum(mel, QUIETEST).reshape(len(mel), BANDS, -1, mel.shape[-1]).mean(axis=2)
    change = np.abs(np.diff(bands, axis=-1)).mean(axis=-1)
    return np.concatenate([bands.mean(axis=-1), bands.std(axis=-1), change], axis=1)


def fit(measured: Floats, real: Floats, least_deviation: float = 1e-9) -> Gaussian:
    """Fit a Gaussian to features [n,96], each in standard deviations of that feature in real sounds [m,96].

    A deviation is taken as `least_deviation` at least: in few sounds a feature may hardly vary.
    """
    scaled = (measured - real.mean(axis=0)) / np.maximum(real.std(axis=0), least_deviation)
    return Gaussian(scaled.mean(axis=0), np.cov(scaled, rowvar=False), len(scaled))


def distance(a: Gaussian, b: Gaussian) -> float:
    """Give |μ₁−μ₂|² + tr(C₁ + C₂ − 2(C₁C₂)^½), in float64 (Dowson and Landau 1982).

    Few sounds leave a covariance of low rank, so both are moved towards their diagonals by the same share: a tenth
    where there are no more sounds than features, less where there are more. A bias upward is left, which falls as one
    over the count: compare distances of equal counts, and with that of as many real sounds.
    """
    share = SHRINKAGE * min(1.0, len(a.mean) / min(a.count, b.count))
    first, second = (_towards_diagonal(gaussian.covariance, share) for gaussian in (a, b))
    root = _square_root(first)
    product = np.linalg.eigvalsh(root @ second @ root)  # those of C₁C₂, by a symmetric matrix: real and ≥ 0
    trace = np.trace(first) + np.trace(second) - 2 * np.sqrt(np.maximum(product, 0)).sum()
    return float(np.square(a.mean - b.mean).sum() + trace)


def _towards_diagonal(covariance: Floats, share: float) -> Floats:
    return (1 - share) * covariance + share * np.diag(np.diag(covariance))


def _square_root(covariance: Floats) -> Floats:
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    return root
