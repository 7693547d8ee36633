"""Execution contexts of the fake TensorRT: addresses in, ONNX Runtime on the CPU, addresses out."""

from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from support.nvidia.machine import current
from support.nvidia.memory import ALIGNMENT, MemoryFaultError
from support.nvidia.onnx_network import TensorFacts
from support.nvidia.pybind import module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, NUMPY, dims, fail, sizes_of
from support.nvidia.trt_engine import EngineState, reserve

does = BEHAVIOURS.does
USED = 0xAB
"""What a run leaves in its activation memory."""


@dataclass(frozen=True)
class Place:
    """Where a tensor lies."""

    name: str
    dtype: Any
    shape: tuple[int, ...]
    address: int

    def view(self) -> Any:
        """Give the tensor as an array that shares the memory.

        Raises:
            MemoryFaultError: it is not inside live device memory.
        """
        size = int(np.prod(self.shape, dtype=np.int64)) * self.dtype.itemsize
        return current().memory.view(self.address, size, "device").view(self.dtype).reshape(self.shape)


@dataclass
class ContextState:
    """A context."""

    engine: Any
    strategy: str
    profile: int = 0
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    addresses: dict[str, int] = field(default_factory=dict)
    scratch: tuple[int, int] = (0, 0)
    """Address and size of the activation memory that the user gave."""
    warm: Any = None
    """The profile and shapes of the last run outside a capture."""

    @property
    def of(self) -> EngineState:
        """The engine's state."""
        state: EngineState = self.engine._fake_state
        return state

    def all_shapes(self) -> dict[str, tuple[int, ...]]:
        """Give the inputs' shapes that are known: set, or static."""
        static = {each.name: each.shape for each in self.of.network.inputs if -1 not in each.shape}
        return {**static, **self.shapes}

    def unset(self) -> list[str]:
        """List the inputs without a shape."""
        return [each.name for each in self.of.network.inputs if each.name not in self.all_shapes()]


@does("ICudaEngine.create_execution_context", required=True)
def create_execution_context(engine: Any, strategy: Any = None, runtime_config: Any = None) -> Any:
    if runtime_config is not None:
        raise NotImplementedError("the fake makes no contexts from an IRuntimeConfig")
    name = "STATIC" if strategy is None else strategy.name
    context = module_of(engine).make("IExecutionContext", ContextState(engine, name))
    if name != "USER_MANAGED" and not reserve(context, engine.device_memory_size_v2):
        return fail(engine._fake_state.logger, "Requested amount of GPU memory for activations could not be allocated")
    return context


@does("IExecutionContext.engine", required=True)
def context_engine(context: Any) -> Any:
    return context._fake_state.engine


BEHAVIOURS.keeps("IExecutionContext", name="", error_recorder=None, debug_sync=False, enqueue_emits_profile=True)
does("IExecutionContext.active_optimization_profile", required=True)(lambda context: context._fake_state.profile)


@does("IExecutionContext.set_optimization_profile_async", required=True)
def set_profile(context: Any, profile_index: int, stream_handle: int) -> bool:
    """Choose a profile; the shapes of dynamic inputs are unset."""
    state: ContextState = context._fake_state
    if not 0 <= profile_index < len(state.of.profiles):
        return _refuse(context, f"Profile index {profile_index} is out of range, there are {len(state.of.profiles)}")
    if int(stream_handle) not in current().timeline.streams:
        return _refuse(context, f"0x{int(stream_handle):x} is no stream")
    state.profile = int(profile_index)
    state.shapes.clear()
    return True


@does("IExecutionContext.set_input_shape", required=True)
def set_input_shape(context: Any, name: str, shape: Any) -> bool:
    """Set an input's shape, which must be inside the profile."""
    state, sizes = context._fake_state, sizes_of(shape)
    if name not in [each.name for each in state.of.network.inputs]:
        return _refuse(context, f"Given invalid tensor name: {name}. It is no input")
    low, _, high = state.of.ranges(name, state.profile)
    inside = len(sizes) == len(low) and all(a <= size <= b for a, size, b in zip(low, sizes, high, strict=True))
    if not inside:
        return _refuse(
            context,
            f"Set dimension {list(sizes)} for tensor {name} does not satisfy any optimization profiles. "
            f"Valid range for profile {state.profile}: {list(low)}..{list(high)}.",
        )
    state.shapes[name] = sizes
    return True


@does("IExecutionContext.get_tensor_shape", required=True)
def context_tensor_shape(context: Any, name: str) -> Any:
    state: ContextState = context._fake_state
    facts = state.of.tensor(name)
    if facts is None:
        fail(state.of.logger, f"Given invalid tensor name: {name}.")
        return dims(context, ())
    return dims(context, _shape(state, facts))


def _shape(state: ContextState, facts: TensorFacts) -> tuple[int, ...]:
    """Give a tensor's shape, as far as the inputs' shapes tell it."""
    known = state.all_shapes()
    if facts.name in known or state.unset() or -1 not in facts.shape:
        return known.get(facts.name, facts.shape)
    return state.of.network.output_shapes(known)[facts.name]


does("IExecutionContext.all_binding_shapes_specified", required=True)(lambda context: not context._fake_state.unset())
BEHAVIOURS.gives("IExecutionContext", all_shape_inputs_specified=True)


@does("IExecutionContext.infer_shapes", required=True)
def infer_shapes(context: Any) -> list[str]:
    """List what has no shape yet.

    Raises:
        RuntimeError: the shapes do not fit each other.
    """
    state: ContextState = context._fake_state
    if not state.unset():
        try:
            state.of.network.output_shapes(state.all_shapes())
        except Exception as error:  # onnxruntime raises classes of its own that share no base
            raise RuntimeError(f"shape inference failed: {' '.join(str(error).split())[:200]}") from error
    return state.unset()


@does("IExecutionContext.set_tensor_address", required=True)
def set_tensor_address(context: Any, name: str, memory: int) -> bool:
    if context._fake_state.of.tensor(name) is None:
        return _refuse(context, f"Given invalid tensor name: {name}.")
    context._fake_state.addresses[name] = int(memory)
    return True


@does("IExecutionContext.get_tensor_address", required=True)
def get_tensor_address(context: Any, name: str) -> int:
    return int(context._fake_state.addresses.get(name, 0))


@does("IExecutionContext.set_device_memory", required=True)
def set_device_memory(context: Any, memory: int, size: int) -> None:
    """Take activation memory; what is not aligned or too small is refused with a logged error."""
    state: ContextState = context._fake_state
    needed = state.of.scratch_bytes(state.profile)
    if state.strategy != "USER_MANAGED":
        _refuse(context, "The context has activation memory of its own")
    elif int(memory) % ALIGNMENT or int(size) < needed:
        _refuse(context, f"Activation memory must be aligned to 256 bytes and have {needed} bytes, got {int(size)}")
    else:
        state.scratch = (int(memory), int(size))


@does("IExecutionContext.update_device_memory_size_for_shapes", required=True)
def update_device_memory_size(context: Any) -> int:
    return int(context._fake_state.of.scratch_bytes(context._fake_state.profile))


@does("IExecutionContext.execute_async_v3", required=True)
def execute(context: Any, stream_handle: int) -> bool:
    """Enqueue a run; addresses and shapes are those of now."""
    state: ContextState = context._fake_state
    stream = current().timeline.streams.get(int(stream_handle))
    if stream is None:
        return _refuse(context, f"0x{int(stream_handle):x} is no stream")
    problem = _problem(state)
    if problem:
        return _refuse(context, problem)
    key = (state.profile, tuple(sorted(state.all_shapes().items())))
    if stream.capture is not None and state.warm != key:
        stream.capture.broken = True
        return _refuse(context, "a first run with new shapes cannot be captured: run once before")
    state.warm = key
    current().counts["enqueue"] += 1
    return current().guard(current().timeline.submit, stream, _work(state))


def _problem(state: ContextState) -> str:
    """Say why a run is refused, or nothing."""
    if state.of.missing:
        return f"the engine's plan is stripped and {len(state.of.missing)} weights were not refitted"
    if state.unset():
        return f"Input shapes of {', '.join(state.unset())} are not set"
    unplaced = [each.name for each in state.of.tensors() if not state.addresses.get(each.name)]
    if unplaced:
        return f"Address is not set for tensor {unplaced[0]}"
    if state.strategy == "USER_MANAGED" and state.scratch[1] < state.of.scratch_bytes(state.profile):
        return "Activation memory was not set, or is too small for the profile"
    sizeless = [each.name for each in state.of.network.outputs if -1 in _shape(state, each)]
    return f"{sizeless[0]} has a shape that only values tell: an output allocator is needed" if sizeless else ""


def _work(state: ContextState) -> Any:
    inputs = [_place(state, each) for each in state.of.network.inputs]
    outputs = [_place(state, each) for each in state.of.network.outputs]
    scratch = (state.scratch[0], state.of.scratch_bytes(state.profile)) if state.strategy == "USER_MANAGED" else None
    return partial(_run, state.of, inputs, outputs, scratch)


def _place(state: ContextState, facts: TensorFacts) -> Place:
    return Place(facts.name, NUMPY[facts.dtype], _shape(state, facts), state.addresses[facts.name])


def _run(engine: EngineState, inputs: list[Place], outputs: list[Place], scratch: tuple[int, int] | None) -> None:
    """Read inputs, run, write outputs; the activation memory is overwritten, as by real work."""
    if scratch is not None:
        current().memory.view(*scratch, "device").fill(USED)
    results = _results(engine, {place.name: place.view() for place in inputs})
    for place in outputs:
        place.view()[...] = results[place.name]


def _results(engine: EngineState, inputs: dict[str, Any]) -> dict[str, Any]:
    try:
        return engine.network.run(inputs)
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise MemoryFaultError(f"a kernel failed: {' '.join(str(error).split())[:200]}") from error


def _refuse(context: Any, words: str) -> bool:
    return bool(fail(context._fake_state.of.logger, words, False))
