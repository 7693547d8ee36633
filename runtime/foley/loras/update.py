"""A matrix with LoRAs: W' = W + Σ scale · alpha/r · up·down, in float32, rounded once to the type that is stored.

Nothing is ever subtracted again: a matrix with other LoRAs is computed from the bundle's own W.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foley.errors import UsageError
from foley.parameters import Parameter

ITEM_BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2}
BFLOAT16_INFINITY: Final = 0x7F80


@dataclass(frozen=True, eq=False)
class Update:
    """What one LoRA adds to one matrix."""

    down: NDArray[np.float32]
    """[r,in], of a convolution [r,in,kh,kw]."""
    up: NDArray[np.float32]
    """[out,r], of a convolution [out,r,1,1]."""
    factor: float
    """scale · alpha/r."""
    file: object
    """Named in messages."""

    def matrix(self) -> NDArray[np.float32]:
        """Multiply out: float32 [out, in·kh·kw]."""
        rank = len(self.down)
        product: NDArray[np.float32] = self.up.reshape(-1, rank) @ self.down.reshape(rank, -1)
        return np.float32(self.factor) * product


def byte_count(parameter: Parameter) -> int:
    """Give the length of a stored matrix in bytes."""
    return math.prod(parameter.shape) * ITEM_BYTES[parameter.dtype]


def check_fit(module: str, parameter: Parameter, update: Update) -> None:
    """Compare an update's shapes with the matrix's.

    Raises:
        UsageError: they do not fit; the message names the module, what was got and what was expected.
    """
    out, *inner = parameter.shape[::-1] if parameter.transposed else parameter.shape
    down, up = update.down.shape, update.up.shape
    rank = down[0] if down else 0
    if rank and _plain(down) == _plain((rank, *inner)) and _plain(up) == (out, rank):
        return
    raise UsageError(
        f"LoRA {update.file} does not fit {module}: down is {list(down)} and up {list(up)}, expected {[rank, *inner]} "
        f"and {[out, rank]}; it was trained for another model"
    )


def _plain(shape: Sequence[int]) -> tuple[int, ...]:
    """Give a 1×1 convolution the shape of the linear layer that it is."""
    return tuple(shape[:2]) if tuple(shape[2:]) == (1, 1) else tuple(shape)


def updated(module: str, parameter: Parameter, stored: bytes, updates: Sequence[Update]) -> bytes:
    """Add updates that fit to a stored matrix.

    Raises:
        UsageError: the sum is beyond the range of the stored type; the message names the module.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        added = sum((update.matrix() for update in updates[1:]), start=updates[0].matrix())
        total = _widened(stored, parameter.dtype) + (added.T if parameter.transposed else added).reshape(-1)
        content, finite = _narrowed(total, parameter.dtype)
    if not finite:
        largest = float(np.abs(total).max())
        raise UsageError(
            f"{module} with {', '.join(str(update.file) for update in updates)} holds {largest:g}, beyond the range of "
            f"{parameter.dtype}, in which the bundle stores it; lower the scale"
        )
    return content


def _widened(stored: bytes, dtype: str) -> NDArray[np.float32]:
    if dtype == "bfloat16":
        return (np.frombuffer(stored, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(stored, "<f4" if dtype == "float32" else "<f2").astype(np.float32)


def _narrowed(values: NDArray[np.float32], dtype: str) -> tuple[bytes, bool]:
    """Round to nearest, ties to even; give the bytes, and whether all values are finite."""
    if dtype == "bfloat16":
        bits = values.view(np.uint32)
        halves = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
        return halves.tobytes(), bool((halves & BFLOAT16_INFINITY != BFLOAT16_INFINITY).all())
    narrow = values.astype("<f4" if dtype == "float32" else "<f2")
    return narrow.tobytes(), bool(np.isfinite(narrow).all())
