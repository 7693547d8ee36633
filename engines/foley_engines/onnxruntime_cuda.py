"""Run a graph with ONNX Runtime on a CUDA device: tensors stay there, and runs become CUDA graphs."""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from foley_engines.base import DTYPES, Shape, TensorSpec, check_shapes
from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import find_device, import_runtime, without_driver
from foley_engines.cuda.session import DeviceSession
from foley_engines.cuda.tensors import DeviceTensors
from foley_engines.errors import EngineError, EngineUnavailableError, one_line
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.onnxruntime_assignment import RECORD, check_fused, check_nothing_left, check_provider, operators_of
from foley_engines.onnxruntime_cpu import spec_of
from foley_engines.pool import SessionPool
from foley_engines.profiles import shapes_from, sizes_in
from foley_engines.setups import CudaSetup

PROVIDER: Final = "CUDAExecutionProvider"
INSTALL: Final = "pip uninstall -y onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27' 'cuda-python>=12.6'"
NO_GRAPH: Final = -1


def import_library() -> Any:  # noqa: ANN401 — a module without types
    """Import an ONNX Runtime that has the CUDA provider.

    Raises:
        EngineUnavailableError: it is not installed, does not load, or was built for the CPU alone.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise EngineUnavailableError(f"engine 'cuda' needs onnxruntime-gpu: {INSTALL}{without_driver()}") from error
        raise EngineUnavailableError(f"onnxruntime does not load: {one_line(error)}; {INSTALL}") from error
    if PROVIDER not in onnxruntime.get_available_providers():
        words = f"onnxruntime {onnxruntime.__version__} here is the CPU's; for CUDA: {INSTALL}{without_driver()}"
        raise EngineUnavailableError(words)
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # CUDA and cuDNN where pip put them
    return onnxruntime


class CudaHost:
    """ONNX Runtime's CUDA provider and a device, whose stream all graphs share."""

    def __init__(self, setup: CudaSetup) -> None:
        """Take a device.

        Raises:
            EngineUnavailableError: the library, the CUDA bindings or the device is not here.
        """
        self.library = import_library()
        self.setup = setup
        self.device = Device(setup.device)
        self._engines: list[CudaEngine] = []

    def open(self, graph: GraphFile) -> "CudaEngine":
        """Load a graph's spelling for this engine.

        Raises:
            EngineError: it does not load, or would not run on the device.
        """
        spellings = graph.spellings
        spelling = spellings.get("cuda") or spellings.get("cpu") or graph.standard
        engine = CudaEngine(self.library, self.device, spelling, captured=self.setup.captured)
        self._engines.append(engine)
        return engine

    def close(self) -> None:
        """Free everything in order: sessions, graphs, the stream."""
        for engine in self._engines:
            engine.close()
        self._engines.clear()
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CudaEngine:
    """A graph loaded into ONNX Runtime's CUDA provider."""

    def __init__(self, library: Any, device: Device, spelling: Spelling, *, captured: bool) -> None:  # noqa: ANN401
        """Load a spelling of a graph.

        Raises:
            EngineError: the graph does not load, or the CUDA provider does not take all that takes time.
        """
        self._library, self._device, self.graph, self._captured = library, device, spelling.path, captured
        self._session = _load(library, device, spelling, captured=captured)
        self.inputs = {node.name: spec_of(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: spec_of(node) for node in self._session.get_outputs()}
        self._pool: SessionPool[DeviceSession] = SessionPool()
        self._graph_ids = count(1)

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """All tensors by name."""
        return {**self.inputs, **self.outputs}

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:  # noqa: ARG002
        """Give the same shapes: this engine takes any."""
        return shapes

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Do nothing: this engine takes any shape at once."""

    def bind(self, **shapes: Shape) -> DeviceSession:
        """Give a session of these shapes; an output's shape may be left out where it follows from the inputs'.

        Raises:
            EngineError: an input's shape is missing, a shape is not the graph's, or an output's does not follow.
        """
        check_shapes(self.graph, self.inputs, self.outputs, shapes)
        complete = {**shapes_from(self.specs, self.inputs, shapes), **shapes}
        sizes_in(self.specs, complete)
        return self._pool.take(complete, lambda: self._make(complete))

    def close(self) -> None:
        """Free the sessions and the graph's memory."""
        self._pool.close()
        self._session = None

    def _make(self, shapes: dict[str, Shape]) -> DeviceSession:
        next_id = partial(next, self._graph_ids) if self._captured else lambda: NO_GRAPH
        with self._device.used():
            tensors = DeviceTensors(self._device, self.graph.name, self.specs, shapes)
            runs = CudaRuns(self, self._library, self._session, next_id)
            return DeviceSession(self._device, tensors, runs, partial(self._pool.give, shapes))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CudaRuns:
    """Runs of a session; ONNX Runtime captures one as a CUDA graph once for each set of addresses."""

    def __init__(self, engine: CudaEngine, library: Any, session: Any, next_id: Callable[[], int]) -> None:  # noqa: ANN401
        """Take `next_id`, which gives each set of addresses the number of its CUDA graph."""
        self._graph, self._inputs = engine.graph, engine.inputs
        self._library, self._session, self._next_id = library, session, next_id
        self._bound: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def enqueue(self, tensors: DeviceTensors) -> None:
        """Enqueue one run.

        Raises:
            EngineError: ONNX Runtime failed; its own message follows the graph's name.
        """
        if tensors.key not in self._bound:
            self._bound[tensors.key] = (self._bind(tensors), self._options())
        try:
            self._session.run_with_iobinding(*self._bound[tensors.key])
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise EngineError(f"{self._graph.name}: {one_line(error)}") from error

    def forget(self) -> None:
        """Forget the bindings."""
        self._bound.clear()

    def _bind(self, tensors: DeviceTensors) -> Any:  # noqa: ANN401
        binding = self._session.io_binding()
        for name, buffer in tensors.items():
            place = binding.bind_input if name in self._inputs else binding.bind_output
            place(name, "cuda", tensors.device.facts.number, DTYPES[buffer.spec.dtype], buffer.shape, buffer.address)
        return binding

    def _options(self) -> Any:  # noqa: ANN401
        options = self._library.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(self._next_id()))
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return options


def _load(library: Any, device: Device, spelling: Spelling, *, captured: bool) -> Any:  # noqa: ANN401
    options = library.SessionOptions()
    options.log_severity_level = 3  # errors; they reach the caller as exceptions
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry(RECORD, "1")
    try:
        session = library.InferenceSession(
            str(spelling.path), options, providers=[(PROVIDER, provider_options(device, captured=captured))]
        )
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise EngineError(
            f"{spelling.path.name} does not load in onnxruntime {library.__version__}: {one_line(error)}"
        ) from error
    session.disable_fallback()
    _check(spelling, session)
    return session


def provider_options(device: Device, *, captured: bool) -> dict[str, str]:
    """Give the CUDA provider's options, by ONNX Runtime's own names."""
    return {
        "device_id": str(device.facts.number),
        "user_compute_stream": str(device.handle),
        "enable_cuda_graph": "1" if captured else "0",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "cudnn_conv1d_pad_to_nc1d": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }


def _check(spelling: Spelling, session: Any) -> None:  # noqa: ANN401
    """Compare who runs the graph with who was asked to.

    Raises:
        EngineError: it is another provider, an operator that takes time is left to the CPU, or a fused one was not
            taken.
    """
    check_provider(spelling.path, session, PROVIDER)
    operators = operators_of(session)
    if operators is not None:
        check_nothing_left(spelling.path, operators, PROVIDER)
        check_fused(spelling.path, operators, PROVIDER, spelling.fused)


def open_host(setup: CudaSetup) -> CudaHost:
    """Open ONNX Runtime on a CUDA device; see `CudaHost`."""
    return CudaHost(setup)


def find_library() -> str:
    """Name the library, its version and the device.

    Raises:
        EngineUnavailableError: the library, the CUDA bindings or a device is not here.
    """
    library = import_library()
    import_runtime()
    return f"onnxruntime-gpu {library.__version__} on {find_device(0).name}"
