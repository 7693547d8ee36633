"""DEIS, log-ρ multistep of order 2: Zhang and Chen 2022 (arXiv:2204.13902)."""

import math

from foley.samplers.linear_form import HISTORY, SAMPLE, Rows, predict_noise
from foley.samplers.path import FEW_STEPS, Path, level_of, multistep_timesteps, rho_at, sigma_path
from foley.schedule import NoiseSchedule, Spacing, alphas_cumprod


def deis_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Lead along ρ at the multistep timesteps, and at last to ᾱ_0, short of x0: ln ρ must stay finite."""
    timesteps = multistep_timesteps(schedule, steps, spacing)
    return sigma_path(schedule, timesteps, rho_at(schedule, timesteps), level_of(alphas_cumprod(schedule)[0]))


def deis(path: Path, i: int) -> Rows:
    """Integrate the line through the last two ε, drawn over ln ρ, from ρ to ρ'. Draws no noise.

    State: sample, previous ε. A step of order 1 opens the run, and closes one of under 15 steps.
    """
    now, after = path.now[i], path.after[i]
    eps = predict_noise(path.prediction, now)
    if i == 0 or (i == len(path) - 1 and len(path) < FEW_STEPS):
        change = (after.rho - now.rho) * eps
    else:
        before = path.now[i - 1].rho
        new = _line_integral(now.rho, after.rho, one_at=now.rho, zero_at=before)
        old = _line_integral(now.rho, after.rho, one_at=before, zero_at=now.rho)
        change = new * eps + old * HISTORY[0]
    return [after.alpha * (SAMPLE / now.alpha + change), eps]


def _line_integral(start: float, end: float, *, one_at: float, zero_at: float) -> float:
    """Integrate over ρ the line in ln ρ that is 1 at `one_at` and 0 at `zero_at`."""
    upper = end * (math.log(end / zero_at) - 1)
    lower = start * (math.log(start / zero_at) - 1)
    return (upper - lower) / math.log(one_at / zero_at)
