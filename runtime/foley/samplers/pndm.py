"""PNDM in its linear multistep form (PLMS): Liu et al. 2022 (arXiv:2202.09778)."""

from collections.abc import Callable

from foley.samplers.linear_form import HISTORY, OUTPUT, SAMPLE, Rows, predict_noise
from foley.samplers.path import CLEAN, Path, discrete_path, level_of, whole_timesteps
from foley.schedule import FloatArray, NoiseSchedule, Spacing, alphas_cumprod


def pndm_path(schedule: NoiseSchedule, steps: int, spacing: Spacing) -> Path:
    """Visit the second timestep twice (steps + 1 evaluations): evaluation 2 takes step 1 again with a better slope."""
    timesteps = whole_timesteps(schedule, steps, spacing)
    stride = schedule.num_train_timesteps // steps
    visited = [*timesteps[:2], *timesteps[1:]]
    now = list(visited)
    if steps > 1:
        now[1] += stride
    final = CLEAN if schedule.set_alpha_to_one else level_of(alphas_cumprod(schedule)[0])
    return discrete_path(schedule, visited, now, [t - stride for t in now], final)


def pndm(path: Path, i: int) -> Rows:
    """Take the Adams–Bashforth slope of eq. 12, of order 1, 2, 3, then 4. Draws no noise.

    State: sample, then earlier model outputs, newest first; evaluation 1 keeps the starting sample in slot 2.
    """
    warm_up: dict[int, Callable[[Path], Rows]] = {0: _start, 1: _restart}
    if i in warm_up:
        return warm_up[i](path)
    newest, older, oldest = HISTORY
    slope = {
        2: (3 * OUTPUT - newest) / 2,
        3: (23 * OUTPUT - 16 * newest + 5 * older) / 12,
    }.get(i, (55 * OUTPUT - 59 * newest + 37 * older - 9 * oldest) / 24)
    return [_transfer(path, i, SAMPLE, slope), OUTPUT, newest, older]


def _start(path: Path) -> Rows:
    return [_transfer(path, 0, SAMPLE, OUTPUT), OUTPUT, SAMPLE]


def _restart(path: Path) -> Rows:
    first_output, first_sample = HISTORY[0], HISTORY[1]
    return [_transfer(path, 1, first_sample, (OUTPUT + first_output) / 2), first_output]


def _transfer(path: Path, i: int, sample: FloatArray, slope: FloatArray) -> FloatArray:
    """Move `sample` along the averaged model output: eq. 9, float64 [K+2]."""
    now, after = path.now[i], path.after[i]
    eps = predict_noise(path.prediction, now, sample, slope)
    spread = now.alpha**2 * after.sigma + now.alpha * now.sigma * after.alpha
    return after.alpha / now.alpha * sample - (after.alpha**2 - now.alpha**2) / spread * eps
