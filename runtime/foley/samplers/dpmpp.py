"""DPM-Solver++ in multistep form: Lu et al. 2022 (arXiv:2211.01095), with x0 as the model output.

λ = ln(α/σ) is the time, h = λ' − λ a step in it, and e^{−h} = ρ'/ρ. The run ends at ρ = 0, where h is infinite.
"""

import math
from typing import Final

import numpy as np

from foley.samplers.linear_form import HISTORY, NOISE, SAMPLE, Rows, predict_x0
from foley.samplers.path import CLEAN, FEW_STEPS, Path, multistep_timesteps, rho_at, sigma_path, training_rho
from foley.schedule import FloatArray, NoiseSchedule, Spacing

KARRAS_RHO: Final = 7.0


def dpmpp_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Lead along ρ at the multistep timesteps, and at last to x0."""
    timesteps = multistep_timesteps(schedule, steps, spacing)
    return sigma_path(schedule, timesteps, rho_at(schedule, timesteps), CLEAN)


def karras_path(schedule: NoiseSchedule, steps: int, spacing: Spacing | None) -> Path:  # noqa: ARG001 (its own spacing)
    """Space ρ evenly in its seventh root over the whole schedule (Karras et al. 2022, eq. 5).

    The model is told the nearest timestep of training.
    """
    known = training_rho(schedule)
    low, high = known[0] ** (1 / KARRAS_RHO), known[-1] ** (1 / KARRAS_RHO)
    rho = (high + np.linspace(0, 1, steps) * (low - high)) ** KARRAS_RHO
    timesteps = np.interp(np.log(rho), np.log(known), np.arange(len(known)))
    return sigma_path(schedule, np.round(timesteps), rho, CLEAN)


def dpmpp_2m(path: Path, i: int) -> Rows:
    """Take the second-order step of algorithm 2. Draws no noise. State: sample, previous x0."""
    x0 = predict_x0(path.prediction, path.now[i])
    return [step_2m(path, i, SAMPLE, x0, HISTORY[0]), x0]


def dpmpp_2m_sde(path: Path, i: int) -> Rows:
    """Take the same step on the reverse SDE: σ'/σ·e^{−h}·x + α'(1 − e^{−2h})(x0 + slope/2) + σ'√(1 − e^{−2h})·z.

    State: sample, previous x0. Draws noise at every step; the last one's weight is zero.
    """
    now, after = path.now[i], path.after[i]
    x0 = predict_x0(path.prediction, now)
    shrink = after.rho / now.rho
    fresh = 1 - shrink**2
    mean = after.sigma / now.sigma * shrink * SAMPLE + after.alpha * fresh * _extrapolate(path, i, x0, HISTORY[0])
    return [mean + after.sigma * math.sqrt(fresh) * NOISE, x0]


def dpmpp_3m(path: Path, i: int) -> Rows:
    """Take the third-order step, by the slope and curvature over λ of the last three x0. Draws no noise.

    State: sample, previous x0, the x0 before. Under 15 steps, the last step but one is of order 2.
    """
    if i < 2 or i == len(path) - 1 or (i == len(path) - 2 and len(path) < FEW_STEPS):
        return [*dpmpp_2m(path, i), HISTORY[0]]
    now, after = path.now[i], path.after[i]
    x0 = predict_x0(path.prediction, now)
    h = after.half_log_snr - now.half_log_snr
    phi1 = math.expm1(-h)
    phi2 = phi1 / h + 1
    phi3 = (phi1 + h) / h**2 - 0.5
    slope, curvature = _derivatives(path, i, x0)
    change = after.alpha * (phi2 * slope - phi1 * x0 - phi3 * curvature)
    return [after.sigma / now.sigma * SAMPLE + change, x0, HISTORY[0]]


def step_2m(path: Path, i: int, sample: FloatArray, x0: FloatArray, previous_x0: FloatArray) -> FloatArray:
    """Return x' = σ'/σ·x + α'(1 − e^{−h})(x0 + slope/2), all as forms: float64 [K+2]."""
    now, after = path.now[i], path.after[i]
    weight = after.alpha * (1 - after.rho / now.rho)
    return after.sigma / now.sigma * sample + weight * _extrapolate(path, i, x0, previous_x0)


def _extrapolate(path: Path, i: int, x0: FloatArray, previous_x0: FloatArray) -> FloatArray:
    """Estimate x0 half a step ahead: float64 [K+2]. The first step knows no slope, and the last one is infinite."""
    if i in (0, len(path) - 1):
        return x0
    return x0 + path.step_ratio(i) * (x0 - previous_x0) / 2


def _derivatives(path: Path, i: int, x0: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Fit the last three x0 over λ, in units of this step: slope and curvature, float64 [K+2] each."""
    near = 1 / path.step_ratio(i)
    far = near / path.step_ratio(i - 1)
    chord, older_chord = (x0 - HISTORY[0]) / near, (HISTORY[0] - HISTORY[1]) / far
    curvature = (chord - older_chord) / (near + far)
    return chord + near * curvature, curvature
