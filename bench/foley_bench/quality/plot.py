"""The picture of a curve: score and Fréchet distance, over steps and over guidance, a line a sampler."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from foley_bench.quality.asks import Setting
from foley_bench.quality.curve import Row, setting_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRECHET: Final = "Fréchet distance to real sounds"
MEASURES: Final[dict[str, Callable[[dict[str, Any]], float]]] = {
    "clips that follow their caption, %": lambda figures: 100 * figures["overall"]["fraction"],
    FRECHET: lambda figures: figures["frechet"],
}


def plot_curve(rows: Sequence[Row], target: Path) -> Path:
    """Plot a curve's cells; give the picture's path.

    What is not swept is fixed where most cells are, and of several such where the best of them is. Grey: real sounds.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), squeeze=False)
    for column, (over, at) in enumerate((("steps", "guidance"), ("guidance", "steps"))):
        fixed, cells = _busiest(rows, at)
        for axis, (title, measure) in zip(axes[:, column], MEASURES.items(), strict=True):
            _plot_panel(axis, cells, over, measure)
            axis.set(title=f"over {over}, at {at} {fixed:g}", xlabel=over, ylabel=title)
            if title == FRECHET:
                _scale_by_factors(axis)
            else:
                axis.set_ylim(bottom=0)
    axes[0, 0].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(target, dpi=110)
    plt.close(figure)
    return target


def _busiest(rows: Sequence[Row], at: str) -> tuple[float, list[Row]]:
    """Give the value of what is fixed that most cells have, and those cells."""
    groups: dict[float, list[Row]] = {}
    for row in rows:
        groups.setdefault(getattr(setting_of(row), at), []).append(row)
    return max(groups.items(), key=lambda item: (len(item[1]), max(map(_followed, item[1]))))


def _followed(row: Row) -> float:
    return float(row["figures"]["overall"]["fraction"])


def _plot_panel(axis: "Axes", cells: Sequence[Row], over: str, measure: Callable[[dict[str, Any]], float]) -> None:
    for sampler in dict.fromkeys(row["configuration"]["sampler"] for row in cells):
        own = [(setting_of(row), row["figures"]) for row in cells if row["configuration"]["sampler"] == sampler]
        points = sorted((_value(setting, over), measure(figures)) for setting, figures in own)
        axis.plot(*zip(*points, strict=True), marker="o", markersize=4, linewidth=1.2, label=sampler)
    axis.axhline(measure(cells[0]["figures"]["real"]), color="grey", linestyle="--", linewidth=1, label="real sounds")
    values = sorted({_value(setting_of(row), over) for row in cells})
    if over == "steps":
        axis.set_xscale("log")
    axis.set_xticks(values, [f"{value:g}" for value in values])
    axis.minorticks_off()
    axis.grid(alpha=0.3)


def _scale_by_factors(axis: "Axes") -> None:
    """Make an axis logarithmic: where a sampler falls apart it is a hundred times as far as real sounds are."""
    from matplotlib.ticker import LogLocator, ScalarFormatter

    axis.set_yscale("log")
    axis.minorticks_off()
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(ScalarFormatter())


def _value(setting: Setting, over: str) -> float:
    return float(getattr(setting, over))
