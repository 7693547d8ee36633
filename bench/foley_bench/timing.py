"""Repeated measurements: how often they are taken, how they spread, and how much of the machine they had."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

import numpy as np

REPEATS: Final = 30
LEAST: Final = 3
"""Repeats that are made however short the budget."""
WARM_UP: Final = 3
"""Runs before those that count: libraries set themselves up, and capture a CUDA graph for each set of addresses."""
FOR_TAILS: Final = 20
"""Repeats from which the 5th and 95th percentile are told: of fewer they would be the least and the most."""
CALM: Final = 0.8
"""Share of its cores from which a measurement on the CPU counts as undisturbed."""

T = TypeVar("T")


@dataclass(frozen=True)
class Spread:
    """How repeated figures lie."""

    repeats: int
    median: float
    least: float
    most: float
    p5: float | None
    p95: float | None
    """None of either where there are fewer than `FOR_TAILS`."""

    def rounded(self, digits: int = 3) -> dict[str, float | int | None]:
        """Give the figures for a row."""
        return {name: None if value is None else round(value, digits) for name, value in vars(self).items()}


def spread(figures: Sequence[float]) -> Spread:
    """Describe at least one figure."""
    tails = [float(np.percentile(figures, part)) if len(figures) >= FOR_TAILS else None for part in (5, 95)]
    return Spread(len(figures), float(np.median(figures)), min(figures), max(figures), *tails)


def repeated(
    work: Callable[[int], T], repeats: int = REPEATS, budget_s: float | None = None, warm_up: int = WARM_UP
) -> list[T]:
    """Do numbered work, first some rounds that do not count, then `repeats`; fewer where the budget ends, at least 3.

    Negative numbers are those of the warm-up.
    """
    for number in range(-warm_up, 0):
        work(number)
    begin, done = time.perf_counter(), list[T]()
    while len(done) < repeats and (len(done) < LEAST or not _over(budget_s, begin)):
        done.append(work(len(done)))
    return done


def _over(budget_s: float | None, begin: float) -> bool:
    return budget_s is not None and time.perf_counter() - begin >= budget_s


@dataclass(frozen=True)
class Share:
    """What a measurement had of the machine's processor."""

    wall_s: float
    cpu_s: float
    """Processor time of all threads of this process."""
    cores: int
    """Threads that were to compute."""
    stolen_s: float | None
    """What a hypervisor kept from the whole machine; None where the system does not tell."""
    load: float
    """Processes that wanted to run, on average over a minute, at the end."""

    @property
    def busy(self) -> float:
        """The share of its cores that the measurement had: near 1 on a calm machine, where threads wait by spinning."""
        return self.cpu_s / (self.wall_s * self.cores) if self.wall_s > 0 else 0.0

    def figures(self) -> dict[str, float | int | None]:
        """Give the figures for a row."""
        stolen = None if self.stolen_s is None else round(self.stolen_s, 2)
        return {"busy": round(self.busy, 3), "cores": self.cores, "stolen_s": stolen, "load": round(self.load, 2)}


class ShareClock:
    """Reads a `Share` when its block ends."""

    def __init__(self, cores: int) -> None:
        self._cores = cores
        self._begin = _marks()

    def read(self) -> Share:
        """Give the share since the clock was made."""
        (wall, cpu, stolen), (wall_0, cpu_0, stolen_0) = _marks(), self._begin
        lost = None if stolen is None or stolen_0 is None else stolen - stolen_0
        return Share(wall - wall_0, cpu - cpu_0, self._cores, lost, os.getloadavg()[0])


def _marks() -> tuple[float, float, float | None]:
    return time.perf_counter(), time.process_time(), _stolen_s()


def _stolen_s() -> float | None:
    """Read the time that a hypervisor kept, of all cores (the 8th number of Linux's /proc/stat)."""
    try:
        fields = Path("/proc/stat").read_text(encoding="ascii").split(maxsplit=10)
        return int(fields[8]) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, IndexError):
        return None


@contextlib.contextmanager
def clocked_ms(into: dict[str, float], name: str) -> Iterator[None]:
    """Add the milliseconds of a block to an entry."""
    begin = time.perf_counter()
    try:
        yield
    finally:
        into[name] = into.get(name, 0.0) + (time.perf_counter() - begin) * 1e3
