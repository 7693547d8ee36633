"""What every engine offers: bind a graph's shapes once, then run it many times."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from foley_engines.errors import EngineError

if TYPE_CHECKING:
    from foley_engines.graph_file import GraphFile

Array = NDArray[np.float32] | NDArray[np.int64]
Shape = tuple[int, ...]

DTYPES: dict[str, type[np.generic]] = {"float32": np.float32, "int64": np.int64}
"""The types that cross a graph's boundary, at every precision."""


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of a graph."""

    name: str
    dtype: str
    """A key of `DTYPES`."""
    shape: tuple[int | str, ...]
    """A string is a dynamic axis; axes of the same name have the same size."""

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} [{','.join(map(str, self.shape))}]"


class Buffer(Protocol):
    """Memory of one bound tensor, wherever the engine keeps it."""

    @property
    def shape(self) -> Shape:
        """The tensor's shape; of an output that was bound without one, that of the last run."""
        ...

    def write(self, value: Array) -> None:
        """Copy an array of the bound shape and dtype into the buffer."""
        ...

    def read(self) -> Array:
        """Wait for what was asked before, and give a copy of what the buffer holds then."""
        ...

    def take(self, source: "Buffer", *index: int) -> None:
        """Copy `source[index]` of another buffer of the same host, where both lie; sizes and dtypes must agree."""
        ...


class Session(Protocol):
    """A graph with its shapes fixed and its memory allocated."""

    def __getitem__(self, name: str) -> Buffer:
        """Give the buffer of an input or output."""
        ...

    def run(self) -> None:
        """Ask for one run over what the input buffers hold; it may go on when this returns."""
        ...

    def wait(self) -> None:
        """Return when all that was asked is done; what failed meanwhile is raised here, or where a buffer is read."""
        ...

    def feed(self, input_name: str, output_name: str) -> None:
        """Make the last output the next input; both must be bound with the same shape. The output is then undefined."""
        ...

    def close(self) -> None:
        """Give the session back to its engine, which may lend it again; it must not be used any more."""
        ...


class Engine(Protocol):
    """A loaded graph."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:
        """Give the shapes to bind for these: the same, or ones in which growable symbols are as large as was built for.

        The caller fills what is too much, and passes it over.
        """
        ...

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Make ready what sessions of these shapes need. It may take minutes: now, not in the middle of work."""
        ...

    def bind(self, **shapes: Shape) -> Session:
        """Fix the shapes of the inputs, and of the outputs where they are known, and allocate once."""
        ...

    def close(self) -> None:
        """Free the graph's memory; sessions bound from it must not be used any more."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Host(Protocol):
    """An engine's library on one device: the graphs that it opens share what they can."""

    def open(self, graph: "GraphFile") -> Engine:
        """Open a graph."""
        ...

    def close(self) -> None:
        """Free everything; engines opened here must not be used any more."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_shapes(
    graph: Path, inputs: dict[str, TensorSpec], outputs: dict[str, TensorSpec], shapes: dict[str, Shape]
) -> None:
    """Compare shapes of all inputs, and of some outputs, with a graph's own before anything is allocated.

    Raises:
        EngineError: an input has no shape, a tensor is unknown, or an axis departs from the graph's or from another
            axis of the same name.
    """
    missing = [str(spec) for spec in inputs.values() if spec.name not in shapes]
    if missing:
        raise EngineError(f"{graph.name}: no shape for {'; '.join(missing)}")
    specs = {**inputs, **outputs}
    sizes: dict[str, tuple[int, str]] = {}
    for name, shape in shapes.items():
        spec = specs.get(name)
        if spec is None:
            raise EngineError(f"{graph.name} has no tensor {name!r}; it has {', '.join(specs)}")
        if len(spec.shape) != len(shape):
            raise EngineError(f"{graph.name}: {name} has shape {list(shape)}, expected {spec}")
        for axis, size in zip(spec.shape, shape, strict=True):
            _check_axis(graph, spec, shape, axis, size, sizes)


def _check_axis(
    graph: Path, spec: TensorSpec, shape: Shape, axis: int | str, size: int, sizes: dict[str, tuple[int, str]]
) -> None:
    if isinstance(axis, int):
        if axis != size:
            raise EngineError(f"{graph.name}: {spec.name} has shape {list(shape)}, expected {spec}")
        return
    first_size, first_name = sizes.setdefault(axis, (size, spec.name))
    if first_size != size:
        raise EngineError(
            f"{graph.name}: {spec.name} has shape {list(shape)}, so its axis {axis!r} is {size}, "
            f"but that of {first_name} is {first_size}"
        )
