"""`foley bench baseline` and `foley bench check`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley_bench.build import Workload
from foley_bench.options import workload_options
from foley_bench.regression.baseline import CLIPS, LEAST_PROCESSES, PROCESSES, measure_baseline, read_baseline
from foley_bench.regression.check import check_row
from foley_bench.regression.table import baseline_line, check_line
from foley_bench.rows import append
from foley_engines import Setup
from foley_engines.registry import check_engine

EXIT_CODES: Final = {"no slower": 0, "faster": 0, "slower": 1, "cannot tell": 3}


@click.command(short_help="Keep how long a clip takes, for `check`.")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@engine_options
@workload_options
@click.option("--processes", type=click.IntRange(min=LEAST_PROCESSES), default=PROCESSES, show_default=True)
@click.option("--clips", type=click.IntRange(min=3), default=CLIPS, show_default=True, help="Clips of each process.")
@click.option("--json", "as_json", is_flag=True, help="Print the row as a JSON line.")
def baseline(
    setup: Setup, workload: Workload, file: Path, bundle: Path | None, processes: int, clips: int, *, as_json: bool
) -> None:
    """Measure BUNDLE, or the demo, and add it to FILE, a baseline for `foley bench check`."""
    check_engine(setup)
    measured = measure_baseline(bundle or demo_bundle(), setup, workload, processes, clips)
    append(file, measured)
    click.echo(json.dumps(measured) if as_json else baseline_line(measured))


@click.command(short_help="Say whether a build is slower than its baseline.")
@click.argument("file", metavar="BASELINE", type=click.Path(path_type=Path, dir_okay=False))
@click.argument("bundles", type=click.Path(path_type=Path), nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="Print the rows as JSON lines.")
def check(file: Path, bundles: tuple[Path, ...], *, as_json: bool) -> None:
    """Measure what BASELINE holds again, and compare, beyond the noise.

    BUNDLES are the folders that its rows name; the demo is found by itself. Exit code 1: one is slower, by 5 % at least
    and beyond the noise, in two samples. 3: none is, but the noise would hide 10 %. 0: none is slower.
    """
    rows = read_baseline(file)
    folders = [_folder(file, kept["configuration"]["bundle"], bundles) for kept in rows]
    findings = [_checked(kept, folder, as_json=as_json) for kept, folder in zip(rows, folders, strict=True)]
    sys.exit(_exit_code(findings))


def _checked(kept: dict[str, Any], folder: Path, *, as_json: bool) -> str:
    measured = check_row(kept, folder)
    click.echo(json.dumps(measured) if as_json else check_line(measured))
    return str(measured["figures"]["finding"])


def _exit_code(findings: Sequence[str]) -> int:
    """Give a regression's where there is one."""
    codes = {EXIT_CODES[finding] for finding in findings}
    return 1 if 1 in codes else max(codes)


def _folder(file: Path, name: str, bundles: Sequence[Path]) -> Path:
    """Find the bundle that a row names.

    Raises:
        UsageError: it was not given.
    """
    for folder in bundles:
        if folder.resolve().name == name:
            return folder
    if demo_bundle().resolve().name == name:
        return demo_bundle()
    raise UsageError(f"{file} has a row of the bundle {name!r}: name its folder too: foley bench check {file} FOLDER")
