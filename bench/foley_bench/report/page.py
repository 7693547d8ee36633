"""All tables of a page, between two markers of it."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from foley.errors import UsageError
from foley_bench.pages import Block
from foley_bench.report.heading import heading
from foley_bench.report.kept import Row, device, is_disturbed, newest
from foley_bench.report.kinds import KINDS, Kind

BLOCK: Final = Block("bench")


def shown_rows(rows: Sequence[Row], *, disturbed: bool) -> list[Row]:
    """Choose the newest rows that have a table; those that others disturbed only where they are asked for.

    Raises:
        UsageError: there are none.
    """
    known = [row for row in rows if row["name"] in KINDS]
    found = newest(row for row in known if disturbed or not is_disturbed(row))
    if not found:
        kept = f"{len(known)} were disturbed by others: --disturbed shows them" if known else "none was kept"
        raise UsageError(f"there is no row to show, {kept}; measure with: foley bench latency --results FILE")
    return found


def tables(rows: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Give each table's kind and rows, in the order of `KINDS`."""
    for name, kind in KINDS.items():
        groups: dict[str, list[Row]] = {}
        for row in rows:
            if row["name"] == name:
                groups.setdefault(_group(row, kind), []).append(row)
        yield from ((name, group) for group in groups.values())


def page_text(rows: Sequence[Row], plots: Sequence[str | None]) -> str:
    """Render all tables; `plots` has the link to each one's picture, or None."""
    parts, before = list[str](), ""
    for (name, group), plot in zip(tables(rows), plots, strict=True):
        parts += [f"#### {KINDS[name].title}"] if name != before else []
        parts += [heading(group), KINDS[name].lines(group)]
        parts += [f"![{KINDS[name].title}]({plot})"] if plot else []
        before = name
    return "\n\n".join(parts)


def write_page(page: Path, text: str) -> None:
    """Put tables between the markers of a page.

    Raises:
        UsageError: the page has no markers.
    """
    page.write_text(BLOCK.replace(page.read_text(encoding="utf-8"), text), encoding="utf-8")


def is_stale(page: Path, text: str) -> bool:
    """Say whether a page shows something else.

    Raises:
        UsageError: the page has no markers.
    """
    return BLOCK.read(page.read_text(encoding="utf-8")) != text


def _group(row: Row, kind: Kind) -> str:
    place = [row["machine"], device(row), row["versions"], row["commit"], row["date"]]
    return json.dumps([*place, kind.shared(row)], sort_keys=True)
