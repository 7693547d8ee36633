"""UniPC of order 2 with B(h) = e^h − 1 ("bh2"), predicting x0: Zhao et al. 2023 (arXiv:2302.04867)."""

import math

from foley.samplers.dpmpp import step_2m
from foley.samplers.linear_form import HISTORY, SAMPLE, Rows, predict_x0
from foley.samplers.path import Path
from foley.schedule import FloatArray


def unipc(path: Path, i: int) -> Rows:
    """Correct the sample that the last step predicted, now that the model has seen it; then predict. Draws no noise.

    The predictor (UniP-2) is the step of DPM-Solver++ 2M. State: sample, last corrected sample, previous x0, the x0
    before.
    """
    x0 = predict_x0(path.prediction, path.now[i])
    sample = SAMPLE if i == 0 else _correct(path, i - 1, x0)
    previous_x0 = HISTORY[1]
    return [step_2m(path, i, sample, x0, previous_x0), sample, x0, previous_x0]


def _correct(path: Path, j: int, new_x0: FloatArray) -> FloatArray:
    """Take step j again with the x0 found at its end (UniC-2; UniC-1 for the first step): float64 [K+2]."""
    now, after = path.now[j], path.after[j]
    sample, x0, older_x0 = HISTORY
    weight = after.alpha * (1 - after.rho / now.rho)
    if j == 0:
        bend = (new_x0 - x0) / 2
    else:
        r = -1 / path.step_ratio(j)
        older_weight, new_weight = _corrector_weights(after.half_log_snr - now.half_log_snr, r)
        bend = older_weight * (older_x0 - x0) / r + new_weight * (new_x0 - x0)
    return after.sigma / now.sigma * sample + weight * (x0 + bend)


def _corrector_weights(h: float, r: float) -> tuple[float, float]:
    """Solve [[1, 1], [r, 1]] ρ = [φ2(−h), 2 φ3(−h)]·(−h)/B for the weights of the older and the new difference."""
    phi1 = math.expm1(-h)
    phi2 = phi1 / -h - 1
    phi3 = phi2 / -h - 0.5
    first, second = phi2 / phi1, 2 * phi3 / phi1
    older = (first - second) / (1 - r)
    return older, first - older
