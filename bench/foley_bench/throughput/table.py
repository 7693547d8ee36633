"""A row of throughput for people to read."""

from collections.abc import Mapping
from typing import Any, Final

from foley_bench.sentences import against_torch, disturbance, title

HEAD: Final = ("batch", "clips/min", "× first", "steps/s", "rows/s", "ms a batch", "peak MiB", "GPU MiB", "repeats")
WIDTH: Final = 11


def throughput_table(measured: Mapping[str, Any]) -> str:
    """Lay a row out: configuration, a line a batch with the knee marked, why it ended, fidelity."""
    figures = measured["figures"]
    lines = [title(measured["configuration"]), "".join(f"{head:>{WIDTH}}" for head in HEAD)]
    lines += [_line(batch, each, figures["knee"]) for batch, each in figures["batches"].items()]
    lines.append(f"knee: batch {figures['knee']}, the smallest within 5 % of the best, batch {figures['best']}")
    lines.append(f"ended: {figures['ended']}")
    lines.append(against_torch(measured["fidelity"]))
    what = measured["configuration"]
    return "\n".join([*lines, *disturbance(figures["busy"], what["threads"], what)])


def _line(batch: str, each: Mapping[str, Any], knee: int) -> str:
    on_device = "–" if each["device_mib"] is None else f"{each['device_mib']:.0f}"
    rate = each["clips_per_minute"]
    numbers = (rate["median"], each["gain"]["median"], each["steps_per_s"], each["rows_per_s"])
    whole = f"{each['latency_ms']['median']:.0f}", f"{each['peak_mib']:.0f}", on_device, str(rate["repeats"])
    cells = (batch, *(f"{number:.2f}" for number in numbers), *whole)
    return "".join(f"{cell:>{WIDTH}}" for cell in cells) + ("  ← knee" if int(batch) == knee else "")
