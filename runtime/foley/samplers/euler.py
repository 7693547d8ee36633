"""Euler and Euler ancestral: Karras et al. 2022 (arXiv:2206.00364) and k-diffusion's `sample_euler_ancestral`.

Both step along ρ = σ/α, where a sample is x/α = x0 + ρ ε and dx/dρ = ε.
"""

import math
from dataclasses import replace

from foley.samplers.linear_form import NOISE, SAMPLE, Rows, predict_noise
from foley.samplers.path import CLEAN, Path, rho_at, sigma_path
from foley.schedule import NoiseSchedule, Spacing, evenly_spaced


def euler_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Lead along ρ at timesteps that may be fractional ("linspace"), and at last to x0.

    As in diffusers, the starting sample is σ z where the path starts at the end of the schedule, and else z.
    """
    timesteps = evenly_spaced(schedule, steps, spacing)
    path = sigma_path(schedule, timesteps, rho_at(schedule, timesteps), CLEAN)
    return path if spacing == "leading" else replace(path, initial_scale=path.now[0].sigma)


def euler(path: Path, i: int) -> Rows:
    """Take algorithm 1 without its correction: x'/α' = x/α + (ρ' − ρ) ε. Draws no noise."""
    now, after = path.now[i], path.after[i]
    eps = predict_noise(path.prediction, now)
    return [after.alpha * (SAMPLE / now.alpha + (after.rho - now.rho) * eps)]


def euler_ancestral(path: Path, i: int) -> Rows:
    """Step down to ρ_down, then up to ρ' with fresh noise. Draws noise at every step; the last one's weight is zero."""
    now, after = path.now[i], path.after[i]
    eps = predict_noise(path.prediction, now)
    down = after.rho**2 / now.rho
    up = after.rho * math.sqrt(1 - (after.rho / now.rho) ** 2)
    return [after.alpha * (SAMPLE / now.alpha + (down - now.rho) * eps + up * NOISE)]
