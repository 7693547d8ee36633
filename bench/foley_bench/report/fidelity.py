"""Rows of fidelity as a table: a line a build."""

from collections.abc import Sequence
from typing import Final

from foley_bench.report.cells import NONE, between, least_db, markdown, number
from foley_bench.report.heading import labels
from foley_bench.report.kept import Row

HEAD: Final = (
    "build", "SNR, dB", "least", "log-mel, dB", "Fréchet distance", "follow their prompt", "ms a clip",
    "times the first", "range", "Pareto front", "least dB to torch",
)  # fmt: skip


def fidelity_lines(rows: Sequence[Row]) -> str:
    """Render builds that were compared with the same one."""
    table = markdown(HEAD, [[label, *_cells(row)] for label, row in zip(labels(rows), rows, strict=True)])
    figures = rows[0]["figures"]
    return f"{table}\n\nMedians of {figures['clips']} clips a build; front by {figures['measure']} and latency."


def _cells(row: Row) -> list[str]:
    figures, score = row["figures"], row["figures"]["score"]
    ratio = figures["latency_ratio"]
    return [
        number(figures["snr_db"]["median"]),
        number(figures["snr_db"]["least"]),
        number(figures["log_mel_db"]["median"], 3),
        number(figures["frechet"], 3),
        NONE if score is None else f"{score['passed']} of {score['total']}",
        number(figures["latency_ms"]["median"]),
        number(ratio["median"], 2),
        between(ratio),
        "yes" if figures["front"] else "",
        least_db(row["fidelity"]),
    ]
