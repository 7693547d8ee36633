"""Ratios as points with their ranges."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from foley_bench.compare.table import UNITS

TICKS: Final = (0.1, 0.2, 0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20, 50)


def plot_ratios(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw each timed peer's time over Foley's: the median, and the range over the rounds."""
    found = [
        (f"{row['configuration']['peer']}, {unit}", row["figures"][unit]["wall_ratio"])
        for row in rows
        for unit in (*UNITS, "estimated")
        if unit in row["figures"]
    ]
    figure, axes = pyplot.subplots(figsize=(8, 1.4 + 0.35 * len(found)), layout="constrained")
    for place, (_, ratio) in enumerate(found):
        low, high = (ratio["least"], ratio["most"]) if ratio["p5"] is None else (ratio["p5"], ratio["p95"])
        axes.plot([low, high], [place, place], color="#bab0ac", linewidth=4)
        axes.plot([ratio["median"]], [place], "o", color="#4c78a8")
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(found)), [name for name, _ in found])
    axes.invert_yaxis()
    _scale(axes)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _scale(axes: Any) -> None:  # noqa: ANN401 — matplotlib's axes
    """Let half and double be as far from 1, and label what is in sight."""
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.set_xticks([tick for tick in TICKS if low <= tick <= high])
    axes.minorticks_off()
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("time over Foley's")
