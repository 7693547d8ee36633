"""DDIM: Song, Meng, Ermon 2020, "Denoising diffusion implicit models" (arXiv:2010.02502)."""

import math
from typing import Final

from foley.errors import RequestError
from foley.samplers.linear_form import NOISE, Rows, predict_noise, predict_x0
from foley.samplers.path import CLEAN, Path, discrete_path, level_of, whole_timesteps
from foley.schedule import NoiseSchedule, Spacing, alphas_cumprod

ROUNDING: Final = 1e-12
"""Of a variance: η = 1 may leave this much less than nothing."""


def ddim_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Lead `T // steps` timesteps down at each step, and at last to x0 (unless set_alpha_to_one is false: to ᾱ_0)."""
    timesteps = whole_timesteps(schedule, steps, spacing)
    stride = schedule.num_train_timesteps // steps
    final = level_of(alphas_cumprod(schedule)[0]) if schedule.set_alpha_to_one is False else CLEAN
    return discrete_path(schedule, timesteps, timesteps, [t - stride for t in timesteps], final)


def ddim(path: Path, i: int) -> Rows:
    """Take eq. 12 with the σ of eq. 16: x' = α'·x0 + √(σ'² − s²)·ε + s·z. Draws noise at every step where η > 0."""
    now, after = path.now[i], path.after[i]
    x0, eps = predict_x0(path.prediction, now), predict_noise(path.prediction, now)
    fresh = path.eta * after.sigma / now.sigma * math.sqrt(1 - (now.alpha / after.alpha) ** 2)
    kept = after.sigma**2 - fresh**2
    if kept < -ROUNDING:
        raise RequestError(f"eta: got {path.eta:g}, more noise than step {i + 1} has room for; expected 0 to 1")
    return [after.alpha * x0 + math.sqrt(max(kept, 0.0)) * eps + fresh * NOISE]
