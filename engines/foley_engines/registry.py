"""Engines by name; a library is imported when its engine is opened, not before."""

import difflib
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import cast

from foley_engines.base import Engine
from foley_engines.errors import EngineUnavailableError, UsageError


@dataclass(frozen=True)
class EngineChoice:
    """How an engine is found and what it needs."""

    name: str
    module: str | None
    """The module whose `open_graph` opens a graph; None for an engine that this release cannot run yet."""
    distribution: str
    install: str
    """The command that installs the engine's library."""


ENGINES = {
    choice.name: choice
    for choice in (
        EngineChoice("cpu", "foley_engines.onnxruntime_cpu", "onnxruntime", "pip install onnxruntime"),
        EngineChoice("cuda", None, "onnxruntime-gpu", "pip install 'onnxruntime-gpu[cuda,cudnn]'"),
        EngineChoice("tensorrt", None, "tensorrt", "pip install tensorrt cuda-python"),
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
        EngineUnavailableError: there is none of that name, or this release cannot run it.
    """
    choice = ENGINES.get(name)
    if choice is None:
        near = difflib.get_close_matches(name, ENGINES, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise EngineUnavailableError(f"unknown engine {name!r}: {hint}engines are {', '.join(ENGINES)}")
    if choice.module is None:
        raise EngineUnavailableError(f"engine {name!r} is not in this release yet; use --engine cpu")
    return choice


def open_graph(graph: Path, *, engine: str, threads: int | None = None, optimise: bool = True) -> Engine:
    """Open a graph in the named engine.

    Raises:
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        UsageError: `threads` is no number of cores that this machine has.
        EngineError: the graph does not load.
    """
    choice = choose(engine)
    _check_threads(threads)
    opener = cast("Callable[..., Engine]", import_module(cast("str", choice.module)).open_graph)
    return opener(graph, threads=threads, optimise=optimise)


def _check_threads(threads: int | None) -> None:
    cores = os.cpu_count() or 1
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= cores):
        raise UsageError(f"threads is {threads!r}, expected 1 to {cores}, the cores of this machine")


def status(name: str) -> EngineStatus:
    """Say whether an engine can run on this machine, and if not, what would change that."""
    choice = ENGINES[name]
    if choice.module is None:
        return EngineStatus(name, usable=False, detail="not in this release yet; use --engine cpu")
    try:
        library = import_module(choice.module).import_library()
    except EngineUnavailableError as error:
        return EngineStatus(name, usable=False, detail=str(error))
    return EngineStatus(name, usable=True, detail=f"{library.__name__} {library.__version__}{_clash()}")


def _clash() -> str:
    """Warn of two distributions that overwrite each other's files."""
    both = [name for name in ("onnxruntime", "onnxruntime-gpu") if _installed(name)]
    return f" (warning: {' and '.join(both)} share their files; keep one)" if len(both) == 2 else ""


def _installed(distribution: str) -> bool:
    try:
        metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return False
    return True
