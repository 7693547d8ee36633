"""Run a graph with ONNX Runtime on the CPU, its inputs and outputs bound once to fixed memory."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np

from foley_engines.base import DTYPES, Array, Buffer, Shape, TensorSpec
from foley_engines.errors import EngineError, one_line


class CpuBuffer:
    """A numpy array that ONNX Runtime reads or writes in place."""

    def __init__(self, library: Any, spec: TensorSpec, shape: Shape) -> None:  # noqa: ANN401
        self.spec = spec
        self.array = np.zeros(shape, DTYPES[spec.dtype])
        self.value = library.OrtValue.ortvalue_from_numpy(self.array)

    def write(self, value: Array) -> None:
        """Copy an array of the bound shape and dtype into the buffer."""
        if value.shape != self.array.shape or value.dtype != self.array.dtype:
            raise EngineError(
                f"{self.spec.name}: got {value.dtype} {list(value.shape)}, "
                f"bound as {self.array.dtype} {list(self.array.shape)}"
            )
        np.copyto(self.array, value)

    def read(self) -> Array:
        """Give a copy of what the buffer holds."""
        return cast("Array", self.array.copy())

    def take(self, source: Buffer, *index: int) -> None:
        """Copy `source[index]` into the buffer.

        Raises:
            EngineError: it is of another size or dtype, or there is no such part.
        """
        if not isinstance(source, CpuBuffer | RunOutput):
            raise EngineError(f"{self.name} cannot take a tensor of another host")
        try:
            part = source.held()[index]
        except IndexError as error:
            raise EngineError(f"{source.name} {list(source.held().shape)} has no part {list(index)}") from error
        if part.dtype != self.array.dtype or part.size != math.prod(self.array.shape):
            raise EngineError(f"{self.name} {list(self.array.shape)} cannot take {list(part.shape)} of {source.name}")
        np.copyto(self.array, part.reshape(self.array.shape))

    @property
    def name(self) -> str:
        """The tensor's name."""
        return self.spec.name

    @property
    def shape(self) -> Shape:
        """The bound shape."""
        return cast("Shape", self.array.shape)

    def held(self) -> Array:
        """Give the memory itself."""
        return cast("Array", self.array)


class RunOutput:
    """An output whose shape only a run tells."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.array: Array | None = None

    @property
    def shape(self) -> Shape:
        """The shape that the last run gave."""
        return cast("Shape", self.held().shape)

    def write(self, value: Array) -> None:  # noqa: ARG002 — the protocol's
        """Refuse: it is an output."""
        raise EngineError("an output whose shape was not bound cannot be written")

    def read(self) -> Array:
        """Give a copy of what the last run wrote."""
        copy: Array = self.held().copy()
        return copy

    def take(self, source: Buffer, *index: int) -> None:  # noqa: ARG002 — the protocol's
        """Refuse: it is an output."""
        raise EngineError("an output whose shape was not bound cannot be written")

    def held(self) -> Array:
        """Give what the last run wrote."""
        if self.array is None:
            raise EngineError("an output was read before the first run")
        return self.array


class CpuSession:
    """One set of shapes of a `CpuEngine`."""

    def __init__(
        self,
        library: Any,  # noqa: ANN401
        session: Any,  # noqa: ANN401
        graph: Path,
        specs: dict[str, TensorSpec],
        shapes: dict[str, Shape],
        give_back: Callable[["CpuSession"], None],
    ) -> None:
        self._give_back = give_back
        self._session = session
        self._graph = graph
        self._binding = session.io_binding()
        self._buffers = {name: CpuBuffer(library, specs[name], shape) for name, shape in shapes.items()}
        self._inputs = [node.name for node in session.get_inputs()]
        self._outputs = [node.name for node in session.get_outputs()]
        self._unbound = {name: RunOutput(name) for name in self._outputs if name not in shapes}
        for name in shapes:
            self._bind(name)
        for name in self._unbound:
            self._binding.bind_output(name, "cpu")

    def _bind(self, name: str) -> None:
        place = self._binding.bind_ortvalue_input if name in self._inputs else self._binding.bind_ortvalue_output
        place(name, self._buffers[name].value)

    def __getitem__(self, name: str) -> CpuBuffer | RunOutput:
        """Give the buffer of an input or output."""
        return self._unbound[name] if name in self._unbound else self._buffer(name)

    def _buffer(self, name: str) -> CpuBuffer:
        if name not in self._buffers:
            bound = ", ".join([*self._buffers, *self._unbound])
            what = "was bound without a shape" if name in self._unbound else f"is unknown; there are {bound}"
            raise EngineError(f"{self._graph.name}: tensor {name!r} {what}")
        return self._buffers[name]

    def wait(self) -> None:
        """Do nothing: a run is done when it returns."""

    def close(self) -> None:
        """Give the session back to its engine, which may lend it again; it must not be used any more."""
        self._give_back(self)

    def dispose(self) -> None:
        """Free the session's memory."""
        self._binding.clear_binding_inputs()
        self._binding.clear_binding_outputs()
        self._buffers.clear()
        self._unbound.clear()

    def run(self) -> None:
        """Run the graph once.

        Raises:
            EngineError: ONNX Runtime failed; its own message follows the graph's name.
        """
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise EngineError(f"{self._graph.name}: {one_line(error)}") from error
        for name, value in zip(self._outputs, self._binding.get_outputs(), strict=True):
            if name in self._unbound:
                self._unbound[name].array = value.numpy()

    def feed(self, input_name: str, output_name: str) -> None:
        """Swap two buffers of the same shape, so that the last output is the next input."""
        taken, given = self._buffer(input_name), self._buffer(output_name)
        if taken.array.shape != given.array.shape or taken.array.dtype != given.array.dtype:
            raise EngineError(f"{self._graph.name}: {output_name} cannot feed {input_name}: shapes or types differ")
        self._buffers[input_name], self._buffers[output_name] = given, taken
        self._bind(input_name)
        self._bind(output_name)
