"""Run a graph with ONNX Runtime on the CPU, its inputs and outputs bound once to fixed memory."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import numpy as np

from foley_engines.base import DTYPES, Array, Buffer, Shape, TensorSpec, check_shapes
from foley_engines.errors import EngineError, EngineUnavailableError
from foley_engines.graph_file import GraphFile
from foley_engines.onnxruntime_assignment import RECORD, check_fused, check_provider, operators_of
from foley_engines.pool import SessionPool
from foley_engines.setups import CpuSetup

PROVIDER = "CPUExecutionProvider"
TELLS_ALL = (1, 31)
"""The first release of which we know that it names all operators that the CPU runs."""
ONNX_TYPES = {"tensor(float)": "float32", "tensor(int64)": "int64"}


def import_library() -> Any:  # noqa: ANN401 — a module without types
    """Import ONNX Runtime.

    Raises:
        EngineUnavailableError: it is not installed, or its own libraries do not load; the message says what helps.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            reason = "needs onnxruntime, which is not installed; install it with: pip install onnxruntime"
        else:
            repair = "pip install --force-reinstall onnxruntime"
            reason = f"found an onnxruntime that does not load ({one_line(error)}); repair it with: {repair}"
        raise EngineUnavailableError(f"engine 'cpu' {reason}") from error
    return onnxruntime


class CpuEngine:
    """A graph loaded into ONNX Runtime's CPU provider."""

    def __init__(
        self,
        graph: Path,
        *,
        threads: int | None = None,
        optimise: bool = True,
        fused: Mapping[str, int] | None = None,
    ) -> None:
        """Load `graph`, which holds so many of each of these `fused` operators.

        `threads` is the number of cores that one operator uses (None: all physical cores). Without `optimise` the
        weights are not laid out anew for the processor: the graph loads several times faster and runs about a tenth
        slower (README.md of this folder).

        Raises:
            EngineUnavailableError: ONNX Runtime is not installed.
            EngineError: the graph does not load, another provider than the CPU's would run it, or fewer fused operators
                are run.
        """
        self._library = import_library()
        self.graph = graph
        self._session = _load(self._library, graph, threads, optimise=optimise)
        check_provider(graph, self._session, PROVIDER)
        self._check_fused(fused or {})
        self.inputs = {node.name: spec_of(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: spec_of(node) for node in self._session.get_outputs()}
        self._pool: SessionPool[CpuSession] = SessionPool()

    def bind(self, **shapes: Shape) -> "CpuSession":
        """Allocate inputs, and outputs whose shapes are given, once. Other outputs are allocated at each run.

        Raises:
            EngineError: an input's shape is missing, or a shape is not the graph's.
        """
        check_shapes(self.graph, self.inputs, self.outputs, shapes)
        return self._pool.take(shapes, lambda: self._make(shapes))

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:  # noqa: ARG002
        """Give the same shapes: this engine takes any."""
        return shapes

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Do nothing: this engine takes any shape at once."""

    def close(self) -> None:
        """Free the graph's memory."""
        self._pool.close()
        self._session = None

    def _check_fused(self, fused: Mapping[str, int]) -> None:
        operators = operators_of(self._session) if fused and _tells_all(self._library) else None
        if operators is not None:
            check_fused(self.graph, operators, PROVIDER, fused)

    def _make(self, shapes: dict[str, Shape]) -> "CpuSession":
        specs, back = {**self.inputs, **self.outputs}, partial(self._pool.give, shapes)
        return CpuSession(self._library, self._session, self.graph, specs, shapes, back)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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


def _load(library: Any, graph: Path, threads: int | None, *, optimise: bool) -> Any:  # noqa: ANN401
    options = library.SessionOptions()
    options.log_severity_level = 3  # errors; they reach the caller as exceptions
    options.intra_op_num_threads = threads or 0
    options.add_session_config_entry(RECORD, "1")
    levels = library.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_ENABLE_EXTENDED
    try:
        return library.InferenceSession(str(graph), options, providers=[PROVIDER])
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise EngineError(
            f"{graph.name} does not load in onnxruntime {library.__version__}: {one_line(error)}"
        ) from error


def _tells_all(library: Any) -> bool:  # noqa: ANN401
    """Say whether a release names all that the CPU runs: early ones leave half operators out that it computes in full.

    Those are assigned to it after the graph is partitioned (onnxruntime's pull request 28268).
    """
    return tuple(map(int, library.__version__.split(".")[:2])) >= TELLS_ALL


def spec_of(node: Any) -> TensorSpec:  # noqa: ANN401
    """Describe a boundary tensor of an ONNX Runtime session.

    Raises:
        EngineError: it is neither float32 nor int64.
    """
    if node.type not in ONNX_TYPES:
        raise EngineError(f"{node.name} has type {node.type}, expected one of {', '.join(ONNX_TYPES)}")
    axes = (f"{node.name}.{place}" if axis is None else axis for place, axis in enumerate(node.shape))  # None: no name
    return TensorSpec(node.name, ONNX_TYPES[node.type], tuple(axes))


def one_line(error: Exception) -> str:
    """Give an error's message without its line breaks."""
    return " ".join(str(error).split())


class CpuHost:
    """ONNX Runtime's CPU provider; its graphs share nothing."""

    def __init__(self, setup: CpuSetup) -> None:
        """Check that the library is here.

        Raises:
            EngineUnavailableError: it is not.
        """
        import_library()
        self._setup = setup
        self._engines: list[CpuEngine] = []

    def open(self, graph: GraphFile) -> CpuEngine:
        """Load a graph's spelling for this engine.

        Raises:
            EngineError: it does not load.
        """
        spelling, setup = graph.spellings.get("cpu", graph.standard), self._setup
        engine = CpuEngine(spelling.path, threads=setup.threads, optimise=setup.optimise, fused=spelling.fused)
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        """Free all graphs."""
        for engine in self._engines:
            engine.close()
        self._engines.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_host(setup: CpuSetup) -> CpuHost:
    """Open ONNX Runtime on the CPU; see `CpuHost`."""
    return CpuHost(setup)


def find_library() -> str:
    """Name the library and its version.

    Raises:
        EngineUnavailableError: it is not here.
    """
    library = import_library()
    return f"{library.__name__} {library.__version__}"
