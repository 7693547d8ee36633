"""Load a graph into ONNX Runtime on the CPU."""

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foley_engines.base import Shape, TensorSpec, check_shapes
from foley_engines.errors import EngineError, EngineUnavailableError, one_line
from foley_engines.graph_file import GraphFile
from foley_engines.onnxruntime_assignment import RECORD, check_fused, check_provider, operators_of
from foley_engines.onnxruntime_cpu_session import CpuSession
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

    def bind(self, **shapes: Shape) -> CpuSession:
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

    def _make(self, shapes: dict[str, Shape]) -> CpuSession:
        specs, back = {**self.inputs, **self.outputs}, partial(self._pool.give, shapes)
        return CpuSession(self._library, self._session, self.graph, specs, shapes, back)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


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
