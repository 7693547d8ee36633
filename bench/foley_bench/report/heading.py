"""What stands above a table, and what tells its rows apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from foley_bench.report.kept import Row, busy_share, device, is_disturbed


def heading(rows: Sequence[Row]) -> str:
    """State the machine, the versions, the commit and all of the configuration that is the same in all rows."""
    first = rows[0]
    machine, versions = first["machine"], ", ".join(f"{name} {each}" for name, each in first["versions"].items())
    size = f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, {machine['system']}"
    place = f"{size}, {device(first)}" if device(first) else size
    same = ", ".join(_item(name, value) for name, value in _shared(rows).items())
    return f"{place}; {versions}; commit {first['commit']}, {first['date']}. Configuration: {same}."


def labels(rows: Sequence[Row]) -> list[str]:
    """Give each row what its configuration has for itself, and whether others disturbed it."""
    same = _shared(rows)
    return [_label(row, same) for row in rows]


def _label(row: Row, same: Mapping[str, Any]) -> str:
    own = [_item(name, value) for name, value in row["configuration"].items() if name not in same]
    return ", ".join([*(own or [str(row["configuration"]["bundle"])]), *disturbance(row)])


def disturbance(row: Row) -> list[str]:
    """Say of a disturbed row how much of its cores it had."""
    return [f"**disturbed**: had {busy_share(row):.0%} of its cores"] if is_disturbed(row) else []


def _shared(rows: Sequence[Row]) -> dict[str, Any]:
    first = rows[0]["configuration"]
    return {
        name: value
        for name, value in first.items()
        if all(name in row["configuration"] and row["configuration"][name] == value for row in rows)
    }


def _item(name: str, value: Any) -> str:  # noqa: ANN401 — as JSON has it
    """Show an item of a configuration; one that is a configuration itself by its name."""
    shown = value.get("name", value) if isinstance(value, Mapping) else value
    if isinstance(shown, bool) or shown is None:
        shown = {True: "yes", False: "no", None: "–"}[shown]
    return f"{name.replace('_', ' ')} {f'{shown:g}' if isinstance(shown, float) else shown}"
