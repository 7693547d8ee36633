"""Measure a GPU: `python -m foley_bench.gpu_suite out/suite`, and read `out/suite/suite.json`."""

import sys
from pathlib import Path

import click

from foley.errors import UsageError
from foley_bench.gpu_suite.plan import Subject, parts
from foley_bench.gpu_suite.run import Outcome, run_parts
from foley_engines.registry import ENGINES

SUITE = "suite.json"


@click.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--engine", "engines", multiple=True, type=click.Choice([*ENGINES]), default=("cuda", "tensorrt"))
@click.option("--size", type=click.Choice(["tiny", "full"]), default="full", show_default=True)
@click.option("--checkpoint", type=click.Path(path_type=Path, exists=True), help="Instead of random weights.")
@click.option("--bundle", type=click.Path(path_type=Path, exists=True), help="Instead of exporting one.")
@click.option("--batch", "batches", multiple=True, type=click.IntRange(min=1), default=(1, 4, 16), show_default=True)
@click.option("--limit", type=float, default=540.0, show_default=True, metavar="S", help="Seconds for everything.")
def main(
    folder: Path,
    engines: tuple[str, ...],
    size: str,
    checkpoint: Path | None,
    bundle: Path | None,
    batches: tuple[int, ...],
    limit: float,
) -> None:
    """Write a checkpoint, export, verify and measure it in FOLDER, as far as the time goes."""
    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; choose a new folder")
    folder.mkdir(parents=True, exist_ok=True)
    subject = Subject(folder, "tiny" if size == "tiny" else "full", engines, checkpoint, bundle, batches)
    outcomes = run_parts(parts(subject), folder / SUITE, subject.rows, limit, _tell)
    click.echo(folder / SUITE)
    sys.exit(1 if any(outcome.state in ("failed", "ended") for outcome in outcomes) else 0)


def _tell(outcome: Outcome) -> None:
    last = f": {outcome.said[-1]}" if outcome.state == "failed" and outcome.said else ""
    why = f" ({outcome.why})" if outcome.why else ""
    click.echo(f"{outcome.part:<28} {outcome.state:<8} {outcome.seconds:6.1f} s{why}{last}", err=True)


if __name__ == "__main__":
    try:
        main(standalone_mode=False)
    except UsageError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        click.echo(f"error: {error.format_message()}", err=True)
        sys.exit(error.exit_code)
