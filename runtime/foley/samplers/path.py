"""Paths: where a sampler evaluates the model, and the noise levels that each step leads from and to.

Letter: n evaluations of the model.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np

from foley.errors import RequestError
from foley.schedule import FloatArray, NoiseSchedule, Prediction, Spacing, alphas_cumprod, evenly_spaced

ZERO_SNR_FLOOR: Final = 2.0**-24
"""diffusers' ᾱ for samplers in ρ where the schedule ends without signal: ρ is then 4096, not infinite."""

FEW_STEPS: Final = 15
"""Runs shorter than this close with steps of lower order, which is steadier (DPM-Solver++, DEIS)."""


class Level(NamedTuple):
    """How much signal and noise a sample holds: x = α x0 + σ ε, with α² + σ² = 1."""

    alpha: float
    sigma: float

    @property
    def rho(self) -> float:
        """Noise per signal σ/α, Karras' and k-diffusion's sigma."""
        return self.sigma / self.alpha

    @property
    def half_log_snr(self) -> float:
        """λ = ln(α/σ) of the DPM-Solver papers."""
        return math.log(self.alpha / self.sigma)


CLEAN: Final = Level(1.0, 0.0)


@dataclass(frozen=True)
class Path:
    """A schedule's facts as one run of a sampler meets them."""

    prediction: Prediction
    timesteps: FloatArray
    """What the model is told at each evaluation: float64 [n]."""
    now: tuple[Level, ...]
    """The level that each step leads from: [n]."""
    after: tuple[Level, ...]
    """The level that each step leads to: [n]."""
    initial_scale: float = 1.0
    """Unit gaussian × this = the starting sample."""
    eta: float = 0.0
    """DDIM's η; no other sampler reads it."""

    def __len__(self) -> int:
        return len(self.timesteps)

    def step_ratio(self, i: int) -> float:
        """Return the length in λ of step i over that of step i − 1."""
        before, now, after = self.now[i - 1].half_log_snr, self.now[i].half_log_snr, self.after[i].half_log_snr
        return (after - now) / (now - before)


def level_of(signal: float) -> Level:
    """Return the level at signal power ᾱ in [0, 1]."""
    return Level(math.sqrt(signal), math.sqrt(1 - signal))


def discrete_path(
    schedule: NoiseSchedule, timesteps: Sequence[int], now: Sequence[int], after: Sequence[int], final: Level
) -> Path:
    """Lead from timestep to timestep: `now` and `after` hold n training timesteps; one below zero means `final`."""
    visited = np.asarray(timesteps, dtype=np.float64)
    _check_range(schedule, visited)
    levels = [level_of(signal) for signal in alphas_cumprod(schedule)]
    return Path(
        prediction=schedule.prediction_type,
        timesteps=visited,
        now=tuple(levels[t] for t in now),
        after=tuple(levels[t] if t >= 0 else final for t in after),
    )


def whole_timesteps(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> list[int]:
    """Return the training timesteps that the samplers in discrete time visit: `steps` of them, descending."""
    return [int(t) for t in np.round(evenly_spaced(schedule, steps, spacing))]


def sigma_path(schedule: NoiseSchedule, timesteps: FloatArray, rho: FloatArray, final: Level) -> Path:
    """Lead along noise levels ρ (float64 [n], descending) and then to `final`."""
    _check_range(schedule, timesteps)
    levels = [Level(1 / math.hypot(r, 1), r / math.hypot(r, 1)) for r in rho.tolist()]
    return Path(
        prediction=schedule.prediction_type,
        timesteps=timesteps,
        now=tuple(levels),
        after=(*levels[1:], final),
    )


def training_rho(schedule: NoiseSchedule) -> FloatArray:
    """Return ρ = √((1 − ᾱ)/ᾱ) of every training timestep, ascending: float64 [T]."""
    signal = alphas_cumprod(schedule)
    if schedule.rescale_betas_zero_snr:
        signal[-1] = ZERO_SNR_FLOOR
    return np.sqrt((1 - signal) / signal)


def rho_at(schedule: NoiseSchedule, timesteps: FloatArray) -> FloatArray:
    """Interpolate ρ at timesteps that may lie between those of training: float64 [n] of float64 [n]."""
    return np.interp(timesteps, np.arange(schedule.num_train_timesteps), training_rho(schedule))


def multistep_timesteps(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> FloatArray:
    """Lay out the multistep solvers' timesteps (DPM-Solver++, DEIS, UniPC), descending: float64 [steps].

    They count the end of the path as a point of its own, so all spacings but "trailing" lay one more and drop the last.
    """
    if spacing == "trailing":
        return evenly_spaced(schedule, steps, spacing)
    timesteps = np.round(evenly_spaced(schedule, steps + 1, spacing))[:-1]
    if len(np.unique(timesteps)) < steps:
        raise RequestError(f"steps: got {steps}, which put two evaluations on one timestep; ask for fewer")
    return timesteps


def _check_range(schedule: NoiseSchedule, timesteps: FloatArray) -> None:
    last = schedule.num_train_timesteps - 1
    if timesteps[0] > last:
        raise RequestError(
            f"steps: {len(timesteps)} with steps_offset {schedule.steps_offset} start at timestep {timesteps[0]:g}, "
            f"expected at most {last}; ask for fewer steps or another spacing"
        )
