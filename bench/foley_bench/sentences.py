"""What every table of a row says beside its figures."""

from collections.abc import Mapping
from typing import Any

from foley_bench.timing import CALM


def title(what: Mapping[str, Any]) -> str:
    """Name the build and the request of a row's configuration; what it does not hold is left out."""
    threads = f", {what['threads']} threads" if what["threads"] else ""
    build = f"{what['bundle']} ({what['precision']}) in {what['engine']}{threads}"
    return f"{build}: {', '.join(_request(what))}"


def _request(what: Mapping[str, Any]) -> list[str]:
    steps = [f"{what['steps']} steps of {what['sampler']}"] if "steps" in what else []
    several = isinstance(what["batch"], int) and what["batch"] > 1  # a row of many batches lists them itself
    batch = [f"batch {what['batch']}"] if several else []
    return [f"{what['seconds']:g} s", *steps, f"guidance {what['guidance']:g}", *batch]


def against_torch(fidelity: Mapping[str, float]) -> str:
    """Say each graph's decibels."""
    return f"against torch: {', '.join(f'{graph} {db:g} dB' for graph, db in fidelity.items())}"


def disturbance(busy: float, cores: int, what: Mapping[str, Any]) -> list[str]:
    """Say where others had a good part of the cores: the times are then theirs as well."""
    if what["engine"] != "cpu" or busy >= CALM:
        return []
    return [f"disturbed: had {busy:.0%} of {cores} cores; compare ratios of one run only"]
