"""The noise schedule a checkpoint was trained with, and the timesteps that a sampler visits.

Letter: T timesteps of training.
"""

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from foley.errors import BundleError

FloatArray = NDArray[np.float64]
Spacing = Literal["leading", "linspace", "trailing"]
Prediction = Literal["epsilon", "v_prediction", "sample"]


class NoiseSchedule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Facts of a checkpoint's `scheduler/scheduler_config.json`, under diffusers' own names."""

    num_train_timesteps: int = 1000
    beta_start: float = 0.00085
    beta_end: float = 0.012
    beta_schedule: Literal["scaled_linear", "linear"] = "scaled_linear"
    prediction_type: Prediction = "epsilon"
    timestep_spacing: Spacing | None = None
    """None where the checkpoint says nothing: each sampler then uses the default of its diffusers class."""
    steps_offset: int = 0
    set_alpha_to_one: bool | None = None
    """None where the checkpoint says nothing: each sampler then uses the default of its diffusers class."""
    rescale_betas_zero_snr: bool = False
    trained_betas: tuple[float, ...] | None = None
    """Explicit betas; they replace beta_start, beta_end and beta_schedule."""


def alphas_cumprod(schedule: NoiseSchedule) -> FloatArray:
    """Compute the signal power ᾱ_t = ∏ (1 − β_s) that is left at each timestep.

    Holds float32 values in float64 [T], in (0, 1], or [0, 1] under zero terminal SNR. β, 1 − β and ᾱ round to float32
    as in diffusers: a thousand rounded factors move ᾱ by 1e-6, which is more than everything downstream of it does.
    """
    signal = _cumulative(1 - _betas(schedule))
    if schedule.rescale_betas_zero_snr:
        signal = _cumulative(_zero_snr_alphas(signal))
    return signal.astype(np.float64)


def evenly_spaced(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> FloatArray:
    """Lay `steps` timesteps over the schedule, descending: float64 [steps]; "linspace" is not rounded.

    The three layouts are those of Lin et al. 2023 (arXiv:2305.08891), table 2. diffusers' "trailing" drifts past zero
    at some step counts (61, 103, …) and then visits timestep −1 as one step more; that one is dropped here.
    """
    total = schedule.num_train_timesteps
    if spacing == "linspace":
        return np.linspace(0.0, total - 1, steps)[::-1]
    if spacing == "leading":
        return np.arange(steps, dtype=np.float64)[::-1] * (total // steps) + schedule.steps_offset
    return np.round(np.arange(total, 0, -total / steps))[:steps] - 1


def _betas(schedule: NoiseSchedule) -> NDArray[np.float32]:
    """Return the noise power β_t that each training step adds: float32 [T]."""
    total = schedule.num_train_timesteps
    if schedule.trained_betas is not None:
        if len(schedule.trained_betas) != total:
            got = len(schedule.trained_betas)
            raise BundleError(f"trained_betas holds {got} values, expected {total}; export the bundle again")
        return np.asarray(schedule.trained_betas, dtype=np.float32)
    if schedule.beta_schedule == "linear":
        return _float32_ramp(schedule.beta_start, schedule.beta_end, total)
    return _float32_ramp(schedule.beta_start**0.5, schedule.beta_end**0.5, total) ** 2


def _float32_ramp(start: float, end: float, count: int) -> NDArray[np.float32]:
    """Step from start to end as torch.linspace does: each half from its own end, with a float32 stride."""
    first, last = np.float32(start), np.float32(end)
    stride = float((last - first) / np.float32(count - 1))
    index = np.arange(count)
    ramp = np.where(index < count // 2, first + stride * index, last - stride * (count - 1 - index))
    return ramp.astype(np.float32)


def _cumulative(alphas: NDArray[np.float32]) -> NDArray[np.float32]:
    """Multiply up float32 [T] as torch.cumprod does on a CPU: float64 inside, float32 out."""
    return np.cumprod(alphas.astype(np.float64)).astype(np.float32)


def _zero_snr_alphas(signal: NDArray[np.float32]) -> NDArray[np.float32]:
    """Shift and scale √ᾱ so that it ends at zero (arXiv:2305.08891, algorithm 1); return 1 − β: float32 [T]."""
    root = np.sqrt(signal)
    root = (root - root[-1]) * (root[0] / (root[0] - root[-1]))
    rescaled = root**2
    betas = 1 - np.concatenate([rescaled[:1], rescaled[1:] / rescaled[:-1]])
    return np.asarray(1 - betas, dtype=np.float32)
