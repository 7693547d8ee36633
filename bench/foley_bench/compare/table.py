"""Rows of a comparison for people to read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from foley_bench.sentences import title

UNITS: Final = ("step", "decode", "clip")
HEAD: Final = (
    f"{'peer':<20}{'unit':<10}{'time':>7}  {'range':<14}{'processor':>9}{'dB':>8}  {'busy':<11}{'first run':>9}"
)


def compare_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows of one run out: what was compared, and a line a unit of each peer, or why there is none."""
    lines = [*_title(rows[0]), HEAD]
    for row in rows:
        lines += _lines(row)
    return "\n".join([*lines, *_notes(rows)])


def _title(row: Mapping[str, Any]) -> list[str]:
    what, how = row["configuration"], row["method"]
    return [
        title(what),
        f"a peer's time over Foley's in the same round, so above 1 Foley is faster; dB against {how['reference']}",
    ]


def _lines(row: Mapping[str, Any]) -> list[str]:
    name, figures = row["configuration"]["peer"], row["figures"]
    if figures["status"] != "timed":
        return [f"{name:<20}{figures['status']}: {figures['why']}"]
    label = f"{name} *" if figures["peer"].get("emulated") else name
    found = [f"{label:<20}{unit:<10}{_unit(figures[unit])}" for unit in UNITS if unit in figures]
    if "estimated" not in figures:
        return found
    return [*found, f"{label:<20}{'estimated':<10}{_ratio(figures['estimated']['wall_ratio'])}"]


def _unit(figures: Mapping[str, Any]) -> str:
    processor = figures["processor_ratio"]
    worked = "–" if processor is None else f"{processor['median']:.2f}"
    decibels = "equal" if figures["peer_snr_db"] is None else f"{figures['peer_snr_db']:.1f}"
    busy = f"{figures['peer_busy']:.0%}/{figures['foley_busy']:.0%}"
    first = f"{figures['peer_first_run_s']:.1f} s"
    return f"{_ratio(figures['wall_ratio'])}{worked:>9}{decibels:>8}  {busy:<11}{first:>9}"


def _ratio(spread: Mapping[str, float | None]) -> str:
    low, high = (spread["least"], spread["most"]) if spread["p5"] is None else (spread["p5"], spread["p95"])
    return f"{spread['median']:>7.2f}  {f'{low:.2f}–{high:.2f}':<14}"


def _notes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    timed = [row["figures"] for row in rows if row["figures"]["status"] == "timed"]
    notes = []
    if timed:
        notes.append(f"Foley's own outputs: {_own(timed)}")
        notes.append(f"{_rounds(timed)} rounds; busy: the share of its threads' time that the peer and Foley had")
    if any(figures["peer"].get("emulated") for figures in timed):
        notes.append("* this processor has no bfloat16: emulated, one step")
    parts = next((figures["estimated"] for figures in timed if "estimated" in figures), None)
    if parts is not None:
        notes.append(
            f"estimated: {parts['steps']} steps and decoding, from the measured ones; no text encoder, no vocoder"
        )
    return notes


def _own(timed: Sequence[Mapping[str, Any]]) -> str:
    """Say how near Foley came to the reference at worst, by unit."""
    found = {unit: [each[unit]["foley_snr_db"] for each in timed if unit in each] for unit in UNITS}
    worst = {unit: [db for db in figures if db is not None] for unit, figures in found.items() if figures}
    return ", ".join(f"{unit} {f'{min(figures):.1f} dB' if figures else 'equal'}" for unit, figures in worst.items())


def _rounds(timed: Sequence[Mapping[str, Any]]) -> str:
    counts = {figures[unit]["wall_ratio"]["repeats"] for figures in timed for unit in UNITS if unit in figures}
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))
