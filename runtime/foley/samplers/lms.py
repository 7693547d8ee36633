"""LMS, linear multistep in ρ: Katherine Crowson's k-diffusion, `sample_lms`."""

from typing import Final

import numpy as np

from foley.samplers.linear_form import HISTORY, SAMPLE, Rows, predict_noise
from foley.samplers.path import Path
from foley.schedule import FloatArray

ORDER: Final = 4
_NODES: Final = np.polynomial.legendre.leggauss(2)[0]
"""Two Gauss points integrate a cubic exactly."""


def lms(path: Path, i: int) -> Rows:
    """Integrate the cubic through the last four slopes ε from ρ to ρ'. Draws no noise.

    State: sample, then earlier slopes, newest first.
    """
    now, after = path.now[i], path.after[i]
    slopes = np.stack([predict_noise(path.prediction, now), *HISTORY])[: i + 1]
    knots = np.array([path.now[j].rho for j in range(i, max(i - ORDER, -1), -1)])
    weights = _lagrange_integrals(knots, now.rho, after.rho)
    return [after.alpha * (SAMPLE / now.alpha + weights @ slopes), *slopes[: ORDER - 1]]


def _lagrange_integrals(knots: FloatArray, start: float, end: float) -> FloatArray:
    """Integrate each Lagrange basis polynomial over `knots` from start to end: float64 [order] of float64 [order]."""
    half = (end - start) / 2
    points = (start + end) / 2 + half * _NODES
    gaps = knots[:, None] - knots
    np.fill_diagonal(gaps, 1.0)
    factors = (points[:, None, None] - knots) / gaps  # [point, polynomial, knot]
    diagonal = np.arange(len(knots))
    factors[:, diagonal, diagonal] = 1.0
    integrals: FloatArray = half * factors.prod(axis=2).sum(axis=0)
    return integrals
