"""Measure parity and print the table: python -m foley_bench.parity [--write README.md]."""

import sys
import tempfile
from pathlib import Path

import click

from foley_bench.parity.bundles import Bundles
from foley_bench.parity.figures import measure
from foley_bench.parity.table import render, write_table
from foley_engines.errors import FoleyError


@click.command()
@click.option("--write", "page", type=click.Path(path_type=Path, exists=True), help="Put the table into this page.")
@click.option("--engine", default="cpu", show_default=True, help="The engine that runs our side.")
@click.option("--work", type=click.Path(path_type=Path), help="Keep checkpoints and bundles here, for the next run.")
def main(page: Path | None, engine: str, work: Path | None) -> None:
    """Export tiny random checkpoints of both layouts and compare everything with the references (about 4 minutes)."""
    try:
        with tempfile.TemporaryDirectory(prefix="foley-parity-") as scratch:
            figures = measure(Bundles(work or Path(scratch)), engine, lambda doing: print(doing, file=sys.stderr))
        print(render(figures))
        if page is not None:
            write_table(page, figures)
    except FoleyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if failed := [figure for figure in figures if not figure.passed]:
        print(f"error: {len(failed)} figures are below their floor, first: {failed[0].what}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(prog_name="python -m foley_bench.parity")
