"""Run a graph with ONNX Runtime on a CUDA device: tensors stay there, and runs become CUDA graphs."""

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from foley_engines.base import DTYPES, Shape, TensorSpec, check_shapes
from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import find_device, import_runtime
from foley_engines.cuda.memory import CudaBuffer
from foley_engines.cuda.tensors import DeviceTensors
from foley_engines.errors import EngineError, EngineUnavailableError
from foley_engines.graph_file import GraphFile
from foley_engines.onnxruntime_cpu import one_line, spec_of
from foley_engines.pool import SessionPool
from foley_engines.profiles import shapes_from, sizes_in
from foley_engines.setups import CudaSetup

PROVIDER: Final = "CUDAExecutionProvider"
INSTALL: Final = "pip uninstall -y onnxruntime; pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27' 'cuda-python>=12.6'"
NO_GRAPH: Final = -1
HEAVY: Final = frozenset(
    ("Attention", "Conv", "ConvTranspose", "Gemm", "GroupNorm", "GroupNormalization", "InstanceNormalization",
     "LayerNormalization", "MatMul", "MultiHeadAttention", "Resize", "Softmax")
)  # fmt: skip
"""Operators that take the time: none of them may be left to the CPU. What computes shapes belongs there."""


def import_library() -> Any:  # noqa: ANN401 — a module without types
    """Import an ONNX Runtime that has the CUDA provider.

    Raises:
        EngineUnavailableError: it is not installed, does not load, or was built for the CPU alone.
    """
    try:
        import onnxruntime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "onnxruntime":
            raise EngineUnavailableError(f"engine 'cuda' needs onnxruntime-gpu: {INSTALL}") from error
        raise EngineUnavailableError(f"onnxruntime does not load: {one_line(error)}; {INSTALL}") from error
    if PROVIDER not in onnxruntime.get_available_providers():
        raise EngineUnavailableError(f"onnxruntime {onnxruntime.__version__} here is the CPU's; for CUDA: {INSTALL}")
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
        engine = CudaEngine(self.library, self.device, spelling.path, captured=self.setup.captured)
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

    def __init__(self, library: Any, device: Device, graph: Path, *, captured: bool) -> None:  # noqa: ANN401
        """Load `graph`.

        Raises:
            EngineError: the graph does not load, or the CUDA provider does not take all that takes time.
        """
        self._library, self._device, self.graph, self._captured = library, device, graph, captured
        self._session = _load(library, device, graph, captured=captured)
        self.inputs = {node.name: spec_of(node) for node in self._session.get_inputs()}
        self.outputs = {node.name: spec_of(node) for node in self._session.get_outputs()}
        self._pool: SessionPool[CudaSession] = SessionPool()
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

    def bind(self, **shapes: Shape) -> "CudaSession":
        """Give a session of these shapes; an output's shape may be left out where it follows from the inputs'.

        Raises:
            EngineError: an input's shape is missing, a shape is not the graph's, or an output's does not follow.
        """
        missing = [str(spec) for spec in self.inputs.values() if spec.name not in shapes]
        if missing:
            raise EngineError(f"{self.graph.name}: no shape for {'; '.join(missing)}")
        check_shapes(self.graph, self.specs, shapes)
        complete = {**shapes_from(self.specs, self.inputs, shapes), **shapes}
        sizes_in(self.specs, complete)
        return self._pool.take(complete, lambda: self._make(complete))

    def close(self) -> None:
        """Free the sessions and the graph's memory."""
        self._pool.close()
        self._session = None

    def _make(self, shapes: dict[str, Shape]) -> "CudaSession":
        back = partial(self._pool.give, shapes)
        next_id = partial(next, self._graph_ids) if self._captured else lambda: NO_GRAPH
        with self._device.used():
            return CudaSession(self, self._library, self._session, self._device, shapes, next_id, back)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class CudaSession:
    """One set of shapes of a `CudaEngine`."""

    def __init__(
        self,
        engine: CudaEngine,
        library: Any,  # noqa: ANN401
        session: Any,  # noqa: ANN401
        device: Device,
        shapes: dict[str, Shape],
        next_id: Callable[[], int],
        give_back: Callable[["CudaSession"], None],
    ) -> None:
        self._graph, self._library, self._session, self._device = engine.graph, library, session, device
        self._inputs, self._next_id, self._give_back = set(engine.inputs), next_id, give_back
        self._tensors = DeviceTensors(device, engine.graph.name, engine.specs, shapes)
        self._bound: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def __getitem__(self, name: str) -> CudaBuffer:
        """Give the buffer of an input or output."""
        return self._tensors[name]

    def run(self) -> None:
        """Enqueue one run; ONNX Runtime captures it as a CUDA graph once for each set of addresses.

        Raises:
            EngineError: ONNX Runtime failed; its own message follows the graph's name.
        """
        with self._device.used():
            binding, options = self._binding()
            try:
                self._session.run_with_iobinding(binding, options)
            except Exception as error:  # onnxruntime raises classes of its own that share no base
                raise EngineError(f"{self._graph.name}: {one_line(error)}") from error
            self._tensors.turns.end()

    def wait(self) -> None:
        """Return when all that was asked is done.

        Raises:
            EngineError: something of it failed.
        """
        self._device.wait()

    def feed(self, input_name: str, output_name: str) -> None:
        """Swap two buffers of the same shape, so that the last output is the next input."""
        self._tensors.feed(input_name, output_name)

    def close(self) -> None:
        """Give the session back to its engine, which may lend it again; it must not be used any more."""
        self._give_back(self)

    def dispose(self) -> None:
        """Free the session's memory."""
        with self._device.used():
            self._device.wait()
            self._bound.clear()
            self._tensors.close()

    def _binding(self) -> tuple[Any, Any]:
        """Give the binding and run options of where the tensors lie now; another place is another CUDA graph."""
        key = self._tensors.key
        if key not in self._bound:
            self._bound[key] = (self._bind(), self._options())
        return self._bound[key]

    def _bind(self) -> Any:  # noqa: ANN401
        binding = self._session.io_binding()
        for name, buffer in self._tensors.items():
            place = binding.bind_input if name in self._inputs else binding.bind_output
            number, dtype = self._device.facts.number, DTYPES[buffer.spec.dtype]
            place(name, "cuda", number, dtype, buffer.shape, buffer.address)
        return binding

    def _options(self) -> Any:  # noqa: ANN401
        options = self._library.RunOptions()
        options.add_run_config_entry("gpu_graph_id", str(self._next_id()))
        options.add_run_config_entry("disable_synchronize_execution_providers", "1")
        return options


def _load(library: Any, device: Device, graph: Path, *, captured: bool) -> Any:  # noqa: ANN401
    options = library.SessionOptions()
    options.log_severity_level = 3  # errors; they reach the caller as exceptions
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        session = library.InferenceSession(
            str(graph), options, providers=[(PROVIDER, provider_options(device, captured=captured))]
        )
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise EngineError(
            f"{graph.name} does not load in onnxruntime {library.__version__}: {one_line(error)}"
        ) from error
    session.disable_fallback()
    _check_providers(graph, session)
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


def _check_providers(graph: Path, session: Any) -> None:  # noqa: ANN401
    """Compare who runs the graph with who was asked to.

    Raises:
        EngineError: it is another provider, or an operator that takes time is left to the CPU.
    """
    providers = session.get_providers()
    if providers[:1] != [PROVIDER]:
        raise EngineError(f"{graph.name}: asked for {PROVIDER}, onnxruntime took {', '.join(providers) or 'none'}")
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return  # before 1.30 or so onnxruntime does not tell
    assigned: Counter[str] = Counter()
    for part in session.get_provider_graph_assignment_info():
        if part.ep_name != PROVIDER:
            assigned.update(node.op_type for node in part.get_nodes() if node.op_type in HEAVY)
    if assigned:
        left = ", ".join(f"{number} × {kind}" for kind, number in assigned.most_common())
        raise EngineError(f"{graph.name}: onnxruntime leaves {left} to the CPU; export the bundle again")


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
