"""Measure a bundle of the demo model: python -m foley_bench.quality score|curve|tables|gallery."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import click
import torch

import foley
from foley.errors import FoleyError, UsageError
from foley.samplers import sampler_table
from foley.samplers.table import find_sampler
from foley_bench.quality import curve as curves
from foley_bench.quality import score as scores
from foley_bench.quality.asks import Setting, draw_score_asks
from foley_bench.quality.gallery import make_gallery
from foley_bench.quality.identity import bundle_digest, yardstick
from foley_bench.quality.plot import plot_curve
from foley_bench.quality.sources import BundleSource, Source, load_torch
from foley_bench.quality.tables import check_page, curve_tables, page_text, score_details, score_table, write_page
from foley_bench.rows import append, row

FOLDER: Final = click.Path(path_type=Path, exists=True, file_okay=False)
FILE: Final = click.Path(path_type=Path, dir_okay=False)
PAGE: Final = click.Path(path_type=Path, exists=True, dir_okay=False)
COUNT: Final = click.IntRange(min=1)
CAPTIONS: Final = click.IntRange(2, 4000)
"""Different ones that were never trained on run out, and are found ever more slowly before."""
CLIPS: Final = click.IntRange(min=2)
"""A covariance needs two."""

Decorated = Callable[..., Any]


@click.group()
@click.option("--threads", type=COUNT, help="Cores for one operator, in ONNX Runtime and torch; all where left out.")
@click.pass_context
def main(context: click.Context, threads: int | None) -> None:
    """Measure how well a bundle of the demo model follows captions, and how near its sounds are to real ones."""
    context.obj = threads
    if threads is not None:
        torch.set_num_threads(threads)


def asked(captions: int, seeds: int) -> Callable[[Decorated], Decorated]:
    """Add the options that say how many clips are made."""

    def add(command: Decorated) -> Decorated:
        for option in (
            click.option("--batch", type=COUNT, default=16, show_default=True, help="Clips a call."),
            click.option("--seeds", type=COUNT, default=seeds, show_default=True, help="Clips of each caption."),
            click.option("--captions", type=CAPTIONS, default=captions, show_default=True, help="Held-out captions."),
        ):
            command = option(command)
        return command

    return add


@main.command()
@click.option("--checkpoint", type=FOLDER, help="Score the reference in torch fp32.")
@click.option(
    "--bundle", "--bundle-fp16", "bundles", type=FOLDER, multiple=True, help="Score a bundle; repeat for more."
)
@click.option("--sampler", help="The bundle's own where left out; so are steps and guidance.")
@click.option("--steps", type=COUNT)
@click.option("--guidance", type=float)
@asked(captions=200, seeds=2)
@click.option("--results", type=FILE, help="File of JSON lines that the row is added to.")
@click.option("--write", "page", type=PAGE, help="Put the tables of --results between the markers of this page.")
@click.pass_obj
def score(
    threads: int | None,
    checkpoint: Path | None,
    bundles: Sequence[Path],
    sampler: str | None,
    steps: int | None,
    guidance: float | None,
    captions: int,
    seeds: int,
    batch: int,
    results: Path | None,
    page: Path | None,
) -> None:
    """Score the reference and bundles on the same captions and noise, beside real sounds."""
    check_publishing(results, page)
    with loaded(bundles, threads) as pipelines:
        setting = chosen(pipelines, sampler, steps, guidance)
        for pipeline in pipelines:
            check_settings(pipeline, [setting])
        sources = sources_of(checkpoint, pipelines)
        figures = scores.score(sources, setting, captions, seeds, batch)
        configuration = {
            **asdict(setting),
            "captions": captions,
            "seeds": seeds,
            "yardstick": yardstick(),
            "sources": [source.name for source in sources],
            "bundles": {label(pipeline): bundle_digest(pipeline.bundle) for pipeline in pipelines},
        }
    measured = row(scores.NAME, configuration, figures)
    print(f"{score_table(measured)}\n\n{score_details(measured)}")
    if results is not None:
        append(results, measured)
    publish(results, page)


@main.command()
@click.argument("bundle", type=FOLDER)
@click.option("--results", type=FILE, required=True, help="File of JSON lines; cells that it has are not made again.")
@click.option("--sampler", "samplers", multiple=True, default=curves.SAMPLERS, show_default=True)
@click.option("--steps", type=COUNT, multiple=True, default=curves.STEPS, show_default=True)
@click.option("--guidance", "guidances", type=float, multiple=True, default=curves.GUIDANCES, show_default=True)
@click.option("--at-steps", type=COUNT, help="Steps of the sweep of guidance; the bundle's own where left out.")
@click.option("--at-guidance", type=float, help="Guidance of the sweep of steps; the bundle's own where left out.")
@click.option("--full", is_flag=True, help="Measure the whole grid, not only two sweeps.")
@asked(captions=100, seeds=1)
@click.option("--real", type=CLIPS, default=1000, show_default=True, help="Real sounds that the distance is to.")
@click.option(
    "--work", type=click.Path(path_type=Path), default="out/quality", show_default=True, help="Keep them here."
)
@click.option("--plot", type=FILE, help="Draw the curves as this PNG.")
@click.option("--write", "page", type=PAGE, help="Put the tables of --results between the markers of this page.")
@click.pass_obj
def curve(
    threads: int | None,
    bundle: Path,
    results: Path,
    samplers: Sequence[str],
    steps: Sequence[int],
    guidances: Sequence[float],
    at_steps: int | None,
    at_guidance: float | None,
    full: bool,
    captions: int,
    seeds: int,
    batch: int,
    real: int,
    work: Path,
    plot: Path | None,
    page: Path | None,
) -> None:
    """Measure score and Fréchet distance over steps and guidance; an interrupted run goes on where it stopped."""
    check_publishing(results, page)
    with loaded([bundle], threads) as (pipeline,):
        base = chosen([pipeline], samplers[0], at_steps, at_guidance)
        settings = curves.grid(samplers, steps, guidances, base, full=full)
        check_settings(pipeline, settings)
        yard = curves.yard_of(pipeline.bundle, captions, seeds, real)
        source = BundleSource(pipeline, label(pipeline))
        curves.run_curve(source, settings, yard, results, work, batch)
    cells = curves.rows_of(results, yard)
    print("\n\n".join(curve_tables(cells)))
    if plot is not None:
        print(plot_curve(cells, plot))
    publish(results, page)


@main.command()
@click.argument("results", type=PAGE)
@click.option("--plot", type=FILE, help="Draw the curves as this PNG.")
@click.option("--write", "page", type=PAGE, help="Put the tables between the markers of this page.")
def tables(results: Path, plot: Path | None, page: Path | None) -> None:
    """Print the last score and curve of a file of RESULTS, measuring nothing."""
    publish(results, page)
    print(page_text(results))
    cells = curves.latest(results)
    if plot is not None and cells:
        print(plot_curve(cells, plot))


@main.command()
@click.argument("bundle", type=FOLDER)
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--captions", type=CAPTIONS, default=12, show_default=True)
@click.pass_obj
def gallery(threads: int | None, bundle: Path, folder: Path, captions: int) -> None:
    """Write spectrograms and WAV files of held-out captions to FOLDER, made with the bundle's own defaults."""
    with loaded([bundle], threads) as (pipeline,):
        print(make_gallery(pipeline, draw_score_asks(captions, 1), folder))


@contextmanager
def loaded(bundles: Sequence[Path], threads: int | None) -> Iterator[list[foley.Pipeline]]:
    """Load bundles, and free them when the block ends."""
    with ExitStack() as stack:
        yield [stack.enter_context(foley.load(bundle, threads=threads)) for bundle in bundles]


def chosen(
    pipelines: Sequence[foley.Pipeline], sampler: str | None, steps: int | None, guidance: float | None
) -> Setting:
    """Fill a setting from the first bundle's defaults.

    Raises:
        UsageError: there is no bundle, and something is left out; or there is no such sampler.
    """
    if pipelines:
        defaults = pipelines[0].bundle.manifest.defaults
        sampler, steps = sampler or defaults.sampler, steps or defaults.steps
        guidance = defaults.guidance if guidance is None else guidance
    if sampler is None or steps is None or guidance is None:
        raise UsageError("a checkpoint has no defaults; give --sampler, --steps and --guidance, or a --bundle")
    find_sampler(sampler)
    return Setting(sampler, steps, guidance)


def sources_of(checkpoint: Path | None, pipelines: Sequence[foley.Pipeline]) -> list[Source]:
    """Give what is scored, the reference first.

    Raises:
        UsageError: there is nothing, or two bundles go by one name.
    """
    names = [label(pipeline) for pipeline in pipelines]
    if len(set(names)) < len(names):
        raise UsageError(f"the bundles are {', '.join(names)}, expected different precisions; score one at a time")
    sources: list[Source] = [load_torch(checkpoint)] if checkpoint is not None else []
    sources += [BundleSource(pipeline, name) for pipeline, name in zip(pipelines, names, strict=True)]
    if not sources:
        raise UsageError("there is nothing to score; give --checkpoint, --bundle or both")
    return sources


def label(pipeline: foley.Pipeline) -> str:
    """Name a bundle by the precision it computes in, and that of its weights where it is another."""
    manifest = pipeline.bundle.manifest
    weights = {graph.weights_precision or graph.precision for graph in manifest.graphs.values()} - {manifest.precision}
    return f"ONNX {manifest.precision}" + "".join(f", {precision} weights" for precision in sorted(weights))


def check_settings(pipeline: foley.Pipeline, settings: Sequence[Setting]) -> None:
    """Refuse before hours of work what the runtime would refuse in the middle of them.

    Raises:
        RequestError: a sampler cannot do the bundle's schedule in so many steps, or a knob is out of range.
    """
    for setting in settings:
        pipeline.request("a bell", **asdict(setting))
        sampler_table(setting.sampler, pipeline.bundle.manifest.schedule, setting.steps)


def check_publishing(results: Path | None, page: Path | None) -> None:
    """Refuse before hours of work a page that could not be written after them.

    Raises:
        UsageError: there is a page and no results, or the page has no markers.
    """
    if page is None:
        return
    if results is None:
        raise UsageError("--write shows what --results holds; give both")
    check_page(page)


def publish(results: Path | None, page: Path | None) -> None:
    """Put what the results hold between the markers of a page, where both are given."""
    if page is not None and results is not None:
        write_page(page, results)


def run() -> None:
    """Run a command; what goes wrong on purpose is one line on stderr."""
    try:
        main(prog_name="python -m foley_bench.quality")
    except FoleyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    run()
