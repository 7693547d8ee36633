"""`foley bench compare`."""

import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click

from foley.cli.engine import engine_options
from foley.errors import UsageError
from foley_bench.build import Workload
from foley_bench.compare.contestants import KINDS, Unit
from foley_bench.compare.measure import Match, Wish, measure_compare
from foley_bench.compare.table import compare_table
from foley_bench.options import results_options, workload_options, write_results
from foley_engines import Setup
from foley_engines.registry import check_engine

ROUNDS = 10
STEPS = 3
"""Full-size steps take tens of seconds on a CPU, and outputs drift apart over many."""


@click.command(short_help="Foley beside diffusers, torch.compile, optimum and OpenVINO.")
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="CHECKPOINT's bundle.")
@click.option("--with", "peers", default="all", show_default=True, help=f"Of {', '.join(KINDS)}; -bf16, -fp16 behind.")
@click.option(
    "--unit",
    "units",
    type=click.Choice(["step", "decode", "clip"]),
    multiple=True,
    default=("step",),
    show_default=True,
)
@click.option("--estimate", type=click.IntRange(min=1), metavar="STEPS", help="Estimate a clip from step and decode.")
@click.option("--python", "pythons", multiple=True, metavar="PEER=PATH", help="Interpreter that has a peer.")
@click.option("--cache", type=click.Path(path_type=Path), help="Where converted checkpoints are kept.")
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True)
@click.option("--budget", type=float, metavar="S", help="Seconds a peer after which no round is begun; 3 at least.")
@engine_options
@workload_options
@results_options
def compare(
    setup: Setup,
    workload: Workload,
    checkpoint: Path,
    bundle: Path,
    peers: str,
    units: tuple[Unit, ...],
    estimate: int | None,
    pythons: tuple[str, ...],
    cache: Path | None,
    rounds: int,
    budget: float | None,
    results: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Run CHECKPOINT in Foley and in each peer, in turns, and compare outputs and times; 3 steps by default.

    Exit code 1: a peer that was asked for by name has no figures.
    """
    check_engine(setup)
    match = Match(checkpoint, bundle, setup, replace(workload, steps=workload.steps or STEPS))
    wish = Wish(peers, _units(units, estimate), _named(pythons), rounds, budget, estimate)
    with _folder(cache) as place:
        rows = measure_compare(match, wish, place, _tell)
    for row in rows:
        if row["figures"]["status"] in ("timed", "disagrees"):
            write_results(results, row)
    if plot is not None:
        from foley_bench.compare.plot import plot_ratios

        plot_ratios(rows, plot)
    click.echo("\n".join(map(json.dumps, rows)) if as_json else compare_table(rows))
    if peers != "all" and any(row["figures"]["status"] != "timed" for row in rows):
        sys.exit(1)


def _units(units: Sequence[Unit], estimate: int | None) -> tuple[Unit, ...]:
    """Add what an estimate is made of."""
    needed: tuple[Unit, ...] = () if estimate is None else ("step", "decode")
    return tuple(dict.fromkeys((*units, *needed)))


def _named(pythons: Sequence[str]) -> dict[str, str]:
    """Read PEER=PATH.

    Raises:
        UsageError: it is not of that form, or the peer is unknown.
    """
    found = dict(text.partition("=")[::2] for text in pythons)
    for kind, path in found.items():
        if kind not in KINDS or not path:
            raise UsageError(f"--python is {kind}={path}, expected PEER=PATH with a PEER of {', '.join(KINDS)}")
    return found


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    """Give the folder of converted checkpoints: the user's, or one that goes."""
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="foley-compare-") as folder:
        yield Path(folder)


def _tell(words: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"{words} …", err=True)
