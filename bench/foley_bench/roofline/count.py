"""Operations and bytes of a graph, counted from its ONNX file at given sizes.

Operations are those of products (convolutions, matrix products, attention), a multiplication and an addition each, as
torch's `FlopCounterMode` counts them; all else is counted by its bytes.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from foley.errors import BundleError
from foley_export.preflight.folding import attributes_of
from foley_export.preflight.values import Value, infer, item_bytes

Shape = tuple[int, ...]
Readers = dict[str, list[tuple[onnx.NodeProto, int]]]

VIEWS: Final = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Unsqueeze"})
"""Operators that name the same bytes anew."""


@dataclass(frozen=True)
class NodeCost:
    """What one node does."""

    name: str
    operator: str
    flops: int
    """Operations of its products, two a multiply-add; 0 of what is no product."""
    moved_bytes: int
    """What it reads and writes, were nothing kept in caches or fused; 0 of views and of what is computed at load."""


@dataclass(frozen=True)
class GraphCost:
    """What one run of a graph does."""

    nodes: tuple[NodeCost, ...]
    weight_bytes: int
    """Weights as they are stored; of a table from which rows are gathered, those rows."""
    boundary_bytes: int
    """Inputs and outputs."""

    @property
    def flops(self) -> int:
        """All products' operations."""
        return sum(node.flops for node in self.nodes)

    @property
    def least_bytes(self) -> int:
        """What has to move however well the graph is fused: weights once, inputs and outputs.

        Where an engine widens half weights at load, it reads twice as many.
        """
        return self.weight_bytes + self.boundary_bytes

    @property
    def moved_bytes(self) -> int:
        """What moves where nothing is fused."""
        return sum(node.moved_bytes for node in self.nodes)


def count(model: onnx.ModelProto, sizes: Mapping[str, int]) -> GraphCost:
    """Count a graph of standard operators; `sizes` gives each symbol of its axes.

    Raises:
        BundleError: the shape of a product does not follow from the sizes, or an operator is no standard one; the node
            is named.
    """
    values = infer(model, sizes).values
    nodes = tuple(_cost(node, values) for node in model.graph.node)
    readers = _readers(model.graph)
    weights = [_weight_bytes(tensor.name, readers, values) for tensor in model.graph.initializer]
    boundary = [values[info.name].bytes for info in (*model.graph.input, *model.graph.output)]
    return GraphCost(nodes, sum(weights), sum(boundary))


def _readers(graph: onnx.GraphProto) -> Readers:
    """Give the nodes that read each tensor, and as which input."""
    found: Readers = {}
    for node in graph.node:
        for place, name in enumerate(node.input):
            found.setdefault(name, []).append((node, place))
    return found


def _weight_bytes(name: str, readers: Readers, values: Mapping[str, Value]) -> int:
    return _elements_read(name, readers, values) * item_bytes(values[name].dtype)


def _elements_read(name: str, readers: Readers, values: Mapping[str, Value]) -> int:
    """Give the elements of a stored tensor that a run needs: all, but for tables only the rows that it looks up."""
    whole = values[name].elements or 0
    parts = [_part(node, place, whole, readers, values) for node, place in readers.get(name, ())]
    return min(whole, sum(parts))


def _part(node: onnx.NodeProto, place: int, whole: int, readers: Readers, values: Mapping[str, Value]) -> int:
    if node.op_type == "Gather" and place == 0:
        return values[node.output[0]].elements or whole
    if node.op_type == "Cast":
        return _elements_read(node.output[0], readers, values)
    return whole


def _cost(node: onnx.NodeProto, values: Mapping[str, Value]) -> NodeCost:
    if node.domain not in ("", "ai.onnx") or node.op_type == "Attention":
        what = f"{node.op_type} {node.name} is of one engine's spelling"
        raise BundleError(f"{what}; count the graph of standard operators")
    moved, counter = _moved_bytes(node, values), PRODUCTS.get(node.op_type)
    if counter is None:
        return NodeCost(node.name, node.op_type, 0, moved)
    shapes = [_shape(node, name, values) for name in (*node.input[:2], node.output[0])]
    return NodeCost(node.name, node.op_type, counter(node, shapes), moved)


def _moved_bytes(node: onnx.NodeProto, values: Mapping[str, Value]) -> int:
    outputs = [values[name] for name in node.output if name in values]
    if node.op_type in VIEWS or all(value.origin != "data" for value in outputs):
        return 0
    inputs = [values[name].bytes for name in node.input if name in values]
    written = sum(value.bytes for value in outputs)
    if node.op_type == "Gather":
        inputs[0] = min(inputs[0], written)
    return sum(inputs) + written


def _shape(node: onnx.NodeProto, name: str, values: Mapping[str, Value]) -> Shape:
    shape = values[name].shape if name in values else None
    if shape is None or None in shape:
        raise BundleError(f"{node.op_type} {node.name}: the shape of {name} is not known; it cannot be counted")
    return tuple(size or 0 for size in shape)


def _convolution(_: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    """Weights are [O,I/groups,k…]: each output element is a sum over all but the first axis."""
    weights, output = shapes[1:]
    return 2 * math.prod(output) * math.prod(weights[1:])


def _transposed_convolution(_: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    """Weights are [I,O/groups,k…]: each input element goes into all but the first axis."""
    data, weights = shapes[:2]
    return 2 * math.prod(data) * math.prod(weights[1:])


def _product(_: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    left, output = shapes[0], shapes[-1]
    return 2 * math.prod(output) * left[-1]


def _general_product(node: onnx.NodeProto, shapes: Sequence[Shape]) -> int:
    left, output = shapes[0], shapes[-1]
    inner = left[0] if attributes_of(node).get("transA", 0) else left[1]
    return 2 * math.prod(output) * inner


PRODUCTS: Final[dict[str, Callable[[onnx.NodeProto, Sequence[Shape]], int]]] = {
    "Conv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _general_product,
    "MatMul": _product,
}
"""Operators that multiply matrices. Counted are graphs in which attention is spelt with two of them."""
