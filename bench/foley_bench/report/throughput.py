"""A row of throughput as a table: a line a batch."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from foley_bench.report.cells import between, least_db, markdown, number
from foley_bench.report.heading import disturbance
from foley_bench.report.kept import Row

HEAD: Final = (
    "batch", "clips a minute", "times the first", "range", "steps a second", "U-Net rows a second", "ms a batch",
    "peak, MiB", "GPU, MiB",
)  # fmt: skip


def throughput_lines(rows: Sequence[Row]) -> str:
    """Render one row, its knee marked, and what ended it."""
    row = rows[0]
    figures = row["figures"]
    lines = [_line(batch, each, figures["knee"]) for batch, each in figures["batches"].items()]
    notes = [f"Ended: {figures['ended']}. Least dB to torch: {least_db(row['fidelity'])}.", *disturbance(row)]
    return f"{markdown(HEAD, lines)}\n\n{' '.join(notes)}"


def _line(batch: str, each: Mapping[str, Any], knee: int) -> list[str]:
    rate, gain = each["clips_per_minute"]["median"], each["gain"]
    return [
        f"{batch} (knee)" if int(batch) == knee else batch,
        number(rate, 2),
        number(gain["median"], 2),
        between(gain),
        number(each["steps_per_s"], 2),
        number(each["rows_per_s"], 2),
        number(each["latency_ms"]["median"], 0),
        number(each["peak_mib"], 0),
        number(each["device_mib"], 0),
    ]
