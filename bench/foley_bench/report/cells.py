"""Markdown, and numbers as its cells show them."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

NONE: Final = "–"
"""What was not measured."""


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Render a table whose first column is words and whose others are numbers."""
    rules = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *lines))


def number(value: float | str | None, digits: int = 1) -> str:
    """Show a number, with as many digits after the point; words as they are."""
    if value is None:
        return NONE
    return value if isinstance(value, str) else f"{value:.{digits}f}"


def between(spread: Mapping[str, Any], digits: int = 2) -> str:
    """Show the 5th to 95th percentile; of few repeats, the least to the most."""
    low, high = (spread["least"], spread["most"]) if spread["p5"] is None else (spread["p5"], spread["p95"])
    return f"{number(low, digits)}–{number(high, digits)}"


def least_db(fidelity: Mapping[str, float]) -> str:
    """Show the decibels of the graph that departs most from torch."""
    return f"{min(fidelity.values()):.0f}"
