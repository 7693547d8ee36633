"""DDPM: Ho, Jain, Abbeel 2020, "Denoising diffusion probabilistic models" (arXiv:2006.11239)."""

import math
from typing import Final

from foley.samplers.linear_form import NOISE, SAMPLE, Rows, predict_x0
from foley.samplers.path import CLEAN, Path, discrete_path, whole_timesteps
from foley.schedule import NoiseSchedule, Spacing

MIN_VARIANCE: Final = 1e-20
"""diffusers' floor, which a last step to x0 reaches."""


def ddpm_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Lead from each timestep to the next one of the list, and at last to x0."""
    timesteps = whole_timesteps(schedule, steps, spacing)
    return discrete_path(schedule, timesteps, timesteps, [*timesteps[1:], -1], CLEAN)


def ddpm(path: Path, i: int) -> Rows:
    """Take the posterior mean and variance of eq. 7 ("fixed small"). Draws noise at every step but timestep 0."""
    now, after = path.now[i], path.after[i]
    kept = (now.alpha / after.alpha) ** 2
    ratio = (after.sigma / now.sigma) ** 2
    x0_weight = after.alpha * (1 - kept) / now.sigma**2
    mean = x0_weight * predict_x0(path.prediction, now) + math.sqrt(kept) * ratio * SAMPLE
    if path.timesteps[i] == 0:
        return [mean]
    return [mean + math.sqrt(max(ratio * (1 - kept), MIN_VARIANCE)) * NOISE]
