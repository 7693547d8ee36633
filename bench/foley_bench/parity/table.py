"""The parity table of README.md, between two markers, and what is wrong with it when the figures have moved."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from foley.errors import UsageError
from foley_bench.pages import Block
from foley_bench.parity.figures import Figure

BLOCK: Final = Block("parity")
COLUMNS: Final = ("engine", "precision", "what", "against", "measured", "floor")
TOLERANCE_DB: Final = 10.0
"""How far a figure may move between machines, a factor of three in the error: only rounding is left to measure."""

Key = tuple[str, str, str, str]


def render(figures: Sequence[Figure]) -> str:
    """Render the table; the measured and least ratios are in dB of signal over error."""
    rows = [COLUMNS, ("---",) * 4 + ("---:",) * 2]
    rows += [(*figure.key, f"{figure.snr_db:.0f} dB", f"{figure.floor_db:.0f} dB") for figure in figures]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def read_table(text: str) -> dict[Key, float]:
    """Read the measured figures of the table between the markers of `text`, in dB.

    Raises:
        UsageError: there are no markers, or a row is not as `render` writes it.
    """
    return dict(_row(line) for line in BLOCK.read(text).splitlines()[2:])


def write_table(page: Path, figures: Sequence[Figure]) -> None:
    """Put the table between the markers of a page.

    Raises:
        UsageError: the page has no markers.
    """
    page.write_text(BLOCK.replace(page.read_text(encoding="utf-8"), render(figures)), encoding="utf-8")


def disagreements(text: str, figures: Sequence[Figure]) -> Iterator[str]:
    """Say where a page's table does not hold what was measured, one line each.

    Raises:
        UsageError: the page has no table.
    """
    written, measured = read_table(text), {figure.key: figure.snr_db for figure in figures}
    yield from (f"the page has no row {' · '.join(key)}" for key in measured if key not in written)
    yield from (f"nothing measures the page's row {' · '.join(key)}" for key in written if key not in measured)
    for key in measured.keys() & written.keys():
        if abs(measured[key] - written[key]) > TOLERANCE_DB:
            yield f"{' · '.join(key)}: measured {measured[key]:.1f} dB, the page says {written[key]:.0f} dB"


def _row(line: str) -> tuple[Key, float]:
    cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
    if len(cells) != len(COLUMNS) or not cells[4].endswith(" dB"):
        raise UsageError(f"not a row of the parity table: {line}; write it with python -m foley_bench.parity --write")
    return (cells[0], cells[1], cells[2], cells[3]), float(cells[4].removesuffix(" dB"))
