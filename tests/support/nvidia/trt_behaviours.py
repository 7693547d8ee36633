"""Where what TensorRT's members do is registered, and what all of it needs."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from support.nvidia.behaviours import Behaviours
from support.nvidia.pybind import FakeModule, module_of, tell
from support.nvidia.surface import TENSORRT, load

BEHAVIOURS = Behaviours(tuple(load(f"tensorrt-{version}") for version in TENSORRT))
NUMPY = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(np.uint16),  # numpy has none
    "INT8": np.dtype(np.int8),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "FP8": np.dtype(np.uint8),
}


def dims(owner: Any, sizes: Iterable[int]) -> Any:
    """Make a Dims of the module that an object, or the module itself, is of."""
    return _module(owner).make("Dims", [int(size) for size in sizes])


def sizes_of(value: Any) -> tuple[int, ...]:
    """Read the sizes of a Dims, list or tuple."""
    return tuple(value._fake_state) if hasattr(value, "_fake_state") else tuple(int(each) for each in value)


def names_in(module: FakeModule, owner: str, flags: int) -> tuple[str, ...]:
    """Name the members whose bits are set."""
    return tuple(name for name, member in module._classes[owner]._members.items() if flags >> int(member) & 1)


def fail(logger: Any, words: str, result: Any = None) -> Any:
    """Log an error and give what the member gives then."""
    tell(logger, "ERROR", words)
    return result


def _module(owner: Any) -> FakeModule:
    return owner if isinstance(owner, FakeModule) else module_of(owner)
