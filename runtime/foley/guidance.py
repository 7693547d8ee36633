"""Guidance as rows: a clip's model output is a weighted sum of U-Net outputs under different conditioning.

Classifier-free guidance (Ho & Salimans 2022) with several prompts (Liu et al. 2022, composable diffusion):

    y = y_none + g · Σ wᵢ (yᵢ − y_none)  =  (1 − g·Σwᵢ) · y_none + Σ g·wᵢ · yᵢ

A row whose weight is zero is not run; so one prompt at g = 1 costs one row.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foley.errors import RequestError

Conditioning = Mapping[str, NDArray[np.float32]]
"""Inputs of the denoising step by name, for one row: in most models `context` [L,D]."""


@dataclass(frozen=True, eq=False)
class Row:
    """One U-Net evaluation of a clip."""

    conditioning: Conditioning
    weight: float


@dataclass(frozen=True, eq=False)
class Guidance:
    """The rows of a clip, while it is guided and after."""

    guided: tuple[Row, ...]
    unguided: tuple[Row, ...]
    stop: float
    """The fraction of the steps that is guided, from the first."""

    def rows(self, step: int, steps: int) -> tuple[Row, ...]:
        """Give the rows of step `step` (from 0) of `steps`."""
        return self.guided if step < self._guided_steps(steps) else self.unguided

    def same_until(self, step: int, steps: int) -> int:
        """Give the first step after `step` whose rows may be others, at most `steps`."""
        guided = self._guided_steps(steps)
        return guided if step < guided else steps

    def _guided_steps(self, steps: int) -> int:
        return math.ceil(round(self.stop * steps, 6))  # 0.07 · 100 is 7.000000000000001 in binary


def guide(prompts: Sequence[Row], unconditional: Conditioning, *, scale: float, stop: float = 1.0) -> Guidance:
    """Turn weighted prompts into rows, the unconditional one first.

    `scale` is the guidance scale g; at 1 or below guidance is off, as in diffusers.

    Raises:
        RequestError: the scale is negative or not finite, or `stop` is outside [0,1].
    """
    check_guidance(scale, stop)
    unguided = _rows(prompts, unconditional, 1.0)
    return Guidance(_rows(prompts, unconditional, scale) if scale > 1 else unguided, unguided, stop)


def check_guidance(scale: float, stop: float) -> None:
    """Check a guidance scale and the fraction of the steps that it rules.

    Raises:
        RequestError: the scale is negative or not finite, or `stop` is outside [0,1].
    """
    if not _is_number(scale) or not math.isfinite(scale) or scale < 0:
        raise RequestError(f"guidance is {scale!r}, expected a finite number from 0 (1 or less: off)")
    if not _is_number(stop) or not 0 <= stop <= 1:
        raise RequestError(f"guidance stop is {stop!r}, expected a fraction of the steps from 0 to 1")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _rows(prompts: Sequence[Row], unconditional: Conditioning, scale: float) -> tuple[Row, ...]:
    total = sum(prompt.weight for prompt in prompts)
    rows = [Row(unconditional, 1.0 - scale * total)]
    rows += [Row(prompt.conditioning, scale * prompt.weight) for prompt in prompts]
    return tuple(row for row in rows if abs(row.weight) > 1e-9)
