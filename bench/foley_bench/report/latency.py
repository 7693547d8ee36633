"""Rows of latency as a table: a line a configuration."""

from collections.abc import Sequence
from typing import Final

from foley_bench.report.cells import between, least_db, markdown, number
from foley_bench.report.heading import labels
from foley_bench.report.kept import Row

STAGES: Final = ("text_encoder", "denoise_step", "denoising", "latent_decoder", "vocoder", "audio_write", "host")
HEAD: Final = (
    "median, ms", *(stage.replace("_", " ") for stage in STAGES), "whole clip", "p5–p95", "repeats",
    "real-time factor", "first clip, new process, s", "peak, MiB", "least dB to torch",
)  # fmt: skip


def latency_lines(rows: Sequence[Row]) -> str:
    """Render rows that were measured on one machine with the same versions."""
    return markdown(HEAD, [[label, *_cells(row)] for label, row in zip(labels(rows), rows, strict=True)])


def _cells(row: Row) -> list[str]:
    figures = row["figures"]
    whole, cold = figures["whole"], figures.get("cold_start", {})
    return [
        *(number(figures[stage]["median"]) for stage in STAGES),
        number(whole["median"]),
        between(whole, 1),
        str(whole["repeats"]),
        number(figures["real_time_factor"], 3),
        number(cold.get("first_clip_s"), 2),
        number(cold.get("peak_mib"), 0),
        least_db(row["fidelity"]),
    ]
