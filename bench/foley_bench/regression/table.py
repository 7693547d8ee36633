"""Baselines and checks for people to read."""

from collections.abc import Mapping
from typing import Any, Final

from foley_bench.regression.check import PROCESSOR, WALL
from foley_bench.regression.verdict import BEYOND, Difference, locate
from foley_bench.sentences import title

TIMES: Final = {WALL: "wall time", PROCESSOR: "processor time"}


def baseline_line(measured: Mapping[str, Any]) -> str:
    """Say what a baseline holds, and its noise."""
    figures = measured["figures"]
    noise = ", ".join(f"{name} ±{_noise(figures[gate]):.1%}" for gate, name in TIMES.items())
    return (
        f"{title(measured['configuration'])}: {figures['work_ms']:.0f} ms, of {len(figures[WALL])} processes; {noise} "
        f"({BEYOND:g} standard errors); {_fidelity(measured)}"
    )


def check_line(measured: Mapping[str, Any]) -> str:
    """Say how a build compares with its baseline, and by which figures that was judged."""
    figures = measured["figures"]
    noise = f"noise ±{figures['noise']:.1%}, {TIMES[figures['gate']]}, {len(figures[WALL])} processes"
    shown = f"{figures['finding']}: {figures['ratio'] - 1:+.1%} ({noise})"
    if figures["finding"] == "cannot tell":
        shown += "; try again on a calmer machine"
    return f"{title(measured['configuration'])}: {shown}; {_fidelity(measured)}"


def _noise(ratios: list[float]) -> float:
    return Difference(0.0, locate(ratios).error).noise


def _fidelity(measured: Mapping[str, Any]) -> str:
    return f"against torch: {min(measured['fidelity'].values()):g} dB or more"
