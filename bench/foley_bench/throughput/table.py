"""A row of throughput for people to read."""

from collections.abc import Mapping
from typing import Any, Final

from foley_bench.timing import CALM

HEAD: Final = ("batch", "clips/min", "× first", "steps/s", "rows/s", "ms a batch", "peak MiB", "GPU MiB", "repeats")
WIDTH: Final = 11


def throughput_table(measured: Mapping[str, Any]) -> str:
    """Lay a row out: configuration, a line a batch with the knee marked, why it ended, fidelity."""
    figures = measured["figures"]
    lines = [_title(measured["configuration"]), "".join(f"{head:>{WIDTH}}" for head in HEAD)]
    lines += [_line(batch, each, figures["knee"]) for batch, each in figures["batches"].items()]
    lines.append(f"knee: batch {figures['knee']}, the smallest within 5 % of the best, batch {figures['best']}")
    lines.append(f"ended: {figures['ended']}")
    lines.append(f"against torch: {', '.join(f'{graph} {db:g} dB' for graph, db in measured['fidelity'].items())}")
    return "\n".join([*lines, *_disturbance(figures["busy"], measured["configuration"])])


def _title(what: Mapping[str, Any]) -> str:
    threads = f", {what['threads']} threads" if what["threads"] else ""
    return (
        f"{what['bundle']} ({what['precision']}) in {what['engine']}{threads}: {what['seconds']:g} s, {what['steps']} "
        f"steps of {what['sampler']}, guidance {what['guidance']:g}"
    )


def _line(batch: str, each: Mapping[str, Any], knee: int) -> str:
    on_device = "–" if each["device_mib"] is None else f"{each['device_mib']:.0f}"
    rate = each["clips_per_minute"]
    numbers = (rate["median"], each["gain"]["median"], each["steps_per_s"], each["rows_per_s"])
    whole = f"{each['latency_ms']['median']:.0f}", f"{each['peak_mib']:.0f}", on_device, str(rate["repeats"])
    cells = (batch, *(f"{number:.2f}" for number in numbers), *whole)
    return "".join(f"{cell:>{WIDTH}}" for cell in cells) + ("  ← knee" if int(batch) == knee else "")


def _disturbance(busy: float, what: Mapping[str, Any]) -> list[str]:
    if what["engine"] != "cpu" or busy >= CALM:
        return []
    return [f"disturbed: the clips had {busy:.0%} of {what['threads']} cores; compare ratios of one run only"]
