"""A fake `tensorrt`: the recorded surface's names, over the machine; plans hold ONNX graphs that run on the CPU."""

from types import ModuleType

from support.nvidia import (
    trt_build,
    trt_context,
    trt_engine,
    trt_network,
    trt_parser,
    trt_refit,
    trt_serialization,
    trt_timing,
    trt_types,
)
from support.nvidia.pybind import FakeModule
from support.nvidia.surface import TENSORRT, load
from support.nvidia.trt_behaviours import BEHAVIOURS

VERSIONS = TENSORRT
PARTS = (
    *(trt_types, trt_network, trt_parser, trt_timing, trt_build),
    *(trt_engine, trt_serialization, trt_context, trt_refit),
)
"""The modules whose import registers what members do."""


def fake(version: str) -> ModuleType:
    """Make a module with the names of `tensorrt`; version is 10.3, 10.16 or 11.4.

    What the release lacks raises AttributeError, arguments that no overload takes TypeError, and a member that the
    release has and the fake does not do NotImplementedError.
    """
    module = FakeModule("tensorrt", load(f"tensorrt-{version}"), BEHAVIOURS)
    trt_types.finish_dims(module)
    return module


def touched(module: ModuleType) -> set[str]:
    """Give every member that was used: `BuilderFlag.REFIT`, `ICudaEngine.create_execution_context(strategy)`."""
    if not isinstance(module, FakeModule):
        raise TypeError(f"{module!r} is no fake of tensorrt")
    return set(module._touches)
