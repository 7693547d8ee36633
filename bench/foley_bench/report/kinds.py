"""Kinds of rows: what renders each, and which rows share a table."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from foley_bench.report.compare import compare_lines
from foley_bench.report.fidelity import fidelity_lines
from foley_bench.report.footprint import footprint_lines
from foley_bench.report.kept import Row
from foley_bench.report.latency import latency_lines
from foley_bench.report.roofline import roofline_lines
from foley_bench.report.throughput import throughput_lines


@dataclass(frozen=True)
class Kind:
    """How rows of a name are shown."""

    title: str
    lines: Callable[[Sequence[Row]], str]
    """Renders the rows of one table."""
    shared: Callable[[Row], object]
    """Gives what rows of one table have in common, beside machine, versions and commit."""


def _all(row: Row) -> object:
    return row["configuration"]


def _match(row: Row) -> object:
    return [{name: value for name, value in row["configuration"].items() if name != "peer"}, row["method"]]


def _first_build(row: Row) -> object:
    figures, how = row["figures"], row["method"]
    prompts = [how.get("prompts_sha256"), how.get("seed"), figures["clips"], figures["measure"]]
    return [row["configuration"]["compared_with"], *prompts]


KINDS: Final = {
    "latency": Kind("Latency", latency_lines, lambda row: None),  # noqa: ARG005
    "throughput": Kind("Throughput", throughput_lines, _all),
    "fidelity": Kind("Fidelity beside latency", fidelity_lines, _first_build),
    "compare": Kind("Beside other runtimes, in the same run", compare_lines, _match),
    "roofline": Kind("Distance from the machine's limits", roofline_lines, _all),
    "footprint": Kind("Footprint", footprint_lines, _all),
}
"""Name of rows → how they are shown, in the page's order. Rows of other names belong to other tables."""
