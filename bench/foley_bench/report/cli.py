"""`foley bench report`."""

import os
import sys
from pathlib import Path
from typing import Final

import click

from foley.errors import UsageError
from foley_bench.report.kept import Row, is_disturbed, read_rows
from foley_bench.report.kinds import KINDS
from foley_bench.report.page import is_stale, page_text, shown_rows, tables, write_page
from foley_bench.report.plots import draw, plot_names

RESULTS: Final = Path("bench/results")


@click.command(short_help="Render a page's tables and plots from kept rows.")
@click.argument("files", type=click.Path(path_type=Path, exists=True, dir_okay=False), nargs=-1)
@click.option("--write", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Put them into this page.")
@click.option("--check", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="Exit 1 if it has others.")
@click.option("--plots", type=click.Path(path_type=Path, file_okay=False), help="Folder of the page's pictures.")
@click.option("--disturbed", is_flag=True, help="Show rows that others disturbed as well, marked.")
def report(
    files: tuple[Path, ...], write: Path | None, check: Path | None, plots: Path | None, *, disturbed: bool
) -> None:
    """Render FILES of results, bench/results/*.jsonl by default: the newest row of each configuration and machine.

    A page has them between <!-- bench:begin --> and <!-- bench:end -->. With --check nothing is written: give it the
    --plots and --disturbed that the page was written with.
    """
    if write is not None and check is not None:
        raise UsageError("--write and --check are two things to do; give one of them")
    found = read_rows(files or _usual_files())
    rows = shown_rows(found, disturbed=disturbed)
    text = page_text(rows, _links(rows, plots, check or write))
    if check is not None:
        _compare(check, text)
        return
    if plots is not None:
        _draw(rows, plots)
    if write is None:
        click.echo(text)
    else:
        write_page(write, text)
    _tell_left_out(found, disturbed=disturbed)


def _usual_files() -> list[Path]:
    files = sorted(RESULTS.glob("*.jsonl"))
    if not files:
        raise UsageError(f"there are no {RESULTS}/*.jsonl here; name files of results")
    return files


def _compare(page: Path, text: str) -> None:
    if is_stale(page, text):
        click.echo(
            f"foley: {page} does not show these rows; put them in with: foley bench report --write {page}", err=True
        )
        sys.exit(1)


def _links(rows: list[Row], plots: Path | None, page: Path | None) -> list[str | None]:
    """Give the pictures' links as seen from a page."""
    names = plot_names([kind for kind, _ in tables(rows)])
    if plots is None:
        return [None] * len(names)
    seen = Path(os.path.relpath(plots, page.parent if page is not None else "."))
    return [None if name is None else (seen / name).as_posix() for name in names]


def _draw(rows: list[Row], plots: Path) -> None:
    found = list(tables(rows))
    for (kind, group), name in zip(found, plot_names([kind for kind, _ in found]), strict=True):
        if name is not None:
            draw(kind, group, plots / name)


def _tell_left_out(rows: list[Row], *, disturbed: bool) -> None:
    count = 0 if disturbed else sum(is_disturbed(row) for row in rows if row["name"] in KINDS)
    if count:
        click.echo(f"{count} rows that others disturbed were left out; --disturbed shows them", err=True)
