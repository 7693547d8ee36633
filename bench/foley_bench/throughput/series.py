"""Batches in rising order, in rounds, until memory, saturation, an error or a budget ends them."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from foley_bench.throughput.memory import free_host_mib, predicted_mib
from foley_bench.throughput.visit import Visit
from foley_engines.errors import EngineError

GAIN: Final = 0.03
"""A batch that makes less more clips than the one before does not lead further."""

Round = dict[int, Visit]
"""Batch → its visit; visits of a round were made right after one another."""
Measure = Callable[[int], Visit]


@dataclass(frozen=True)
class Limits:
    """What ends a series before its largest batch."""

    saturates: bool = True
    """Whether it ends where a larger batch is no faster."""
    budget_s: float | None = None
    """Seconds after which no visit is begun."""
    free_mib: Callable[[], float | None] = free_host_mib
    """Gives the memory of the host that is free now."""
    begin: float = field(default_factory=time.monotonic)

    def before(self, done: Sequence[Visit], batch: int) -> str | None:
        """Say what forbids a batch after those that were measured."""
        if done and self.over():
            return f"the budget of {self.budget_s:g} s was used up before batch {batch}"
        held = [(each.batch, each.peak_mib) for each in done]
        on_device = [(each.batch, each.device_mib) for each in done if each.device_mib is not None]
        free_mib = done[-1].device_free_mib if on_device else None
        return _lacking(held, batch, self.free_mib(), "memory") or _lacking(on_device, batch, free_mib, "GPU memory")

    def over(self) -> bool:
        """Say whether the budget is used up."""
        return self.budget_s is not None and time.monotonic() - self.begin >= self.budget_s


def _lacking(held: Sequence[tuple[int, float]], batch: int, free_mib: float | None, what: str) -> str | None:
    wanted_mib = predicted_mib(held, batch)
    if wanted_mib is None or free_mib is None or wanted_mib <= free_mib:
        return None
    return f"batch {batch} would take about {wanted_mib:.0f} MiB of {what}, {free_mib:.0f} MiB are free"


@dataclass(frozen=True)
class Series:
    """All that was measured."""

    rounds: tuple[Round, ...]
    """The first has every batch; the others some, in the same order."""
    ended: str
    """Why there is no larger batch, or no further round."""


def ladder_up_to(most: int) -> tuple[int, ...]:
    """Give 1, 2, 4, … up to `most`, which is the last whatever it is."""
    powers = [1 << power for power in range(most.bit_length())]
    return tuple(dict.fromkeys([*powers, most]))


def measure_series(batches: Sequence[int], visit: Measure, limits: Limits, rounds: int) -> Series:
    """Climb the batches, then go over those that were reached in further rounds: so drift is in all of them alike.

    Raises:
        EngineError: the first batch fails.
    """
    climbed, ended = _climb(batches, visit, limits)
    for _ in range(1, rounds):
        climbed.append({})
        stopped = _go_over(list(climbed[0]), climbed[-1], visit, limits)
        if stopped:
            return Series(tuple(filter(None, climbed)), f"{ended}; {stopped}")
    return Series(tuple(climbed), ended)


def _climb(batches: Sequence[int], visit: Measure, limits: Limits) -> tuple[list[Round], str]:
    rounds: list[Round] = [{batches[0]: visit(batches[0])}]
    for batch in batches[1:]:
        ended = _climb_to(batch, rounds, visit, limits)
        if ended:
            return rounds, ended
    return rounds, f"batch {batches[-1]} was the largest asked for"


def _climb_to(batch: int, rounds: list[Round], visit: Measure, limits: Limits) -> str | None:
    """Measure a batch after the others, and say what ends the series before or after it."""
    first = rounds[0]
    ended = limits.before(list(first.values()), batch) or _visited(first, batch, visit)
    if ended or not limits.saturates or not _is_flat(first):
        return ended
    rounds.append({})  # one disturbed visit must not end the series: the last two are made again
    ended = _go_over(list(first)[-2:], rounds[-1], visit, limits)
    return ended or (_saturation(rounds[-1]) if _is_flat(rounds[-1]) else None)


def _go_over(batches: Sequence[int], into: Round, visit: Measure, limits: Limits) -> str | None:
    for batch in batches:
        if limits.over():
            return f"the budget of {limits.budget_s:g} s was used up"
        failed = _visited(into, batch, visit)
        if failed:
            return failed
    return None


def _visited(into: Round, batch: int, visit: Measure) -> str | None:
    """Measure a batch into a round; an engine that fails is told, not raised."""
    try:
        into[batch] = visit(batch)
    except EngineError as error:
        return f"batch {batch} failed: {error}"
    return None


def _gain(measured: Round) -> float:
    former, latter = list(measured.values())[-2:]
    return latter.clips_per_minute / former.clips_per_minute - 1


def _is_flat(measured: Round) -> bool:
    return _gain(measured) < GAIN


def _saturation(measured: Round) -> str:
    former, latter = measured
    return f"saturated: batch {latter} makes {100 * _gain(measured):+.0f} % clips of batch {former}"
