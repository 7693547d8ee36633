"""`foley bench fidelity`."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from foley.cli.prompts import read_prompts
from foley_bench.build import fidelity as graph_fidelity
from foley_bench.fidelity.asks import DEMO_S, Ask, is_of_demo, make_asks, usual_prompts
from foley_bench.fidelity.builds import parse_builds
from foley_bench.fidelity.measures import depart
from foley_bench.fidelity.pareto import MEASURES, choose_measure, front
from foley_bench.fidelity.rows import Compared, fidelity_row
from foley_bench.fidelity.runs import Runner, loaded, make_clips
from foley_bench.fidelity.table import fidelity_table
from foley_bench.options import check_drawing, results_options, write_results


@click.command(short_help="Builds against each other: errors, score, speed.")
@click.option(
    "--build", "texts", multiple=True, metavar="'NAME: [BUNDLE] [key=value …]'",
    help="A build; give two or more, the first is what others are compared with. Keys: engine, threads, device, plans, "
    "sampler, steps, guidance, guidance-stop. Without BUNDLE the demo.",
)  # fmt: skip
@click.option("--prompts", type=click.Path(path_type=Path), help="Text, .csv or .jsonl; a dozen built-in ones without.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="Clips of each prompt.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the first; others count up.")
@click.option("--seconds", type=float, help="Length of all clips; that of the first build's bundle without.")
@click.option("--measure", type=click.Choice(list(MEASURES)), help="What the Pareto front is by; score, or else snr.")
@results_options
def fidelity(
    texts: Sequence[str],
    prompts: Path | None,
    count: int,
    seed: int,
    seconds: float | None,
    measure: str | None,
    results: Path | None,
    plot: Path | None,
    *,
    as_json: bool,
) -> None:
    """Compare builds on the same prompts and seeds: what each departs from the first, and how long a clip takes.

    For instance: --build 'base:' --build 'five: steps=5' --build 'half: out/fp16 engine=cuda'. The builds take turns,
    clip by clip.
    """
    builds = parse_builds(texts)
    check_drawing(plot)
    given = read_prompts((), prompts) if prompts is not None else None
    with loaded(builds, seconds) as runners:
        asks = choose_asks(runners, given, count, seed)
        chosen = choose_measure(measure, asks)
        compared = compare(runners, asks)
    best = _front(compared, chosen)
    rows = [fidelity_row(each, compared[0], asks, chosen, front=each.name in best) for each in compared]
    for measured in rows:
        write_results(results, measured)
    if plot is not None:
        _plot(compared, chosen, best, plot)
    click.echo("\n".join(map(json.dumps, rows)) if as_json else fidelity_table(rows))


def compare(runners: Sequence[Runner], asks: Sequence[Ask]) -> list[Compared]:
    """Make the clips of builds in turn, and measure them against the first build's.

    Raises:
        EngineError: a graph fails.
    """
    snr_db = {each.build.name: graph_fidelity(each.bundle, each.build.setup) for each in runners}
    made = make_clips(runners, asks, lambda number: _tell(number, len(asks)))
    first, rate_hz = made[runners[0].build.name], runners[0].bundle.manifest.audio.sample_rate_hz
    compared = []
    for runner, own in zip(runners, made.values(), strict=True):
        ratios = [a / b for a, b in zip(own.latency_ms, first.latency_ms, strict=True)]
        departure = depart(own, first, asks, rate_hz)
        compared.append(Compared(runner, snr_db[runner.build.name], own, departure, ratios))
    return compared


def choose_asks(runners: Sequence[Runner], prompts: Sequence[str] | None, count: int, seed: int) -> list[Ask]:
    """Ask for clips of the given prompts, or else of the usual ones; only the demo's at its own length are scored."""
    demo = all(is_of_demo(runner.bundle) for runner in runners)
    scored = demo and runners[0].knobs["seconds"] == DEMO_S
    return make_asks(prompts or usual_prompts(demo=demo), count, seed, scored=scored)


def _front(compared: Sequence[Compared], measure: str) -> set[str]:
    qualities = {each.name: MEASURES[measure].quality(each.departure) for each in compared}
    return front({each.name: (each.ratio.median, qualities[each.name] or 0.0) for each in compared})


def _plot(compared: Sequence[Compared], measure: str, best: set[str], file: Path) -> None:
    from foley_bench.fidelity.plot import plot_trade

    read = MEASURES[measure].read
    points = {each.name: (each.ratio.median, read(each.departure) or 0.0) for each in compared}
    plot_trade(MEASURES[measure], points, best, compared[0].name, file)


def _tell(number: int, total: int) -> None:
    if sys.stderr.isatty():
        click.echo(f"\rclip {number + 1} of {total}   ", nl=number + 1 == total, err=True)
