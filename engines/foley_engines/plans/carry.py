"""Plans of a folder that outlast it: those that take other weights, as the next checkpoint's are."""

import contextlib
import os
import shutil
from pathlib import Path
from typing import Final

from foley_engines.plans.record import Record, decode
from foley_engines.plans.store import RECORD, TIMINGS

REFITTABLE: Final = "refittable"
"""The part of a record that says whether its plan takes other weights."""


def carry_over(source: Path, target: Path) -> int:
    """Put a folder's refittable plans with their records, and the timings of its builds, into another as well.

    Files are linked where the disk can, else copied. Gives the number of plans' records.

    Raises:
        OSError: the target cannot be written.
    """
    records = {place: record for place in sorted(source.glob(f"*{RECORD}")) if (record := _read(place)) is not None}
    kept = {place: record for place, record in records.items() if record.parts.get(REFITTABLE) == "yes"}
    plans = {source / record.plan for record in kept.values()}
    files = sorted(place for place in (*plans, *kept, *source.glob(TIMINGS)) if place.is_file())
    if files:
        target.mkdir(parents=True, exist_ok=True)
    for place in files:
        _link(place, target / place.name)
    return len(kept)


def _read(place: Path) -> Record | None:
    try:
        return decode(place.read_bytes())
    except (OSError, ValueError):
        return None


def _link(place: Path, target: Path) -> None:
    with contextlib.suppress(OSError):  # a file system without links
        os.link(place, target)
        return
    shutil.copy2(place, target)
