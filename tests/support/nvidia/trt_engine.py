"""Runtime, engine, serialisation and inspector of the fake TensorRT."""

import math
import weakref
from dataclasses import dataclass, field
from typing import Any

from support.nvidia import plan_file
from support.nvidia.machine import current
from support.nvidia.onnx_network import OnnxNetwork, TensorFacts
from support.nvidia.plan_file import Header, Plan, PlanError, Ranges
from support.nvidia.pybind import module_of, tell
from support.nvidia.trt_behaviours import BEHAVIOURS, NUMPY, dims, fail
from support.nvidia.trt_build import need_device

does, sets = BEHAVIOURS.does, BEHAVIOURS.sets
CHUNK = 1 << 20


@dataclass
class EngineState:
    """An engine in memory."""

    header: Header
    network: OnnxNetwork
    logger: Any
    missing: set[str] = field(default_factory=set)
    """Weights that a stripped plan left out and that were not put back."""

    @property
    def profiles(self) -> tuple[Ranges, ...]:
        """The profiles; a network without dynamic inputs has one."""
        return self.header.profiles or ({},)

    def ranges(self, name: str, profile: int) -> tuple[tuple[int, ...], ...]:
        """Give an input's minimum, optimum and maximum shape."""
        shape = next(each.shape for each in self.network.inputs if each.name == name)
        return self.profiles[profile].get(name, (shape, shape, shape))

    def scratch_bytes(self, profile: int) -> int:
        """Give the activation memory that a profile needs: more for larger shapes, a multiple of 256."""
        sizes = [math.prod(self.ranges(each.name, profile)[2]) for each in self.network.inputs]
        return 1024 + 256 * math.ceil(4 * sum(sizes) / 256)

    def weight_bytes(self) -> int:
        """Give the memory that the weights take."""
        weights = self.network.weights().values()
        return sum(math.prod(tensor.dims) * 4 for tensor in weights)

    def tensors(self) -> list[TensorFacts]:
        """List the inputs, then the outputs."""
        return [*self.network.inputs, *self.network.outputs]

    def tensor(self, name: str) -> TensorFacts | None:
        """Find an input or output."""
        return next((each for each in self.tensors() if each.name == name), None)


# The runtime


@does("Runtime.__init__", required=True)
def make_runtime(runtime: Any, logger: Any) -> None:
    need_device(logger)
    object.__setattr__(runtime, "_fake_state", logger)


does("Runtime.logger", required=True)(lambda runtime: runtime._fake_state)
BEHAVIOURS.keeps(
    "Runtime",
    engine_host_code_allowed=False,
    max_threads=1,
    error_recorder=None,
    gpu_allocator=None,
    temporary_directory=None,
    tempfile_control_flags=3,
    DLA_core=-1,
)


@does("Runtime.deserialize_cuda_engine", required=True)
def deserialize_cuda_engine(
    runtime: Any, serialized_engine: Any = None, stream_reader: Any = None, stream_reader_v2: Any = None
) -> Any:
    """Read a plan, or log why not and give None."""
    if stream_reader_v2 is not None:
        raise NotImplementedError("the fake does not read through IStreamReaderV2, whose memory is a capsule")
    content = bytes(memoryview(serialized_engine)) if stream_reader is None else _read_all(stream_reader)
    try:
        plan = plan_file.read(content)
        host_code = bool(runtime.engine_host_code_allowed)
        warning = plan_file.check(plan.header, runtime_version(runtime), current().device, host_code=host_code)
    except PlanError as error:
        return fail(runtime._fake_state, str(error))
    if warning:
        tell(runtime._fake_state, "WARNING", warning)
    return _engine(runtime, plan)


def runtime_version(instance: Any) -> str:
    """Give the version of the module that an object is of."""
    return module_of(instance).__version__


def _read_all(reader: Any) -> bytes:
    """Read what a user's IStreamReader gives, piece by piece."""
    pieces = []
    while piece := reader.read(CHUNK):
        pieces.append(bytes(piece))
    return b"".join(pieces)


def _engine(runtime: Any, plan: Plan) -> Any:
    state = EngineState(plan.header, plan.network, runtime._fake_state)
    state.missing = set(plan.network.weights()) if plan.header.stripped else set()
    engine = module_of(runtime).make("ICudaEngine", state)
    if not reserve(engine, state.weight_bytes()):
        return fail(
            runtime._fake_state, f"Requested amount of GPU memory ({state.weight_bytes()} bytes) could not be allocated"
        )
    current().counts["deserialize"] += 1
    return engine


def reserve(owner: Any, size: int) -> bool:
    """Take device memory for as long as an object lives; gives False where there is not enough."""
    machine = current()
    if machine.memory.used() + size > machine.device.memory_bytes:
        return False
    weakref.finalize(owner, machine.memory.unreserve, machine.memory.reserve(size))
    return True


# The engine


does("ICudaEngine.num_io_tensors", required=True)(lambda engine: len(engine._fake_state.tensors()))
does("ICudaEngine.num_layers", required=True)(lambda engine: len(engine._fake_state.network.proto.graph.node))
does("ICudaEngine.num_optimization_profiles", required=True)(lambda engine: len(engine._fake_state.profiles))
does("ICudaEngine.refittable", required=True)(lambda engine: engine._fake_state.header.refittable)
does("ICudaEngine.streamable_weights_size", required=True)(lambda engine: engine._fake_state.weight_bytes())
BEHAVIOURS.gives("ICudaEngine", name="Unnamed Network 0", num_aux_streams=0, is_shape_inference_io=False)
BEHAVIOURS.keeps("ICudaEngine", error_recorder=None)


@does("ICudaEngine.get_tensor_name", required=True)
@does("ICudaEngine.__getitem__", required=True)
def tensor_name(engine: Any, index: int = 0, arg0: int = 0) -> str:
    return str(engine._fake_state.tensors()[index or arg0].name)


@does("ICudaEngine.get_tensor_mode", required=True)
def tensor_mode(engine: Any, name: str) -> Any:
    inputs = [each.name for each in engine._fake_state.network.inputs]
    mode = "INPUT" if name in inputs else "OUTPUT" if engine._fake_state.tensor(name) else "NONE"
    return module_of(engine).enum("TensorIOMode", mode)


@does("ICudaEngine.get_tensor_shape", required=True)
def engine_tensor_shape(engine: Any, name: str) -> Any:
    return dims(engine, _known(engine, name).shape)


@does("ICudaEngine.get_tensor_dtype", required=True)
def engine_tensor_type(engine: Any, name: str) -> Any:
    return module_of(engine).enum("DataType", _known(engine, name).dtype)


@does("ICudaEngine.get_tensor_location", required=True)
def tensor_location(engine: Any, name: str) -> Any:
    return module_of(engine).enum("TensorLocation", "DEVICE")


@does("ICudaEngine.get_tensor_bytes_per_component", required=True)
def bytes_per_component(engine: Any, name: str, profile_index: int = 0) -> int:
    return int(NUMPY[_known(engine, name).dtype].itemsize)


@does("ICudaEngine.get_tensor_format", required=True)
def tensor_format(engine: Any, name: str, profile_index: int = 0) -> Any:
    return module_of(engine).enum("TensorFormat", "LINEAR")


@does("ICudaEngine.get_tensor_profile_shape", required=True)
def tensor_profile_shape(engine: Any, name: str, profile_index: int) -> list[Any]:
    return [dims(engine, each) for each in engine._fake_state.ranges(name, profile_index)]


def _known(engine: Any, name: str) -> TensorFacts:
    """Find a tensor; of an unknown one the real engine logs an error and gives an invalid answer."""
    found = engine._fake_state.tensor(name)
    if found is None:
        fail(engine._fake_state.logger, f"Given invalid tensor name: {name}.")
        return TensorFacts(name, "FLOAT", ())
    facts: TensorFacts = found
    return facts


@does("ICudaEngine.device_memory_size_v2", required=True)
@does("ICudaEngine.device_memory_size")
def device_memory_size(engine: Any) -> int:
    return max(engine._fake_state.scratch_bytes(index) for index in range(len(engine._fake_state.profiles)))


@does("ICudaEngine.get_device_memory_size_for_profile_v2", required=True)
@does("ICudaEngine.get_device_memory_size_for_profile")
def device_memory_size_for_profile(engine: Any, profile_index: int) -> int:
    return int(engine._fake_state.scratch_bytes(profile_index))


@does("ICudaEngine.hardware_compatibility_level", required=True)
def engine_compatibility(engine: Any) -> Any:
    return module_of(engine).enum("HardwareCompatibilityLevel", engine._fake_state.header.compatibility)


@does("ICudaEngine.profiling_verbosity", required=True)
def engine_verbosity(engine: Any) -> Any:
    return module_of(engine).enum("ProfilingVerbosity", engine._fake_state.header.verbosity)
