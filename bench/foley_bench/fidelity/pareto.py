"""What a build is judged by, and which builds are worth their time."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Final

from foley.errors import UsageError
from foley_bench.fidelity.asks import Ask
from foley_bench.fidelity.measures import Departure

NEAR: Final = 0.03
"""Latencies nearer than this count as equal: medians of one build measured twice differ by as much."""


@dataclass(frozen=True)
class Measure:
    """One figure of a build's clips."""

    title: str
    read: Callable[[Departure], float | None]
    """None where it was not measured."""
    sign: int = 1
    """-1 where less is better."""

    def quality(self, found: Departure) -> float | None:
        """Give the figure so that more is better."""
        value = self.read(found)
        return None if value is None else self.sign * value


MEASURES: Final = {
    "score": Measure(
        "clips that follow their prompt, %", lambda it: None if it.score is None else 100 * it.score.fraction
    ),
    "snr": Measure("median clip SNR, dB", lambda it: median(it.snr_db)),
    "log-mel": Measure("median log-mel distance, dB", lambda it: median(it.log_mel_db), -1),
    "frechet": Measure("Fréchet distance", lambda it: it.frechet, -1),
}


def choose_measure(name: str | None, asks: Sequence[Ask]) -> str:
    """Check a measure's name, or choose: the score where it can be had, else the SNR.

    Raises:
        UsageError: the measure cannot be taken of these clips.
    """
    scored = any(ask.scene is not None for ask in asks)
    if name is None:
        return "score" if scored else "snr"
    if name == "score" and not scored:
        raise UsageError("--measure score is of the demo model's built-in prompts at 2.56 s; take another measure")
    if name == "frechet" and len(asks) < 2:
        raise UsageError("--measure frechet was asked of 1 clip, expected 2 or more; raise --count")
    return name


def front(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Give the builds, of (latency ratio, quality), that no other one beats."""
    return {name for name, point in points.items() if not any(_beats(other, point) for other in points.values())}


def _beats(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Say whether one is better and not slower by more than chance, or as good and faster by more than chance."""
    better = one[1] > other[1] and one[0] <= (1 + NEAR) * other[0]
    return better or (one[1] == other[1] and one[0] < (1 - NEAR) * other[0])
