"""The roofline: what a machine's peaks allow, and where the stages lie below it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

COLOURS: Final = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#bab0ac")
ROOFS: Final = {"fp32": "-", "fp16": "--", "bf16": ":"}


def plot_roofline(measured: Mapping[str, Any], file: Path) -> None:
    """Draw a row: operations a second over operations a byte that has to move, both axes logarithmic."""
    figures, what = measured["figures"], measured["configuration"]
    figure, axes = pyplot.subplots(figsize=(8, 5), layout="constrained")
    for (name, stage), colour in zip(figures["stages"].items(), COLOURS, strict=False):
        words = f"{name.replace('_', ' ')}, {stage['fraction']:.0%}"
        axes.loglog(stage["flop_per_byte"], stage["gflop_per_s"], "o", color=colour, label=words)
    for precision, peaks in figures["peaks"].items():
        _roof(axes, precision, peaks, figures["stages"])
    axes.set_xlabel("operations a byte that has to move")
    axes.set_ylabel("GFLOP/s")
    axes.set_title(f"{what['bundle']} in {what['engine']}, {what['seconds']:g} s, batch {what['batch']}", fontsize=10)
    axes.legend(fontsize="small", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _roof(axes: Axes, precision: str, peaks: Mapping[str, Any], stages: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw what memory allows, up to what products reach."""
    ridge = peaks["gflop_per_s"] / peaks["gb_per_s"]
    places = [max(stage["flop_per_byte"], ridge / 100) for stage in stages.values()]
    x = [min(*places, ridge) / 3, ridge, max(*places, ridge) * 3]
    y = [min(each * peaks["gb_per_s"], peaks["gflop_per_s"]) for each in x]
    words = f"{precision}: {peaks['gflop_per_s']:g} GFLOP/s, {peaks['gb_per_s']:g} GB/s"
    axes.loglog(x, y, ROOFS[precision], color="black", linewidth=1, label=words)
