"""What every engine offers: bind a graph's shapes once, then run it many times."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import numpy as np
from numpy.typing import NDArray

from foley_engines.errors import EngineError

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

    def write(self, value: Array) -> None:
        """Copy an array of the bound shape and dtype into the buffer."""
        ...

    def read(self) -> Array:
        """Give a copy of what the buffer holds."""
        ...


class Session(Protocol):
    """A graph with its shapes fixed and its memory allocated."""

    def __getitem__(self, name: str) -> Buffer:
        """Give the buffer of an input or output."""
        ...

    def run(self) -> None:
        """Run the graph once over what its input buffers hold."""
        ...

    def feed(self, input_name: str, output_name: str) -> None:
        """Make the last output the next input, without a copy; both must be bound with the same shape."""
        ...


class Engine(Protocol):
    """A loaded graph."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]

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


def check_shapes(graph: Path, specs: dict[str, TensorSpec], shapes: dict[str, Shape]) -> None:
    """Compare shapes with a graph's own before anything is allocated.

    Raises:
        EngineError: a tensor is unknown, or an axis departs from the graph's or from another axis of the same name.
    """
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
