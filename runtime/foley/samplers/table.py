"""A sampler table: the whole schedule of a run as data, which the denoising graph applies without knowing the sampler.

Letters: n evaluations of the model · K state slots.
"""

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from foley.errors import RequestError
from foley.samplers.linear_form import step_matrix
from foley.samplers.path import Path
from foley.samplers.registry import SAMPLERS, Sampler
from foley.schedule import FloatArray, NoiseSchedule, Spacing


@dataclass(frozen=True)
class SamplerTable:
    """One run of one sampler: next state = matrix @ [state (K rows); model output; noise], n times over."""

    timesteps: NDArray[np.float32]
    """What the model is told at each evaluation: [n]. n is the number of steps; one more for pndm."""
    matrices: NDArray[np.float32]
    """[n, K, K+2]"""
    levels: NDArray[np.float32]
    """α and σ of the sample in slot 0 before each evaluation, and after the last: [n+1, 2]."""
    initial_scale: float
    """Unit gaussian × this = the starting sample, in slot 0; the other slots start at zero."""
    draws_noise: NDArray[np.bool_]
    """Steps at which diffusers draws a gaussian, [n]: draw one at each of them, and a seed gives diffusers' clip. Its
    weight in the matrix may be zero."""

    @property
    def stochastic(self) -> bool:
        """Whether noise enters after the start."""
        return bool(np.any(self.matrices[:, :, -1]))


def sampler_table(
    name: str, schedule: NoiseSchedule, steps: int, *, eta: float | None = None, spacing: Spacing | None = None
) -> SamplerTable:
    """Compute the table of `steps` steps of a sampler, as diffusers' class of that sampler would take them.

    `eta` is DDIM's η in [0, 1], 0 where left out. `spacing` replaces the checkpoint's, or else the class's. The
    arithmetic is float64; the table is float32. Raises RequestError where a knob is out of range, or the sampler cannot
    do the schedule.
    """
    path = sampler_path(name, schedule, steps, eta=eta, spacing=spacing)
    levels = np.array([path.now[0], *path.after])
    return SamplerTable(
        timesteps=path.timesteps.astype(np.float32),
        matrices=step_matrices(name, path).astype(np.float32),
        levels=levels.astype(np.float32),
        initial_scale=path.initial_scale,
        draws_noise=SAMPLERS[name].draws(path),
    )


def sampler_path(
    name: str, schedule: NoiseSchedule, steps: int, *, eta: float | None = None, spacing: Spacing | None = None
) -> Path:
    """Check a request and lay out its path; raises RequestError as `sampler_table` does."""
    sampler = find_sampler(name)
    _check_steps(steps, schedule)
    _check_eta(name, eta)
    _check_schedule(name, sampler, schedule)
    path = sampler.path(schedule, steps, _choose_spacing(name, sampler, schedule, spacing))
    _check_start(name, path)
    return replace(path, eta=float(eta or 0.0))


def step_matrices(name: str, path: Path) -> FloatArray:
    """Compute the matrices of a path before they are rounded: float64 [n, K, K+2]."""
    solve = find_sampler(name).solve
    return np.stack([step_matrix(solve(path, i)) for i in range(len(path))])


def find_sampler(name: str) -> Sampler:
    """Return the sampler of a command-line name; raises RequestError with the nearest and all names."""
    if name in SAMPLERS:
        return SAMPLERS[name]
    near = difflib.get_close_matches(name, SAMPLERS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise RequestError(f"sampler: got {name!r}, which is unknown; {hint}samplers are {', '.join(SAMPLERS)}")


def _check_steps(steps: int, schedule: NoiseSchedule) -> None:
    most = schedule.num_train_timesteps
    whole = isinstance(steps, int | np.integer) and not isinstance(steps, bool)
    if not whole or not 1 <= steps <= most:
        raise RequestError(f"steps: got {steps!r}, expected a whole number from 1 to {most}")


def _check_eta(name: str, eta: float | None) -> None:
    if eta is None:
        return
    if name != "ddim":
        raise RequestError(f"eta: got {eta!r} for {name}, expected none; leave it out, or use the sampler ddim")
    if isinstance(eta, bool) or not isinstance(eta, int | float) or not math.isfinite(eta) or eta < 0:
        raise RequestError(f"eta: got {eta!r}, expected a number from 0 (no noise) to 1 (as much as DDPM)")


def _check_schedule(name: str, sampler: Sampler, schedule: NoiseSchedule) -> None:
    prediction = schedule.prediction_type
    if prediction not in sampler.predictions:
        able = _names(lambda other: prediction in other.predictions)
        raise RequestError(f"sampler: {name} cannot use a model with {prediction} prediction; use one of {able}")
    if schedule.rescale_betas_zero_snr and sampler.zero_snr == "no":
        able = _names(lambda other: other.zero_snr != "no")
        raise RequestError(f"sampler: {name} cannot use a schedule with zero terminal SNR; use one of {able}")


def _choose_spacing(name: str, sampler: Sampler, schedule: NoiseSchedule, spacing: Spacing | None) -> Spacing:
    known = get_args(Spacing)
    if spacing is not None and spacing not in known:
        raise RequestError(f"spacing: got {spacing!r}, expected one of {', '.join(known)}")
    if spacing is not None and sampler.spacing is None:
        raise RequestError(f"spacing: got {spacing!r} for {name}, which lays out its own timesteps; leave spacing out")
    return spacing or schedule.timestep_spacing or sampler.spacing or "leading"


def _check_start(name: str, path: Path) -> None:
    if path.now[0].alpha > 0 or path.prediction != "epsilon":
        return
    able = _names(lambda other: other.zero_snr == "floored")
    raise RequestError(
        f"sampler: {name} would start at timestep {path.timesteps[0]:g}, where no signal is left and epsilon "
        f"prediction cannot find x0; use spacing leading, or one of {able}"
    )


def _names(able: Callable[[Sampler], bool]) -> str:
    return ", ".join(name for name, sampler in SAMPLERS.items() if able(sampler))
