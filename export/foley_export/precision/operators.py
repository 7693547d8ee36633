"""What the conversion knows of operators: which compute, which only move values, which operands have their own type.

Rules go by operator and by where values flow, never by name: the tracer's names change from release to release.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

HalfPrecision = Literal["fp16", "bf16"]
FLOAT: Final = ir.DataType.FLOAT
HALF_TYPES: Final[dict[HalfPrecision, ir.DataType]] = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
FLOATING: Final = frozenset({FLOAT, *HALF_TYPES.values()})
LARGEST: Final[dict[HalfPrecision, float]] = {"fp16": 65504.0, "bf16": 2.0**128 - 2.0**120}
"""The largest finite number; bfloat16 has the exponent of float32, so nearly its range."""

FOLLOWERS: Final = frozenset(
    {
        "Concat", "Expand", "Flatten", "Gather", "GatherElements", "GatherND", "Identity", "IsInf", "IsNaN", "Pad",
        "Reshape", "Slice", "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze", "Where",
    }
)  # fmt: skip
"""They compute nothing, so they take the type of what they are given."""
UNTYPED: Final = frozenset({"Shape", "Size"})
"""They read no values: any type will do, and none is cast for them."""
OWN_TYPE: Final[dict[str, tuple[int, ...]]] = {"Resize": (1, 2)}
"""Operator → floating inputs that stay float32 beside half ones: the region and the scales."""
LOOKUPS: Final = frozenset({"Gather", "GatherElements", "GatherND"})
LAYERS: Final = LOOKUPS | {"Conv", "ConvTranspose", "Gemm", "MatMul"}
"""With a constant among their operands: where a network keeps its weights (lookups: an embedding)."""


def is_constant(value: ir.Value) -> bool:
    """Say whether a value is an initializer."""
    return bool(value.is_initializer()) and value.const_value is not None


def operands(node: ir.Node) -> list[tuple[int, ir.Value]]:
    """Give a node's floating inputs that share the node's type, with their places."""
    own = OWN_TYPE.get(node.op_type, ()) if node.domain == "" else ()
    inputs = enumerate(node.inputs)
    return [(place, value) for place, value in inputs if value is not None and _shares(value, place, own)]


def _shares(value: ir.Value, place: int, own: tuple[int, ...]) -> bool:
    return value.dtype in FLOATING and place not in own


def results(node: ir.Node) -> list[ir.Value]:
    """Give a node's floating outputs."""
    return [value for value in node.outputs if value.dtype in FLOATING]


def typed_nodes(graph: ir.Graph) -> list[ir.Node]:
    """Give the nodes whose type is to be chosen: with floating operands, or a cast to a floating type.

    What makes floats of nothing (ConstantOfShape, RandomNormal) stays float32, as does what reads no values (Shape).
    """
    return [node for node in graph if _is_typed(node)]


def _is_typed(node: ir.Node) -> bool:
    if node.op_type == "Cast":
        return bool(results(node))
    return node.op_type not in UNTYPED and bool(operands(node))


def computes(node: ir.Node) -> bool:
    """Say whether a typed node computes, or gives weights: an embedding's rows count, a moved activation does not."""
    return node.op_type not in FOLLOWERS or is_layer(node)


def moves_weights(node: ir.Node) -> bool:
    """Say whether a node hands constants on as they are."""
    return node.op_type in FOLLOWERS and all(_is_weight(moved) for _, moved in operands(node))


def is_layer(node: ir.Node) -> bool:
    """Say whether a node holds weights of the network."""
    return node.op_type in LAYERS and any(_is_weight(value) for _, value in operands(node))


def _is_weight(value: ir.Value) -> bool:
    """Say whether a value is a constant, or one that was only moved."""
    producer = value.producer()
    if producer is None:
        return is_constant(value)
    return moves_weights(producer)


def consumers(value: ir.Value) -> list[ir.Node]:
    """Give the nodes that read a value's numbers, each once."""
    return [node for node in dict.fromkeys(use.node for use in value.uses()) if node.op_type not in UNTYPED]


def following(node: ir.Node) -> Iterator[ir.Node]:
    """Give the nodes that read a node's floating outputs."""
    for value in results(node):
        yield from consumers(value)


def producers(node: ir.Node) -> Iterator[ir.Node]:
    """Give the nodes that a node's floating operands come from."""
    for _, value in operands(node):
        producer = value.producer()
        if producer is not None:
            yield producer


def array(value: ir.Value) -> NDArray[np.generic]:
    """Give an initializer's numbers."""
    if value.const_value is None:
        raise ValueError(f"{value.name} is no initializer")
    return value.const_value.numpy()


def reach(seeds: Iterable[ir.Node], onward: Callable[[ir.Node], Iterable[ir.Node]]) -> set[ir.Node]:
    """Give the seeds and every node that `onward` leads to from them."""
    found: set[ir.Node] = set()
    waiting = [*seeds]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting.extend(onward(node))
    return found
