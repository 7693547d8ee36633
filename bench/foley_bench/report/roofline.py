"""A row of the roofline as a table: a line a stage."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from foley_bench.report.cells import least_db, markdown, number
from foley_bench.report.heading import disturbance
from foley_bench.report.kept import Row

HEAD: Final = (
    "stage",
    "median, ms",
    "GFLOP",
    "MB at least",
    "FLOP a byte",
    "GFLOP/s",
    "GB/s",
    "nearer limit",
    "fraction of it",
)


def roofline_lines(rows: Sequence[Row]) -> str:
    """Render one row and its peaks."""
    row = rows[0]
    figures = row["figures"]
    table = markdown(HEAD, [_line(name, stage) for name, stage in figures["stages"].items()])
    peaks = "; ".join(_peak(precision, each) for precision, each in figures["peaks"].items())
    notes = [f"Peaks of the same run: {peaks}. Least dB to torch: {least_db(row['fidelity'])}.", *disturbance(row)]
    return f"{table}\n\n{' '.join(notes)}"


def _line(name: str, stage: Mapping[str, Any]) -> list[str]:
    return [
        name.replace("_", " "),
        number(stage["ms"]["median"], 2),
        number(stage["flops"] / 1e9, 3),
        number(stage["least_bytes"] / 1e6),
        number(stage["flop_per_byte"]),
        number(stage["gflop_per_s"]),
        number(stage["gb_per_s"], 2),
        stage["limit"],
        f"{stage['fraction']:.1%}",
    ]


def _peak(precision: str, each: Mapping[str, Any]) -> str:
    return f"{precision} {number(each['gflop_per_s'])} GFLOP/s, {number(each['gb_per_s'])} GB/s"
