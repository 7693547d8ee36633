"""Weights stored in half precision and widened by the graph itself: half the size on disk, float32 arithmetic.

A float16 initializer stands behind a `Cast` to float32. Engines fold the casts when they load a graph, so that a step
costs what it costs with weights stored in float32.
"""

from typing import Final

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from foley.errors import CheckpointError

LEAST_ELEMENTS: Final = 256
"""Smaller tensors save nothing worth a node, and stay float32."""
STORED_IN_HALF: Final = ".half"
"""What follows a weight's name where its half initializer stands behind a cast."""


def round_to_half(component: str, module: nn.Module) -> None:
    """Round a float32 module's large weights to the nearest half numbers in place; they stay float32 tensors.

    Raises:
        CheckpointError: a weight is beyond half range (±65504); the message names the tensor.
    """
    for name, weight in module.named_parameters():
        if weight.dtype == torch.float32 and weight.numel() >= LEAST_ELEMENTS:
            weight.data = _rounded(f"{component}: {name}", weight.detach())


def _rounded(name: str, weight: Tensor) -> Tensor:
    half = weight.half()
    if half.isinf().any():
        largest = float(weight.abs().max())
        raise CheckpointError(f"{name} holds {largest:g}, beyond half range (65504); export without --weights fp16")
    return half.float()


def narrow(model: ir.Model) -> int:
    """Store a graph's large float32 initializers as float16 behind casts, wherever that changes no value.

    Masks and tables that the tracer made of no weight may not be half numbers; they stay as they are. Gives the number
    of initializers stored in half.
    """
    casts = [
        _widened(model.graph, value, half)
        for value in [*model.graph.initializers.values()]
        if (half := _exact_half(value)) is not None
    ]
    model.graph.insert_before(model.graph[0], casts)
    return len(casts)


def _exact_half(value: ir.Value) -> NDArray[np.float16] | None:
    """Give an initializer's values as float16 [same shape]; None where it is small, no float32, or would change."""
    tensor = value.const_value
    if tensor is None or tensor.dtype != ir.DataType.FLOAT or tensor.size < LEAST_ELEMENTS:
        return None
    wide = tensor.numpy()
    with np.errstate(over="ignore"):
        half = wide.astype(np.float16)
    return half if np.array_equal(half.astype(np.float32), wide) else None


def _widened(graph: ir.Graph, value: ir.Value, half: NDArray[np.float16]) -> ir.Node:
    """Put a float16 initializer and a cast, not yet in the graph, in an initializer's place; give the cast."""
    name = str(value.name)
    tensor = ir.tensor(half, name=f"{name}{STORED_IN_HALF}")
    stored = ir.Value(
        name=tensor.name, shape=ir.Shape(half.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    cast = ir.node("Cast", [stored], {"to": ir.DataType.FLOAT}, name=f"{name}/widen")
    cast.outputs[0].shape, cast.outputs[0].type = stored.shape, value.type
    ir.convenience.replace_all_uses_with(value, cast.outputs[0])
    graph.initializers.pop(name)
    graph.register_initializer(stored)
    cast.outputs[0].name = name
    return cast
