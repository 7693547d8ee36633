"""Clips a minute and the latency of a batch, over the batch."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot


def plot_throughput(measured: Mapping[str, Any], file: Path) -> None:
    """Draw both curves of a row's medians, with the knee marked."""
    found = {int(batch): each for batch, each in measured["figures"]["batches"].items()}
    figure, axes = pyplot.subplots(figsize=(7, 4.2), layout="constrained")
    rates = [each["clips_per_minute"]["median"] for each in found.values()]
    times = [each["latency_ms"]["median"] / 1e3 for each in found.values()]
    axes.plot(list(found), rates, marker="o", color="#4c78a8")
    axes.set(xlabel="batch", ylabel="clips a minute", title=_title(measured["configuration"]))
    axes.set_xscale("log", base=2)
    axes.set_xticks(list(found), [str(batch) for batch in found])
    axes.minorticks_off()
    axes.set_ylim(0, 1.1 * max(rates))
    _mark(axes, measured["figures"]["knee"])
    other = axes.twinx()
    other.plot(list(found), times, marker="s", linestyle="--", color="#f58518")
    other.set_ylabel("seconds a batch (dashed)")
    other.set_ylim(0, 1.1 * max(times))
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=150)
    pyplot.close(figure)


def _mark(axes: Any, knee: int) -> None:  # noqa: ANN401 — matplotlib's axes
    axes.axvline(knee, color="grey", linewidth=1, linestyle=":")
    axes.annotate(f"knee: {knee}", (knee, 0.04), xycoords=("data", "axes fraction"), fontsize="small", rotation=90)


def _title(what: Mapping[str, Any]) -> str:
    return f"{what['bundle']} {what['engine']} {what['precision']}, {what['steps']} steps of {what['sampler']}"
