"""A series as figures, and its knee."""

from collections.abc import Mapping
from statistics import median
from typing import Any, Final

from foley_bench.throughput.series import Series
from foley_bench.timing import spread

NEAR: Final = 0.95
"""Share of the best batch's clips a minute from which a smaller batch is as good."""


def knee(rates: Mapping[int, float]) -> int:
    """Give the smallest batch within 5 % of the best rate."""
    enough = NEAR * max(rates.values())
    return min(batch for batch, rate in rates.items() if rate >= enough)


def gains(series: Series, batch: int) -> list[float]:
    """Give a batch's clips a minute over those of the first batch, for each round that has both."""
    first = next(iter(series.rounds[0]))
    both = [measured for measured in series.rounds if first in measured and batch in measured]
    return [measured[batch].clips_per_minute / measured[first].clips_per_minute for measured in both]


def series_figures(series: Series) -> dict[str, Any]:
    """Give a row's figures: by batch, the knee by medians of `gains`, and why the series ended."""
    by_batch = {batch: _of_batch(series, batch) for batch in series.rounds[0]}
    rates = {batch: figures["gain"]["median"] for batch, figures in by_batch.items()}
    return {
        "batches": {str(batch): figures for batch, figures in by_batch.items()},
        "knee": knee(rates),
        "best": max(rates, key=lambda batch: rates[batch]),
        "ended": series.ended,
        "busy": round(median(visit.busy for measured in series.rounds for visit in measured.values()), 3),
    }


def _of_batch(series: Series, batch: int) -> dict[str, Any]:
    visits = [measured[batch] for measured in series.rounds if batch in measured]
    return {
        "clips_per_minute": spread([visit.clips_per_minute for visit in visits]).rounded(),
        "gain": spread(gains(series, batch)).rounded(4),
        "steps_per_s": round(median(visit.steps_per_s for visit in visits), 3),
        "rows_per_s": round(median(visit.rows_per_s for visit in visits), 3),
        "latency_ms": spread([1e3 * visit.latency_s for visit in visits]).rounded(),
        "calls": sum(visit.calls for visit in visits),
        "peak_mib": round(max(visit.peak_mib for visit in visits), 1),
        "device_mib": _most([visit.device_mib for visit in visits]),
    }


def _most(figures: list[float | None]) -> float | None:
    told = [figure for figure in figures if figure is not None]
    return round(max(told), 1) if told else None
