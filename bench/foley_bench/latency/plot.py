"""Stages as bars."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from foley_bench.latency.stages import STAGES

COLOURS: Final = ("#4c78a8", "#f58518", "#54a24b", "#b279a2", "#9d755d", "#bab0ac")


def plot_stages(rows: Sequence[Mapping[str, Any]], file: Path) -> None:
    """Draw a bar a row, made of its stages' medians in milliseconds."""
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.6 * len(rows)), layout="constrained")
    left = [0.0] * len(rows)
    for stage, colour in zip(STAGES, COLOURS, strict=True):
        widths = [max(float(row["figures"][stage]["median"]), 0.0) for row in rows]
        axes.barh(range(len(rows)), widths, left=left, label=stage.replace("_", " "), color=colour)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(range(len(rows)), [_name(row["configuration"]) for row in rows])
    axes.invert_yaxis()
    axes.set_xlabel("ms")
    figure.legend(loc="outside upper center", ncols=len(STAGES), fontsize="small", frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _name(what: Mapping[str, Any]) -> str:
    return f"{what['bundle']} {what['engine']} {what['precision']}\n{what['steps']} steps, batch {what['batch']}"
