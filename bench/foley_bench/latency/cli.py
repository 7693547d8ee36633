"""`foley bench latency`."""

import json
import sys
from pathlib import Path
from typing import Any

import click

from foley.bundle import load_bundle
from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.pipeline import Pipeline
from foley_bench.build import Workload, configuration, cores_of, fidelity, method
from foley_bench.latency.cold import STARTS, cold_starts
from foley_bench.latency.stages import ClipTimes, clock_clip, stage_spreads
from foley_bench.latency.table import latency_table
from foley_bench.options import check_drawing, results_options, workload_options, write_results
from foley_bench.rows import row
from foley_bench.timing import REPEATS, Share, ShareClock, repeated
from foley_engines import Setup
from foley_engines.registry import check_engine


@click.command(short_help="How long a clip takes, stage by stage.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@engine_options
@workload_options
@click.option("--repeats", type=click.IntRange(min=1), default=REPEATS, show_default=True)
@click.option(
    "--budget", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Seconds after which no repeat is begun."
)
@click.option("--cold/--no-cold", default=True, show_default=True, help="Start new processes as well.")
@results_options
def latency(
    setup: Setup,
    workload: Workload,
    bundle: Path | None,
    repeats: int,
    budget: float | None,
    results: Path | None,
    plot: Path | None,
    *,
    cold: bool,
    as_json: bool,
) -> None:
    """Measure the stages of a clip of BUNDLE, or of the demo, and of a process's first one."""
    check_engine(setup)
    check_drawing(plot)
    folder = bundle or demo_bundle()
    measured = measure_latency(folder, setup, workload, repeats, budget, STARTS if cold else 0)
    write_results(results, measured)
    click.echo(json.dumps(measured) if as_json else latency_table(measured))
    if plot is not None:
        from foley_bench.latency.plot import plot_stages

        plot_stages([measured], plot)


def measure_latency(
    folder: Path, setup: Setup, workload: Workload, repeats: int, budget: float | None, starts: int
) -> dict[str, Any]:
    """Measure a bundle's row of latency: fidelity first, then warm clips, then cold starts.

    Raises:
        FoleyError: the bundle, the engine or the workload cannot be run.
    """
    bundle = load_bundle(folder)
    snr_db = fidelity(bundle, setup)
    with Pipeline(bundle, engine=setup) as pipeline:
        request = workload.request(pipeline, 0)
        what = configuration(bundle, setup, request)
        clips, share = _clips(pipeline, workload, repeats, budget, cores_of(setup))
    figures: dict[str, Any] = {name: each.rounded() for name, each in stage_spreads(clips).items()}
    rate = figures["whole"]["median"] / 1e3 / (request.seconds * workload.batch)
    figures |= {"real_time_factor": round(rate, 4), "share": share.figures()}
    if starts:
        figures["cold_start"] = cold_starts(folder, setup, workload, starts)
    return row("latency", what, figures, fidelity=snr_db, method=method(bundle, setup))


def _clips(
    pipeline: Pipeline, workload: Workload, repeats: int, budget: float | None, cores: int
) -> tuple[list[ClipTimes], Share]:
    clock = [ShareClock(cores)]

    def clip(number: int) -> ClipTimes:
        if number <= 0:
            clock[0] = ShareClock(cores)  # the warm-up does not count
        _tell(number, repeats)
        return clock_clip(pipeline, workload.request(pipeline, number))

    clips = repeated(clip, repeats, budget)
    return clips, clock[0].read()


def _tell(number: int, repeats: int) -> None:
    if sys.stderr.isatty():
        words = "warming up" if number < 0 else f"clip {number + 1} of {repeats}"
        click.echo(f"\r{words}   ", nl=number + 1 == repeats, err=True)
