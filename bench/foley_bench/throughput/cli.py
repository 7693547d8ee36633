"""`foley bench throughput`."""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from foley.bundle import load_bundle
from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.pipeline import Pipeline
from foley.samplers import sampler_table
from foley_bench.build import Workload, configuration, fidelity, method
from foley_bench.options import WORKLOAD, check_drawing, results_options, write_results
from foley_bench.rows import row
from foley_bench.throughput.figures import series_figures
from foley_bench.throughput.series import Limits, ladder_up_to, measure_series
from foley_bench.throughput.table import throughput_table
from foley_bench.throughput.visit import Visit, visit_batch
from foley_engines import Setup
from foley_engines.registry import check_engine

MOST: Final = 16
ROUNDS: Final = 3


def clip_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add a workload's options without the last, which is the batch."""
    for option in reversed(WORKLOAD[:-1]):
        command = option(command)
    return command


def read_batches(context: click.Context, option: click.Parameter, text: str | None) -> tuple[int, ...] | None:
    """Read whole numbers with commas between them, sorted.

    Raises:
        BadParameter: they are none.
    """
    if text is None:
        return None
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in parts):
        raise click.BadParameter(f"{text!r} is no list of whole numbers from 1, such as 1,2,4", context, option)
    return tuple(sorted({int(part) for part in parts}))


@click.command(short_help="Clips a minute over the batch, and the knee.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@engine_options
@clip_options
@click.option("--most", type=click.IntRange(min=1), default=MOST, show_default=True, help="Largest batch of 1, 2, 4, …")
@click.option(
    "--batches", metavar="N,N,…", callback=read_batches, help="These batches instead, whether or not they gain."
)
@click.option("--rounds", type=click.IntRange(min=1), default=ROUNDS, show_default=True, help="Times over the batches.")
@click.option("--budget", type=float, metavar="S", help="Seconds after which no batch is begun; one is measured.")
@results_options
def throughput(
    setup: Setup,
    bundle: Path | None,
    seconds: float | None,
    steps: int | None,
    sampler: str | None,
    guidance: float | None,
    most: int,
    batches: tuple[int, ...] | None,
    rounds: int,
    budget: float | None,
    results: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Measure clips a minute of BUNDLE, or of the demo, in batches of 1, 2, 4, … clips.

    It goes up to --most, to the memory that is free, or to where a batch makes less than 3 % more than the one before.
    Each batch runs in a process of its own, and the batches take turns.
    """
    check_engine(setup)
    check_drawing(plot)
    folder = bundle or demo_bundle()
    workload = Workload(seconds, steps, sampler, guidance)
    limits = Limits(saturates=batches is None, budget_s=budget)
    measured = measure_throughput(folder, setup, workload, batches or ladder_up_to(most), limits, rounds)
    write_results(results, measured)
    if plot is not None:
        from foley_bench.throughput.plot import plot_throughput

        plot_throughput(measured, plot)
    click.echo(json.dumps(measured) if as_json else throughput_table(measured))


def measure_throughput(
    folder: Path, setup: Setup, workload: Workload, batches: Sequence[int], limits: Limits, rounds: int
) -> dict[str, Any]:
    """Measure a bundle's row of throughput: fidelity first, then a process a batch.

    Raises:
        FoleyError: the bundle, the engine or the workload cannot be run.
    """
    bundle = load_bundle(folder)
    with Pipeline(bundle, engine=setup) as pipeline:
        request = workload.request(pipeline, 0)
        sampler_table(request.sampler, bundle.manifest.schedule, request.steps)
    snr_db = fidelity(bundle, setup)

    def visit(batch: int) -> Visit:
        _tell(batch)
        return visit_batch(folder, setup, replace(workload, batch=batch))

    series = measure_series(batches, visit, limits, rounds)
    what = configuration(bundle, setup, request) | {"batch": list(batches)}
    how = method(bundle, setup) | {"rounds": rounds, "saturates": limits.saturates, "budget_s": limits.budget_s}
    return row("throughput", what, series_figures(series), fidelity=snr_db, method=how)


def _tell(batch: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rbatch {batch}   ", nl=False, err=True)
