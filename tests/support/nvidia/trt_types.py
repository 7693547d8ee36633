"""Small types of the fake TensorRT: Dims, Weights, DataType, loggers, host memory, callbacks, module functions."""

import ctypes
import math
import sys
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np

from support.nvidia.pybind import FakeModule, FakeType, begin, module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, NUMPY, dims

does = BEHAVIOURS.does
CONTEXT_MANAGERS = (
    *("ILogger", "ICudaEngine", "IExecutionContext", "Runtime", "IHostMemory", "Builder", "INetworkDefinition"),
    *("OnnxParser", "IBuilderConfig"),
)
DEPRECATED = "Context managers for TensorRT types are deprecated."
ITEM_SIZES = {"FP8": 1, "INT4": 0.5, "FP4": 0.5, "E8M0": 1}


# Dims


@does("Dims.__init__", required=True)
def make_dims(instance: Any, shape: Iterable[int] = ()) -> None:
    object.__setattr__(instance, "_fake_state", [int(size) for size in shape])


@does("Dims.__len__", required=True)
def dims_length(instance: Any) -> int:
    return len(instance._fake_state)


@does("Dims.__getitem__", required=True)
def dims_item(instance: Any, arg0: Any) -> Any:
    found = instance._fake_state[arg0]
    return dims(instance, found) if isinstance(arg0, slice) else found


@does("Dims.__setitem__", required=True)
def set_dims_item(instance: Any, arg0: Any, arg1: Any) -> None:
    instance._fake_state[arg0] = arg1


def dims_equal(self: Any, other: object) -> bool:
    """Compare with a list or a tuple; two Dims cannot be compared."""
    if not isinstance(other, list | tuple):
        raise TypeError("__eq__(): incompatible function arguments: a list or a tuple is supported")
    return tuple(self._fake_state) == tuple(other)


def finish_dims(module: FakeModule) -> None:
    """Give Dims what pybind's docstrings do not tell: comparison, no hash, words."""
    made = module._classes["Dims"]
    for name, value in (
        ("__eq__", dims_equal),
        ("__hash__", None),
        ("__repr__", lambda it: str(tuple(it._fake_state))),
    ):
        type.__setattr__(made, name, value)


# Weights and types


@does("Weights.__init__", required=True)
def make_weights(instance: Any, a: Any = None, type: Any = None, ptr: int = 0, count: int = 0) -> None:  # noqa: A002
    if a is None:
        a = _pointed_at(type, ptr, count)
    if np.asarray(a).dtype not in (np.float32, np.float16, np.int8, np.int32, np.int64, np.bool_, np.uint8):
        raise ValueError("[TRT] [E] Could not implicitly convert NumPy data type to TensorRT.")
    object.__setattr__(instance, "_fake_state", np.asarray(a).ravel())


def _pointed_at(type_: Any, ptr: int, count: int) -> Any:
    dtype = NUMPY[type_.name] if type_ is not None else np.dtype(np.float32)
    return (
        np.frombuffer((ctypes.c_ubyte * (count * dtype.itemsize)).from_address(ptr), dtype)
        if count
        else np.zeros(0, dtype)
    )


@does("Weights.numpy", required=True)
def weights_array(instance: Any) -> Any:
    return instance._fake_state


@does("Weights.__len__", required=True)
@does("Weights.size", required=True)
def weights_size(instance: Any) -> int:
    return int(instance._fake_state.size)


@does("Weights.nbytes", required=True)
def weights_bytes(instance: Any) -> int:
    return int(instance._fake_state.nbytes)


@does("Weights.dtype", required=True)
def weights_type(instance: Any) -> Any:
    name = next(name for name, dtype in NUMPY.items() if dtype == instance._fake_state.dtype)
    return module_of(instance).enum("DataType", name)


@does("DataType.itemsize", required=True)
def item_size(instance: Any) -> float:
    return ITEM_SIZES.get(instance.name) or NUMPY[instance.name].itemsize


@does("nptype", required=True)
def nptype(_: FakeModule, trt_type: Any) -> Any:
    if trt_type.name in ("BF16", "FP8", "INT4", "FP4", "E8M0"):
        raise TypeError("Could not resolve TensorRT datatype to an equivalent numpy datatype.")
    return NUMPY[trt_type.name].type


@does("volume", required=True)
def volume(_: FakeModule, iterable: Iterable[int]) -> int:
    return math.prod(iterable)


@does("init_libnvinfer_plugins", required=True)
def init_plugins(_: FakeModule, logger: Any, namespace: str) -> bool:
    return True


# Loggers and other callbacks


@does("ILogger.__init__", required=True)
@does("IProgressMonitor.__init__", required=True)
@does("IErrorRecorder.__init__", required=True)
@does("IGpuAllocator.__init__", required=True)
@does("IOutputAllocator.__init__", required=True)
@does("IStreamReader.__init__")
@does("IStreamReaderV2.__init__")
@does("IStreamWriter.__init__")
@does("IDebugListener.__init__")
@does("IProfiler.__init__", required=True)
def make_callback(instance: Any) -> None:
    begin(instance, None)


@does("Logger.__init__", required=True)
def make_logger(instance: Any, min_severity: Any = None) -> None:
    instance._fake_kept["min_severity"] = min_severity or module_of(instance).enum("ILogger.Severity", "WARNING")


BEHAVIOURS.keeps("Logger", min_severity=None)


@does("Logger.log", required=True)
def log(instance: Any, severity: Any, msg: str) -> None:
    if int(severity) <= int(instance._fake_kept["min_severity"]):
        print(f"[TRT] [{severity.name[0]}] {msg}", file=sys.stderr)  # noqa: T201


def enter(instance: Any) -> Any:
    """Warn, as the real ones do."""
    warnings.warn(DEPRECATED, DeprecationWarning, stacklevel=4)
    return instance


def leave(instance: Any, exc_type: Any, exc_value: Any, traceback: Any) -> None:
    """Do nothing."""


for owner in CONTEXT_MANAGERS:
    does(f"{owner}.__enter__", required=True)(enter)
    does(f"{owner}.__exit__", required=True)(leave)


# Host memory


class BufferType(type(ctypes.c_ubyte * 1), FakeType):  # type: ignore[misc]
    """The type of host memory: bytes that only the buffer protocol gives."""


def host_memory(owner: Any, content: bytes) -> Any:
    """Make an IHostMemory: not indexed, without a length, with the buffer protocol."""
    module = module_of(owner)
    base = module._classes["IHostMemory"]
    hidden = dict.fromkeys(("__len__", "__getitem__", "__setitem__", "__delitem__", "__iter__"))
    array = ctypes.c_ubyte * len(content)
    made = BufferType("IHostMemory", (base, array), {**hidden, "_surface": base._surface, "_module": module})
    instance = array.__new__(made)
    begin(instance, None)
    ctypes.memmove(ctypes.addressof(instance), content, len(content))
    return instance


@does("IHostMemory.nbytes", required=True)
def host_memory_bytes(instance: Any) -> int:
    return ctypes.sizeof(instance)


@does("IHostMemory.dtype", required=True)
def host_memory_type(instance: Any) -> Any:
    return module_of(instance).enum("DataType", "INT8")
