"""Measure a row of a baseline again, and judge."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foley_bench.build import cores_of, fidelity, method
from foley_bench.regression.baseline import Row, identity, measured_again
from foley_bench.regression.clip import Turns
from foley_bench.regression.orders import Order
from foley_bench.regression.sample import Sample, take_sample
from foley_bench.regression.verdict import Difference, Finding, compare, final_finding, first_finding
from foley_bench.regression.yardstick import yardstick_file
from foley_bench.rows import row
from foley_bench.timing import CALM

NAME: Final = "check"
"""Name of the rows."""
WALL: Final = "ratios"
PROCESSOR: Final = "cpu_ratios"


@dataclass(frozen=True)
class Judgement:
    """What was found, and by which figures."""

    finding: Finding
    gate: str
    """`WALL`, or `PROCESSOR` where others had the machine."""
    found: Difference

    def figures(self) -> dict[str, Any]:
        """Give the figures for a row."""
        measured = {"ratio": round(self.found.ratio, 4), "noise": round(self.found.noise, 4)}
        return {"finding": self.finding, "gate": self.gate, **measured}


def check_row(kept: Row, folder: Path) -> dict[str, Any]:
    """Measure what a row of a baseline holds again, with a bundle; give a row with the judgement.

    Raises:
        FoleyError: it cannot be compared, or not be run.
    """
    again, how = measured_again(kept, folder), kept["method"]
    snr_db, processes = fidelity(again.bundle, again.setup), len(kept["figures"][WALL]) // 2
    with yardstick_file(again.bundle.manifest.precision) as graph:
        order = Order(folder, how["options"], again.workload, graph, Turns(**how["turns"]), how["clips"])
        judged, sample = judge(kept, lambda: take_sample(order, processes), cores_of(again.setup))
    told = {**method(again.bundle, again.setup), **identity(), "baseline": kept["commit"], "clips": how["clips"]}
    figures = {**judged.figures(), **sample.figures(cores_of(again.setup))}
    return row(NAME, kept["configuration"], figures, fidelity=snr_db, method=told)


def judge(kept: Row, take: Callable[[], Sample], cores: int) -> tuple[Judgement, Sample]:
    """Take a sample, a second one where the first does not decide, and judge; give all processes as well."""
    first = take()
    gate, (old, new) = gated(kept, first, cores)
    finding = first_finding(old, new)
    if finding is not None:
        return Judgement(finding, gate, compare(old, new)), first
    second = take()
    both = first.joined(second)
    gate, (old, new) = gated(kept, both, cores)
    finding = final_finding(old, new[: len(first.processes)], new[len(first.processes) :])
    return Judgement(finding, gate, compare(old, new)), both


def gated(kept: Row, sample: Sample, cores: int) -> tuple[str, tuple[list[float], list[float]]]:
    """Choose by which figures to judge, and give the baseline's and the sample's.

    By wall time, which is what a user waits for, where the machine was calm both times, and on a GPU. Where others had
    a part of the cores, processor time is told from noise far better (README.md of bench), but shows no waiting.
    """
    now = sample.figures(cores)
    busy = min(figures["share"]["busy"] for figures in (kept["figures"], now))
    gate = PROCESSOR if kept["configuration"]["engine"] == "cpu" and busy < CALM else WALL
    return gate, (kept["figures"][gate], now[gate])
