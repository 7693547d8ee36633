"""`foley bench roofline`."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click

from foley.bundle import Bundle, load_bundle
from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley.manifest import Graph, Precision
from foley.request import Request, make_request
from foley_bench.build import PROMPTS, configuration, cores_of, fidelity, method
from foley_bench.options import results_options, write_results
from foley_bench.roofline.limits import Counts, Rounds, nearness
from foley_bench.roofline.peaks import Peaks, measure_peaks
from foley_bench.roofline.stages import count_stages, stage_sizes, time_stages
from foley_bench.roofline.table import counts_table, roofline_table
from foley_bench.rows import row
from foley_bench.timing import REPEATS, ShareClock, Spread
from foley_engines import Setup
from foley_engines.registry import check_engine

NOT_OF_A_STEP: Final = ("steps", "sampler")
"""What a request has and a single step does not depend on."""


@click.command(short_help="How near each stage comes to what the machine could do.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@engine_options
@click.option("--seconds", type=float, help="Length of a clip; the bundle's own by default.")
@click.option("--guidance", type=float, help="Guidance scale; 1 turns it off.")
@click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Clips denoised together.")
@click.option("--repeats", type=click.IntRange(min=1), default=REPEATS, show_default=True)
@click.option("--budget", type=float, metavar="S", help="Seconds a stage after which no repeat is begun; 3 are made.")
@click.option("--count-only", is_flag=True, help="Count operations and bytes; run nothing.")
@results_options
def roofline(
    setup: Setup,
    bundle: Path | None,
    seconds: float | None,
    guidance: float | None,
    batch: int,
    repeats: int,
    budget: float | None,
    results: Path | None,
    plot: Path | None,
    *,
    count_only: bool,
    as_json: bool,
) -> None:
    """Set each stage's time beside the least that this machine's peaks allow, measured in the same run.

    Stages of BUNDLE, or of the demo: text encoder, one denoising step, latent decoder, vocoder.
    """
    if count_only and (plot is not None or results is not None):
        raise UsageError("--count-only measures nothing to plot or to keep; leave out --plot and --results")
    opened = load_bundle(bundle or demo_bundle(), verify_files=not count_only)
    request = make_request(
        opened.manifest.defaults, PROMPTS[0], seconds=seconds, guidance=guidance, count=batch, max_batch=batch
    )
    if count_only:
        counted = counted_stages(opened, request)
        return click.echo(json.dumps(counted) if as_json else counts_table(counted))
    check_engine(setup)
    measured = measure_roofline(opened, setup, request, repeats, budget)
    write_results(results, measured)
    if plot is not None:
        from foley_bench.roofline.plot import plot_roofline

        plot_roofline(measured, plot)
    return click.echo(json.dumps(measured) if as_json else roofline_table(measured))


def counted_stages(bundle: Bundle, request: Request) -> dict[str, dict[str, Any]]:
    """Count the stages of a bundle, by graph.

    Raises:
        FoleyError: the bundle has no such sizes, or cannot be counted.
    """
    sizes = stage_sizes(bundle, request)
    return {name: counted_figures(sizes[name], each) for name, each in count_stages(bundle, sizes).items()}


def counted_figures(sizes: dict[str, int], counts: Counts) -> dict[str, Any]:
    """Give what was counted for a row."""
    return {"sizes": sizes, **asdict(counts), "flop_per_byte": round(counts.intensity, 2)}


def measure_roofline(
    bundle: Bundle, setup: Setup, request: Request, repeats: int, budget: float | None
) -> dict[str, Any]:
    """Measure a bundle's row of the roofline: fidelity, peaks, stages, peaks again.

    Raises:
        FoleyError: the bundle or the engine cannot be run.
    """
    sizes = stage_sizes(bundle, request)
    counts = count_stages(bundle, sizes)
    snr_db = fidelity(bundle, setup)
    before = _peaks(bundle, setup)
    clock = ShareClock(cores_of(setup))
    times = time_stages(bundle, setup, sizes, repeats, budget)
    share = clock.read()
    peaks = Rounds(before, _peaks(bundle, setup))
    stages = {
        name: {**counted_figures(sizes[name], each), **_timed(bundle.graph(name), each, times[name], peaks)}
        for name, each in counts.items()
    }
    figures = {"stages": stages, "peaks": peaks.figures(), "share": share.figures()}
    what = {name: value for name, value in configuration(bundle, setup, request).items() if name not in NOT_OF_A_STEP}
    return row("roofline", what, figures, fidelity=snr_db, method=method(bundle, setup))


def _timed(graph: Graph, counts: Counts, times: Spread, peaks: Rounds) -> dict[str, Any]:
    """Give a stage's time for a row, beside the least that the peaks of its precision allow."""
    best = peaks.best(graph.precision)
    return {"precision": graph.precision, "ms": times.rounded(4), **nearness(counts, best, times.median / 1e3)}


def _peaks(bundle: Bundle, setup: Setup) -> dict[Precision, Peaks]:
    """Measure the peaks of every precision that a graph of the bundle has."""
    kinds = dict.fromkeys(graph.precision for graph in bundle.manifest.graphs.values())
    return {precision: measure_peaks(setup, precision) for precision in kinds}
