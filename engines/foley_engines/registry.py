"""Engines by name; a library is imported when its engine is opened, not before."""

import difflib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

from foley_engines.base import Engine, Host, Session, Shape, TensorSpec
from foley_engines.errors import EngineUnavailableError, UsageError
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.setups import CpuSetup, CudaSetup, Setup, TensorRtSetup


@dataclass(frozen=True)
class EngineChoice:
    """How an engine is found and what it needs."""

    name: str
    setup: type[Setup]
    """How the engine is to run; without arguments, as it usually does."""
    module: str
    """The module whose `open_host` opens the engine, and whose `find_library` says what it would run on."""
    distribution: str
    install: str
    """The command that installs the engine's library."""


ENGINES = {
    choice.name: choice
    for choice in (
        EngineChoice("cpu", CpuSetup, "foley_engines.onnxruntime_cpu", "onnxruntime", "pip install onnxruntime"),
        EngineChoice(
            "cuda",
            CudaSetup,
            "foley_engines.onnxruntime_cuda",
            "onnxruntime-gpu",
            "pip install 'onnxruntime-gpu[cuda,cudnn]' 'cuda-python>=12.6'",
        ),
        EngineChoice(
            "tensorrt",
            TensorRtSetup,
            "foley_engines.tensorrt.host",
            "tensorrt",
            "pip install 'tensorrt>=10.3' 'cuda-python>=12.6' filelock",
        ),
    )
}


@dataclass(frozen=True)
class EngineStatus:
    """Whether an engine can run here."""

    name: str
    usable: bool
    detail: str
    """The library and its version, or the reason and the command that would help."""


def choose(name: str) -> EngineChoice:
    """Find an engine by name.

    Raises:
        EngineUnavailableError: there is none of that name.
    """
    choice = ENGINES.get(name)
    if choice is None:
        near = difflib.get_close_matches(name, ENGINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise EngineUnavailableError(f"unknown engine {name!r}: {hint}engines are {', '.join(ENGINES)}")
    return choice


def setup_of(engine: str | Setup, threads: int | None = None) -> Setup:
    """Give the setup that an engine's name stands for, or the one that was given.

    Raises:
        EngineUnavailableError: there is no engine of that name.
        UsageError: `threads` is given for another engine than the CPU's, or for a setup, which has its own.
    """
    setup = choose(engine).setup() if isinstance(engine, str) else engine
    if threads is None:
        return setup
    if engine != "cpu":
        raise UsageError(f"threads is {threads!r}, but only the engine 'cpu' by its name takes it; leave it out")
    return CpuSetup(threads)


def check_engine(engine: str | Setup) -> None:
    """Say now, before files are read, that an engine cannot run here.

    Raises:
        EngineUnavailableError: it cannot; the message says what would help.
    """
    found = status(engine_of(setup_of(engine)).name)
    if not found.usable:
        raise EngineUnavailableError(found.detail)


def engine_of(setup: Setup) -> EngineChoice:
    """Find the engine that a setup is of."""
    return next(choice for choice in ENGINES.values() if choice.setup is type(setup))


def open_host(setup: Setup | str) -> Host:
    """Open an engine's library on its device; `setup` may be the engine's name alone.

    Raises:
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        UsageError: `threads` is no number of cores that this machine has.
    """
    wanted = setup_of(setup)
    if isinstance(wanted, CpuSetup):
        _check_threads(wanted.threads)
    opener = cast("Callable[..., Host]", import_module(engine_of(wanted).module).open_host)
    return opener(wanted)


def open_graph(graph: Path, *, engine: str, threads: int | None = None, optimise: bool = True) -> Engine:
    """Open one graph in the named engine, on a host of its own.

    Raises:
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        UsageError: `threads` is no number of cores that this machine has, or given for another engine than the CPU's.
        EngineError: the graph does not load.
    """
    setup = setup_of(engine, threads)
    host = open_host(CpuSetup(threads, optimise) if isinstance(setup, CpuSetup) else setup)
    try:
        return SoleEngine(host, host.open(GraphFile(graph.name.split(".")[0], Spelling(graph))))
    except BaseException:
        host.close()
        raise


class SoleEngine:
    """An engine that closes its host with itself."""

    def __init__(self, host: Host, engine: Engine) -> None:
        self._host, self._engine = host, engine
        self.inputs: dict[str, TensorSpec] = engine.inputs
        self.outputs: dict[str, TensorSpec] = engine.outputs

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:
        """Give the shapes to bind; see `Engine`."""
        return self._engine.fit(shapes, growable)

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Make ready for shapes; see `Engine`."""
        self._engine.prepare(wanted)

    def bind(self, **shapes: Shape) -> Session:
        """Fix shapes; see `Engine`."""
        return self._engine.bind(**shapes)

    def close(self) -> None:
        """Free the graph and its host."""
        self._host.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _check_threads(threads: int | None) -> None:
    cores = os.cpu_count() or 1
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= cores):
        raise UsageError(f"threads is {threads!r}, expected 1 to {cores}, the cores of this machine")


def status(name: str) -> EngineStatus:
    """Say whether an engine can run on this machine, and if not, what would change that."""
    try:
        found: Any = import_module(ENGINES[name].module).find_library()
    except EngineUnavailableError as error:
        return EngineStatus(name, usable=False, detail=str(error))
    return EngineStatus(name, usable=True, detail=f"{found}{_clash()}")


def _clash() -> str:
    """Warn of two distributions that overwrite each other's files."""
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    return f" (warning: {' and '.join(both)} share their files; keep one)" if len(both) == 2 else ""


def _installed(distribution: str) -> bool:
    from importlib import metadata  # 15 % of what `import foley` would take

    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
