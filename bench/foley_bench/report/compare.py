"""Rows of a comparison as a table: a line a unit of each peer."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from foley_bench.report.cells import NONE, between, least_db, markdown, number
from foley_bench.report.kept import Row

UNITS: Final = ("step", "decode", "clip")
HEAD: Final = (
    "peer", "unit", "its time over Foley's", "range", "processor time over Foley's", "rounds", "Foley, ms", "peer, ms",
    "Foley, dB", "peer, dB", "Foley's peak, MiB", "peer's", "Foley had of its cores", "peer had",
)  # fmt: skip


def compare_lines(rows: Sequence[Row]) -> str:
    """Render the peers of one match; one without times gets its reason."""
    lines = [line for row in rows for line in _lines(row)]
    reference, least = rows[0]["method"]["reference"], least_db(rows[0]["fidelity"])
    return (
        f"{markdown(HEAD, lines)}\n\nRatios are of one round each; above 1 Foley is faster. Decibels are against "
        f"{reference}; Foley's graphs have {least} or more to torch.{_versions(rows)}"
    )


def _versions(rows: Sequence[Row]) -> str:
    """Name the libraries that the timed peers' interpreters had."""
    told = {row["configuration"]["peer"]: row["figures"]["peer"] for row in rows if row["figures"]["status"] == "timed"}
    each = (f"{peer}: {_listed(facts.get('versions', {}))}" for peer, facts in told.items())
    return f" Libraries of {'; '.join(each)}." if told else ""


def _listed(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def _lines(row: Row) -> Iterator[list[str]]:
    figures, peer = row["figures"], row["configuration"]["peer"]
    if figures["status"] != "timed":
        yield [peer, f"{figures['status']}: {figures['why']}", *[NONE] * (len(HEAD) - 2)]
        return
    name = f"{peer} (bfloat16 emulated)" if figures["peer"].get("emulated") else peer
    yield from ([name, unit, *_unit(figures[unit])] for unit in UNITS if unit in figures)
    if "estimated" in figures:
        yield [name, *_estimated(figures["estimated"])]


def _unit(figures: Mapping[str, Any]) -> list[str]:
    wall, processor = figures["wall_ratio"], figures["processor_ratio"]
    return [
        number(wall["median"], 2),
        between(wall),
        NONE if processor is None else number(processor["median"], 2),
        str(wall["repeats"]),
        *(number(figures[f"{side}_ms"]["median"]) for side in ("foley", "peer")),
        *(number(figures[f"{side}_snr_db"] or "equal") for side in ("foley", "peer")),
        *(str(figures[f"{side}_peak_mib"]) for side in ("foley", "peer")),
        *(f"{figures[f'{side}_busy']:.0%}" for side in ("foley", "peer")),
    ]


def _estimated(figures: Mapping[str, Any]) -> list[str]:
    """Show a clip that was not measured, from its parts."""
    wall, parts = figures["wall_ratio"], " and ".join(figures["parts"])
    seconds = [number(1e3 * figures[f"{side}_s"]["median"]) for side in ("foley", "peer")]
    unit = f"clip of {figures['steps']} steps, estimated from {parts}"
    return [unit, number(wall["median"], 2), between(wall), NONE, str(wall["repeats"]), *seconds, *[NONE] * 6]
