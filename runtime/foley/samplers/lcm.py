"""LCM: Luo et al. 2023, "Latent consistency models" (arXiv:2310.04378)."""

import math
from typing import Final

import numpy as np

from foley.errors import RequestError
from foley.samplers.linear_form import NOISE, SAMPLE, Rows, predict_x0
from foley.samplers.path import CLEAN, Path, discrete_path
from foley.schedule import NoiseSchedule, Spacing

DISTILLED_STEPS: Final = 50
"""Timesteps that consistency models are distilled on; sampling visits some of them."""
SIGMA_DATA: Final = 0.5
TIMESTEP_SCALE: Final = 10.0


def lcm_path(schedule: NoiseSchedule, steps: int, spacing: Spacing | None) -> Path:  # noqa: ARG001 (its grid is fixed)
    """Pick `steps` of the distilled timesteps, from the last (999 of 1000) down."""
    stride = schedule.num_train_timesteps // DISTILLED_STEPS
    if steps > DISTILLED_STEPS or stride == 0:
        most = DISTILLED_STEPS if stride else 0
        raise RequestError(f"steps: got {steps} for lcm, expected 1 to {most}; ask for 4 to 8, or use another sampler")
    picked = np.floor(np.linspace(0, DISTILLED_STEPS, steps, endpoint=False)).astype(int)
    timesteps = [(DISTILLED_STEPS - int(index)) * stride - 1 for index in picked]
    return discrete_path(schedule, timesteps, timesteps, [*timesteps[1:], -1], CLEAN)


def lcm(path: Path, i: int) -> Rows:
    """Jump to c_skip·x + c_out·x0, then noise that again. Draws noise at every step but the last."""
    now, after = path.now[i], path.after[i]
    scaled = path.timesteps[i] * TIMESTEP_SCALE
    c_skip = SIGMA_DATA**2 / (scaled**2 + SIGMA_DATA**2)
    c_out = scaled / math.sqrt(scaled**2 + SIGMA_DATA**2)
    denoised = c_out * predict_x0(path.prediction, now) + c_skip * SAMPLE
    return [after.alpha * denoised + after.sigma * NOISE]
