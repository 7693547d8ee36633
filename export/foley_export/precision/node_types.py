"""What each node computes in, and what it hands on."""

import onnx_ir as ir

from foley_export.precision.operators import (
    FLOAT,
    HALF_TYPES,
    HalfPrecision,
    computes,
    is_constant,
    operands,
    typed_nodes,
)

NodeTypes = dict[ir.Node, ir.DataType]


def node_types(graph: ir.Graph, float32: set[ir.Node], precision: HalfPrecision) -> NodeTypes:
    """Choose every typed node's type: float32 where it must be, half elsewhere; what computes nothing follows."""
    half = HALF_TYPES[precision]
    types: NodeTypes = {}
    for node in typed_nodes(graph):
        wanted = half if computes(node) else _followed(node, types, half)
        types[node] = FLOAT if node in float32 else wanted
    return types


def _followed(node: ir.Node, types: NodeTypes, half: ir.DataType) -> ir.DataType:
    """Give half where all that comes in is half or constant: a float32 operand may hold what half does not."""
    moved = [value for _, value in operands(node) if not is_constant(value)]
    return half if all(_type_of(value, types) == half for value in moved) else FLOAT


def _type_of(value: ir.Value, types: NodeTypes) -> ir.DataType:
    producer = value.producer()
    return FLOAT if producer is None else types.get(producer, FLOAT)


def counted(types: NodeTypes) -> list[ir.Node]:
    """Give the nodes that compute, in order."""
    return [node for node in types if computes(node)]
