"""Quality over latency, the Pareto front joined."""

from collections.abc import Mapping
from math import isfinite
from pathlib import Path
from typing import Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from foley_bench.fidelity.pareto import Measure

ABOVE_DB: Final = 10.0
"""How far above the others a build is drawn that differs in nothing."""


def plot_trade(
    measure: Measure, points: Mapping[str, tuple[float, float]], front: set[str], first: str, file: Path
) -> None:
    """Draw builds by (latency ratio, value of the measure); less is better is drawn upside down."""
    shown = _bounded(points)
    figure, axes = pyplot.subplots(figsize=(7, 4.6), layout="constrained")
    best = sorted(shown[name] for name in front)
    axes.plot(*zip(*best, strict=True), color="#4c78a8", linewidth=1, zorder=1)
    for name, (ratio, value) in shown.items():
        axes.scatter(ratio, value, color="#4c78a8" if name in front else "#bab0ac", zorder=2)
        label = name if isfinite(points[name][1]) else f"{name} (exact)"
        place = (5, 5) if name in front else (5, -12)  # others lie beside the front, or below it
        axes.annotate(label, (ratio, value), xytext=place, textcoords="offset points", fontsize="small")
    axes.set(xlabel=f"latency of a clip, times that of {first}", ylabel=measure.title, title="blue: the Pareto front")
    axes.margins(x=0.15, y=0.15)
    if measure.sign < 0:
        axes.invert_yaxis()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _bounded(points: Mapping[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
    """Put builds without any error above the others, and those of a silent reference at zero."""
    most = max((value for _, value in points.values() if isfinite(value)), default=0.0) + ABOVE_DB
    return {
        name: (ratio, value if isfinite(value) else (most if value > 0 else 0.0))
        for name, (ratio, value) in points.items()
    }
