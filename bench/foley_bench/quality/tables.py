"""The rows of a results file as Markdown, and their place between two markers of a page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from foley.errors import UsageError
from foley_bench.pages import Block
from foley_bench.quality import score
from foley_bench.quality.asks import Setting
from foley_bench.quality.curve import Row, latest, read_rows, setting_of

BLOCK: Final = Block("quality")
REAL: Final = "real sounds"
COLUMNS: Final = {
    "all": ("overall",),
    "one event": ("events", "one"),
    "two events": ("events", "two"),
    "then": ("relations", "then"),
    "over": ("relations", "over"),
}
"""Heading → where a score's figures have the tally."""
MEASURES: Final[dict[str, Callable[[Mapping[str, Any]], str]]] = {
    "all, %": lambda figures: _percent(figures["overall"]),
    "one event, %": lambda figures: _percent(figures["one"]),
    "two events, %": lambda figures: _percent(figures["two"]),
    "Fréchet distance": lambda figures: f"{figures['frechet']:.1f}",
}
"""A curve's measures, as a cell shows them."""


def page_text(results: Path) -> str:
    """Render all that a results file holds: the last score, and the curve of the last cell's bundle.

    Raises:
        UsageError: it holds neither.
    """
    scores, cells = list(read_rows(results, score.NAME)), latest(results)
    parts = [score_table(scores[-1])] if scores else []
    parts += curve_tables(cells)
    if not parts:
        raise UsageError(f"{results} has no rows of quality; measure with: python -m foley_bench.quality score --help")
    return "\n\n".join(parts)


def write_page(page: Path, results: Path) -> None:
    """Put what a results file holds between the markers of a page.

    Raises:
        UsageError: the page has no markers, or the file no rows.
    """
    page.write_text(BLOCK.replace(page.read_text(encoding="utf-8"), page_text(results)), encoding="utf-8")


def check_page(page: Path) -> None:
    """Say now, not after hours of work, that tables cannot be put into a page.

    Raises:
        UsageError: the page has no markers.
    """
    BLOCK.read(page.read_text(encoding="utf-8"))


def is_stale(page: Path, results: Path) -> bool:
    """Say whether a page shows something else than a results file holds.

    Raises:
        UsageError: the page has no markers, or the file no rows.
    """
    return BLOCK.read(page.read_text(encoding="utf-8")) != page_text(results)


def score_table(row: Row) -> str:
    """Render a score's sources by number of events and relation, with the difference to the first in points."""
    figures, first = row["figures"], row["configuration"]["sources"][0]
    lines = [
        [source, *(_against(_at(found, place), None) for place in COLUMNS.values()), *_compared(source, figures, first)]
        for source, found in figures.items()
    ]
    head = ["clips that follow their caption, %", *COLUMNS, "± (95 %)", f"points to {first}", f"verdicts as {first}"]
    return f"{_score_title(row)}\n\n{markdown(head, lines)}"


def score_details(row: Row) -> str:
    """Render a score's sources by kind and by attribute; every source after the first with its difference in points."""
    figures, sources = row["figures"], row["configuration"]["sources"]
    return "\n\n".join(
        markdown([title, "of", REAL, *sources], list(_details(figures, group, sources)))
        for group, title in (("kinds", "events of a kind, %"), ("attributes", "checks of an attribute, %"))
    )


def curve_tables(rows: Sequence[Row]) -> list[str]:
    """Render a table over steps for each guidance that has several, and one over guidance for each count of steps.

    Where the whole grid was measured, those over steps hold all of it.
    """
    over_steps = _sweeps(rows, lambda setting: setting.guidance, lambda setting: setting.steps)
    over_guidance = _sweeps(rows, lambda setting: setting.steps, lambda setting: setting.guidance)
    tables = [_sweep_table(cells, "steps", f"guidance {at:g}") for at, cells in over_steps.items()]
    if len(over_steps) < 2:
        tables += [_sweep_table(cells, "guidance", f"{at:g} steps") for at, cells in over_guidance.items()]
    return [_curve_title(rows[0]), *tables] if tables else []


def markdown(head: Sequence[str], lines: Sequence[Sequence[str]], words: int = 1) -> str:
    """Render a table whose first `words` columns are words and whose others are numbers."""
    rules = ["---"] * words + ["---:"] * (len(head) - words)
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rules, *lines))


def _score_title(row: Row) -> str:
    asked = row["configuration"]
    setting = setting_of(row)
    return f"{_count(asked)}; `{setting.sampler}`, {setting.steps} steps, guidance {setting.guidance:g}."


def _curve_title(row: Row) -> str:
    asked, real = row["configuration"], row["figures"]["real"]
    return (
        f"{_count(asked)} a cell; Fréchet distance to {asked['real']} real sounds. Real sounds of the same captions: "
        f"{_percent(real['overall'])} %, {_percent(real['one'])} % and {_percent(real['two'])} %, "
        f"{real['frechet']:.1f}."
    )


def _count(asked: Mapping[str, Any]) -> str:
    return f"{asked['captions']} held-out captions × {asked['seeds']} seed{'s' * (asked['seeds'] > 1)}"


def _compared(source: str, figures: Mapping[str, Any], first: str) -> tuple[str, str, str]:
    """Give the sampling error, the difference to the first in points, and the share of clips judged alike.

    The error is 1.96·√(p(1−p)/n), clips of one caption taken as independent; the difference has a smaller one, for the
    clips are the same. Real sounds share no noise with any source: their clips are not compared one by one.
    """
    overall = figures[source]["overall"]
    share, total = _points(overall) / 100, int(overall["total"])
    error = f"{196 * (share * (1 - share) / max(total, 1)) ** 0.5:.1f}"
    if source in (first, REAL):
        return error, "", ""
    points = f"{_points(overall) - _points(figures[first]['overall']):+.1f}"
    alike = f"{100 * figures[source]['agrees'] / total:.1f} %"
    return error, points, alike


def _details(figures: Mapping[str, Any], group: str, sources: Sequence[str]) -> Iterator[list[str]]:
    first = figures[sources[0]][group]
    for name, tally in first.items():
        others = (_against(figures[source][group][name], tally) for source in sources[1:])
        yield [name, str(tally["total"]), _percent(figures[REAL][group][name]), _percent(tally), *others]


def _sweeps(
    rows: Sequence[Row], fixed: Callable[[Setting], float], varied: Callable[[Setting], float]
) -> dict[float, dict[Setting, Row]]:
    """Group cells by what is fixed, where something varies, in the order of what varies."""
    cells = sorted(rows, key=lambda row: (fixed(setting_of(row)), varied(setting_of(row))))
    groups = {
        at: {setting_of(row): row for row in some}
        for at, some in groupby(cells, key=lambda row: fixed(setting_of(row)))
    }
    return {at: found for at, found in groups.items() if len({varied(setting) for setting in found}) > 1}


def _sweep_table(cells: Mapping[Setting, Row], over: str, at: str) -> str:
    """Render a sweep, four lines a sampler, in the columns of what varies."""
    samplers = dict.fromkeys(row["configuration"]["sampler"] for row in cells.values())
    values = sorted({getattr(setting, over) for setting in cells})
    found = {(setting.sampler, getattr(setting, over)): row["figures"] for setting, row in cells.items()}
    lines = [
        [f"`{sampler}`", measure, *(show(found[key]) if (key := (sampler, value)) in found else "" for value in values)]
        for sampler in samplers
        for measure, show in MEASURES.items()
    ]
    return markdown([f"{over}, at {at}", "", *(f"{value:g}" for value in values)], lines, words=2)


def _at(figures: Mapping[str, Any], place: Sequence[str]) -> Mapping[str, Any] | None:
    """Find a tally; a few captions may lack a relation."""
    found: Any = figures
    for name in place:
        found = found.get(name) if found is not None else None
    return found if found is None else dict(found)


def _against(tally: Mapping[str, Any] | None, first: Mapping[str, Any] | None) -> str:
    """Give a share in per cent, and how far it is from another in points."""
    if tally is None:
        return ""
    return _percent(tally) + (f" ({_points(tally) - _points(first):+.1f})" if first is not None else "")


def _percent(tally: Mapping[str, Any]) -> str:
    return f"{_points(tally):.1f}"


def _points(tally: Mapping[str, Any]) -> float:
    return 100 * float(tally["passed"]) / max(int(tally["total"]), 1)
