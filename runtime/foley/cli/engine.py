"""The engine's options, gathered into one setup for every command that runs graphs."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, TypedDict, cast

import click

from foley_engines import CpuSetup, CudaSetup, Setup, TensorRtSetup, choose
from foley_engines.errors import UsageError

Rest = ParamSpec("Rest")

OPTIONS: Final = (
    click.option("--engine", default="cpu", show_default=True, help="cpu, cuda or tensorrt."),
    click.option("--threads", type=click.IntRange(min=1), help="Cores for one operator, cpu only; all by default."),
    click.option("--device", type=click.IntRange(min=0), help="Number of the CUDA device; 0 by default."),
    click.option("--plans", type=click.Path(path_type=Path), help="Folder of plans; in the bundle by default."),
    click.option("--no-build", is_flag=True, help="Refuse where a plan is missing or stale; tensorrt only."),
    click.option(
        "--host-code", is_flag=True, help="Let version-compatible plans run code of theirs; tensorrt, own plans."
    ),
    click.option("--no-cuda-graph", is_flag=True, help="Run without CUDA graphs; cuda and tensorrt."),
)


class Given(TypedDict):
    """The options as click gives them."""

    engine: str
    threads: int | None
    device: int | None
    plans: Path | None
    no_build: bool
    host_code: bool
    no_cuda_graph: bool


def engine_options(command: Callable[Concatenate[Setup, Rest], None]) -> Callable[..., None]:
    """Add the options of `OPTIONS` to a command, which takes the setup as its first argument."""

    @functools.wraps(command)
    def gathered(*rest: Rest.args, **given: Rest.kwargs) -> None:
        values = cast("dict[str, object]", given)
        options = cast("Given", {name: values.pop(name) for name in Given.__annotations__})
        command(make_setup(options), *rest, **given)

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered


def make_setup(options: Given) -> Setup:
    """Make the setup of an engine from its options.

    Raises:
        EngineUnavailableError: there is no such engine.
        UsageError: an option is of another engine.
    """
    kind = choose(options["engine"]).setup
    if kind is CpuSetup:
        _refuse(options, "device", "plans", "no_build", "host_code", "no_cuda_graph")
        return CpuSetup(options["threads"])
    device, plans, captured = options["device"] or 0, options["plans"], not options["no_cuda_graph"]
    if kind is CudaSetup:
        _refuse(options, "threads", "no_build", "host_code", "plans")
        return CudaSetup(device, captured=captured)
    _refuse(options, "threads")
    return TensorRtSetup(
        device, captured=captured, plans=plans, build=not options["no_build"], host_code=options["host_code"],
        tell=Teller(),
    )  # fmt: skip


def _refuse(options: Given, *names: str) -> None:
    for name in names:
        given = options[name]  # type: ignore[literal-required]
        if given is not None and given is not False:
            option = name.replace("_", "-")
            raise UsageError(f"--{option} is not for the engine {options['engine']!r}; leave it out")


class Teller:
    """Tells what an engine does before it can run: a line for each thing on a terminal or not, its progress on one."""

    def __init__(self) -> None:
        self._last = ("", "")

    def __call__(self, graph: str, what: str, fraction: float) -> None:
        """Show what is being done to a graph."""
        live = sys.stderr.isatty()
        if (graph, what) != self._last:
            click.echo(f"\n{graph}: {what}" if live else f"{graph}: {what}", err=True, nl=not live)
            self._last = (graph, what)
        elif live:
            click.echo(f"\r{graph}: {what} {100 * fraction:3.0f} %", err=True, nl=False)
