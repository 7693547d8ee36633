"""One traced graph, spelt for each engine by local rewrites.

The tracer leaves attention as one `com.microsoft.MultiHeadAttention` node. ONNX Runtime's CPU provider runs that node
as it is, without holding the map of scores; everything else gets standard operators.
"""

from typing import Final

import numpy as np
import onnx_ir as ir

CONTRIB: Final = "com.microsoft"
ATTENTION: Final = "MultiHeadAttention"


def attention_nodes(model: ir.Model) -> list[ir.Node]:
    """Give the attention nodes of a traced graph, in order."""
    return [node for node in model.graph if node.domain == CONTRIB and node.op_type == ATTENTION]


def to_standard_onnx(model: ir.Model) -> int:
    """Spell attention with standard operators in place; give the number of nodes that were respelt."""
    nodes = attention_nodes(model)
    for node in nodes:
        _decompose(model.graph, node)
    if not any(node.domain == CONTRIB for node in model.graph):
        model.opset_imports.pop(CONTRIB, None)
    return len(nodes)


def _decompose(graph: ir.Graph, node: ir.Node) -> None:
    """Replace softmax(scale · Q Kᵀ) V over heads, [B,L,heads·D] in and out, by the operators that say so."""
    heads = node.attributes["num_heads"].as_int()
    scale = node.attributes["scale"].as_float()
    query, key, value = node.inputs[:3]
    tape = _Tape(graph, node)
    split, merge = tape.constant("heads", [0, 0, heads, -1]), tape.constant("merged", [0, 0, -1])
    q = tape.op("Transpose", [tape.op("Reshape", [query, split])], perm=[0, 2, 1, 3])
    k = tape.op("Transpose", [tape.op("Reshape", [key, split])], perm=[0, 2, 3, 1])
    v = tape.op("Transpose", [tape.op("Reshape", [value, split])], perm=[0, 2, 1, 3])
    scaled = tape.op("Mul", [q, tape.scalar("scale", scale, query)])
    weights = tape.op("Softmax", [tape.op("MatMul", [scaled, k])], axis=-1)
    joined = tape.op("Transpose", [tape.op("MatMul", [weights, v])], perm=[0, 2, 1, 3])
    output = tape.op("Reshape", [joined, merge])
    output.shape, output.type = node.outputs[0].shape, node.outputs[0].type
    ir.convenience.replace_all_uses_with(node.outputs[0], output)
    graph.remove(node, safe=True)


class _Tape:
    """Appends nodes before another one."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph = graph
        self._before = before
        self._count = 0

    def op(self, kind: str, inputs: list[ir.Value | None], **attributes: int | list[int]) -> ir.Value:
        """Add a node with one output and give that."""
        self._count += 1
        node = ir.node(kind, inputs, attributes, name=f"{self._before.name}/{kind}_{self._count}")
        node.outputs[0].name = f"{node.name}/output"
        self._graph.insert_before(self._before, node)
        return node.outputs[0]

    def constant(self, name: str, values: list[int]) -> ir.Value:
        """Add a vector of int64."""
        return self._initializer(name, np.array(values, np.int64))

    def scalar(self, name: str, number: float, like: ir.Value | None) -> ir.Value:
        """Add a number of another value's type."""
        half = like is not None and like.dtype == ir.DataType.FLOAT16
        return self._initializer(name, np.array(number, np.float16 if half else np.float32))

    def _initializer(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
        full = f"{self._before.name}/{name}"
        tensor = ir.tensor(array, name=full)
        value = ir.Value(name=full, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.register_initializer(value)
        return value
