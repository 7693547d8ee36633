"""A picture for each table that has one."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foley_bench.report.kept import Row

PLOTTED: Final = ("latency", "throughput", "fidelity", "compare", "roofline")


def plot_names(kinds: Sequence[str]) -> list[str | None]:
    """Name the picture of each table by its kind, several of one kind by number; None where there is none."""
    names: list[str | None] = []
    for place, kind in enumerate(kinds):
        number = kinds[: place + 1].count(kind)
        names.append((f"{kind}.png" if number == 1 else f"{kind}-{number}.png") if kind in PLOTTED else None)
    return names


def draw(kind: str, rows: Sequence[Row], file: Path) -> None:
    """Draw a table's rows."""
    if kind == "latency":
        from foley_bench.latency.plot import plot_stages

        plot_stages(rows, file)
    elif kind == "throughput":
        from foley_bench.throughput.plot import plot_throughput

        plot_throughput(rows[0], file)
    elif kind == "roofline":
        from foley_bench.roofline.plot import plot_roofline

        plot_roofline(rows[0], file)
    elif kind == "compare":
        from foley_bench.compare.plot import plot_ratios

        plot_ratios(rows, file)
    else:
        _draw_trade(rows, file)


def _draw_trade(rows: Sequence[Row], file: Path) -> None:
    from foley_bench.fidelity.pareto import MEASURES
    from foley_bench.fidelity.plot import plot_trade

    measure = rows[0]["figures"]["measure"]
    points = {_name(row): (row["figures"]["latency_ratio"]["median"], _value(row, measure)) for row in rows}
    front = {_name(row) for row in rows if row["figures"]["front"]}
    plot_trade(MEASURES[measure], points, front, rows[0]["configuration"]["compared_with"]["name"], file)


def _name(row: Row) -> str:
    return str(row["configuration"]["name"])


def _value(row: Row, measure: str) -> float:
    figures = row["figures"]
    if measure == "score":
        return 100 * float(figures["score"]["fraction"])
    if measure == "frechet":
        return float(figures["frechet"] or 0.0)
    median = figures["log_mel_db" if measure == "log-mel" else "snr_db"]["median"]
    return math.inf if isinstance(median, str) else float(median)
