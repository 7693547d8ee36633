"""Options that benchmarks share."""

import functools
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import click

from foley.errors import UsageError
from foley.files import check_writable
from foley.samplers import SAMPLERS
from foley_bench.build import Workload
from foley_bench.rows import append

WORKLOAD: Final = (
    click.option("--seconds", type=float, help="Length of a clip; the bundle's own by default."),
    click.option("--steps", type=int, help="Steps of the sampler; the bundle's own by default."),
    click.option("--sampler", help=f"{', '.join(SAMPLERS)}."),
    click.option("--guidance", type=float, help="Guidance scale; 1 turns it off."),
    click.option("--batch", type=click.IntRange(min=1), default=1, show_default=True, help="Clips denoised together."),
)
RESULTS: Final = (
    click.option("--results", type=click.Path(path_type=Path, dir_okay=False), help="File of JSON lines to add to."),
    click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="PNG to draw."),
    click.option("--json", "as_json", is_flag=True, help="Print the row as a JSON line."),
)


def workload_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `WORKLOAD` to a command, which takes a workload after what stands before it."""

    @functools.wraps(command)
    def gathered(*rest: Any, **given: Any) -> None:  # noqa: ANN401 — click hands over what the options declare
        values = {name: given.pop(name) for name in Workload.__annotations__}
        command(*rest, Workload(**values), **given)

    for option in reversed(WORKLOAD):
        gathered = option(gathered)
    return gathered


def results_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of `RESULTS` to a command."""
    for option in reversed(RESULTS):
        command = option(command)
    return command


def write_results(file: Path | None, measured: dict[str, Any]) -> None:
    """Add a row to a file, where one was named."""
    if file is not None:
        append(file, measured)


def check_drawing(plot: Path | None) -> None:
    """Say now, not after minutes of measuring, that a picture cannot be drawn.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    if plot is None:
        return
    if find_spec("matplotlib") is None:
        raise UsageError("--plot needs matplotlib, which is not installed; install it with: pip install matplotlib")
    check_writable(plot)
