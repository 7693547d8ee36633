"""Whether two samples differ by more than the noise that they show themselves.

Figures are logarithms of ratios, one a process. Where they lie is the mean without the highest and the lowest sixth, so
that an odd process does not decide; its standard error is that of trimmed means, from the deviation with those sixths
pulled in (Tukey and McLaughlin 1963; Wilcox, Introduction to Robust Estimation, 3.3). How the constants were chosen:
tests/bench/test_regression_power.py.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

LEAST: Final = math.log(1.05)
"""What counts as a difference, at least, however small the noise: conditions of hours ago are not today's."""
LOOKED_FOR: Final = math.log(1.10)
"""The regression that is to be seen."""
BEYOND: Final = 3.0
"""Standard errors beyond which a difference is not noise."""
WITHIN: Final = 2.0
"""Standard errors that `LOOKED_FOR` must be away, for a build to count as no slower."""
TRIMMED: Final = 6
"""One in so many processes is left out at either end."""

Finding = Literal["slower", "no slower", "faster", "cannot tell"]


@dataclass(frozen=True)
class Location:
    """Where a sample lies."""

    centre: float
    error: float
    """Standard error."""


@dataclass(frozen=True)
class Difference:
    """How a sample lies to a baseline."""

    centre: float
    """Logarithm of the ratio of times, new to old."""
    error: float

    @property
    def ratio(self) -> float:
        """Time, new to old."""
        return math.exp(self.centre)

    @property
    def noise(self) -> float:
        """What may be noise, as a share: 0.05 is ±5 %."""
        return math.exp(BEYOND * self.error) - 1

    @property
    def beyond(self) -> bool:
        """Whether it is more than noise, and large enough to count, upwards or downwards."""
        return abs(self.centre) > max(LEAST, BEYOND * self.error)

    @property
    def excludes(self) -> bool:
        """Whether a regression of `LOOKED_FOR` is out of the question."""
        return self.centre + WITHIN * self.error < LOOKED_FOR


def locate(figures: Sequence[float]) -> Location:
    """Find where positive figures lie, at least two, in logarithms."""
    logs: NDArray[np.float64] = np.sort(np.log(figures))
    count, cut = len(logs), len(logs) // TRIMMED
    kept = logs[cut : count - cut]
    pulled = np.clip(logs, kept[0], kept[-1])
    error = pulled.std(ddof=1) * math.sqrt((count - 1) / (len(kept) * (len(kept) - 1)))
    return Location(float(kept.mean()), float(error))


def compare(baseline: Sequence[float], new: Sequence[float]) -> Difference:
    """Compare two samples' figures."""
    old, now = locate(baseline), locate(new)
    return Difference(now.centre - old.centre, math.hypot(old.error, now.error))


def first_finding(baseline: Sequence[float], first: Sequence[float]) -> Finding | None:
    """Judge by one sample; None: it takes a second one."""
    found = compare(baseline, first)
    if not found.excludes or (found.beyond and found.centre > 0):
        return None
    return "faster" if found.beyond else "no slower"


def final_finding(baseline: Sequence[float], first: Sequence[float], second: Sequence[float]) -> Finding:
    """Judge by both samples together; the second has to show what they show, by itself."""
    both = compare(baseline, [*first, *second])
    if both.beyond and both.centre > 0 and compare(baseline, second).centre > LEAST:
        return "slower"
    if not both.excludes:
        return "cannot tell"
    return "faster" if both.beyond and both.centre < 0 else "no slower"
