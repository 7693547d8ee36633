"""Rows of results files, and which of them are shown."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from foley.errors import UsageError
from foley_bench.timing import CALM

Row = Mapping[str, Any]


def read_rows(files: Sequence[Path]) -> list[Row]:
    """Read all rows, in the order in which they were written.

    Raises:
        UsageError: a line is no row.
    """
    return [row for file in files for row in _rows(file)]


def _rows(file: Path) -> Iterator[Row]:
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip():
            yield _row(line, file, number)


def _row(line: str, file: Path, number: int) -> Row:
    try:
        row: Row = json.loads(line)
        _ = row["name"], row["date"], row["machine"], row["configuration"]
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{file}:{number} is no row that `foley bench` wrote ({error}); take the line out") from error
    return row


def newest(rows: Iterable[Row]) -> list[Row]:
    """Keep the newest row of each kind, configuration and machine, of one day the last, in the place of the oldest."""
    found: dict[str, Row] = {}
    for row in sorted(rows, key=lambda each: str(each["date"])):  # stable: within a day as they were written
        found[_identity(row)] = row
    return list(found.values())


def _identity(row: Row) -> str:
    return json.dumps([row["name"], row["configuration"], row["machine"], device(row)], sort_keys=True)


def device(row: Row) -> str:
    """Give the GPU that an engine's library was on; none on the CPU."""
    return str(row.get("method", {}).get("library", "")).partition(" on ")[2]


def is_disturbed(row: Row) -> bool:
    """Say whether others had a good part of the cores of a measurement on the CPU: its times are then theirs as well.

    Rows of ratios within a round, which say nothing of the whole's share, are not.
    """
    busy = busy_share(row)
    return row["configuration"].get("engine") == "cpu" and busy is not None and busy < CALM


def busy_share(row: Row) -> float | None:
    """Give the share of its cores that a measurement had, where it was taken."""
    figures = row["figures"]
    share: float | None = figures.get("share", figures).get("busy")
    return share
