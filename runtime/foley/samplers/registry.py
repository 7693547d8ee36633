"""Every sampler by its command-line name; a new one is a solver function and one line here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from foley.samplers.ddim import ddim, ddim_path
from foley.samplers.ddpm import ddpm, ddpm_path
from foley.samplers.deis import deis, deis_path
from foley.samplers.dpmpp import dpmpp_2m, dpmpp_2m_sde, dpmpp_3m, dpmpp_path, karras_path
from foley.samplers.euler import euler, euler_ancestral, euler_path
from foley.samplers.lcm import lcm, lcm_path
from foley.samplers.linear_form import Rows
from foley.samplers.lms import lms
from foley.samplers.path import Path
from foley.samplers.pndm import pndm, pndm_path
from foley.samplers.unipc import unipc
from foley.schedule import NoiseSchedule, Prediction, Spacing

Solver = Callable[[Path, int], Rows]
"""(path, index of the step) → the next state's linear forms."""
PathBuilder = Callable[[NoiseSchedule, int, Spacing], Path]
"""(schedule, steps, spacing) → path."""
Draws = Callable[[Path], NDArray[np.bool_]]
"""path → the steps at which diffusers' class draws a gaussian, [n]."""


def _never(path: Path) -> NDArray[np.bool_]:
    return np.zeros(len(path), dtype=np.bool_)


def _always(path: Path) -> NDArray[np.bool_]:
    return np.ones(len(path), dtype=np.bool_)


def _under_eta(path: Path) -> NDArray[np.bool_]:
    return np.full(len(path), path.eta > 0)


def _above_timestep_0(path: Path) -> NDArray[np.bool_]:
    return path.timesteps > 0


def _but_last(path: Path) -> NDArray[np.bool_]:
    return np.arange(len(path)) < len(path) - 1


@dataclass(frozen=True)
class Sampler:
    """One solver with the defaults of its diffusers class."""

    solve: Solver
    path: PathBuilder
    spacing: Spacing | None
    """Where the checkpoint states none; None for a sampler that lays out its own timesteps."""
    draws: Draws = _never
    predictions: tuple[Prediction, ...] = ("epsilon", "v_prediction", "sample")
    zero_snr: Literal["exact", "floored", "no"] = "floored"
    """Whether it can start without any signal: at ᾱ = 0, just short of it, or not at all."""


_NO_SAMPLE: Final[tuple[Prediction, ...]] = ("epsilon", "v_prediction")

SAMPLERS: Final[dict[str, Sampler]] = {
    "pndm": Sampler(pndm, pndm_path, "leading", predictions=_NO_SAMPLE, zero_snr="no"),
    "ddim": Sampler(ddim, ddim_path, "leading", _under_eta, zero_snr="exact"),
    "ddpm": Sampler(ddpm, ddpm_path, "leading", _above_timestep_0, zero_snr="exact"),
    "euler": Sampler(euler, euler_path, "linspace"),
    "euler-a": Sampler(euler_ancestral, euler_path, "linspace", _always, predictions=_NO_SAMPLE),
    "lms": Sampler(lms, euler_path, "linspace", zero_snr="no"),
    "dpmpp-2m": Sampler(dpmpp_2m, dpmpp_path, "linspace"),
    "dpmpp-2m-karras": Sampler(dpmpp_2m, karras_path, None),
    "dpmpp-2m-sde": Sampler(dpmpp_2m_sde, dpmpp_path, "linspace", _always),
    "dpmpp-3m": Sampler(dpmpp_3m, dpmpp_path, "linspace"),
    "deis": Sampler(deis, deis_path, "linspace", zero_snr="no"),
    "unipc": Sampler(unipc, dpmpp_path, "linspace"),
    "lcm": Sampler(lcm, lcm_path, None, _but_last, zero_snr="exact"),
}
