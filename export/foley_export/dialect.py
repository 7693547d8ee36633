"""One traced graph, spelt for each engine by local rewrites.

The tracer leaves attention as one `com.microsoft.MultiHeadAttention` node. ONNX Runtime's CPU provider runs that node
as it is, without holding the map of scores; TensorRT from 10.14 on reads ONNX's own `Attention`; everything else gets
the standard operators that it is made of.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import onnx_ir as ir

CONTRIB: Final = "com.microsoft"
ATTENTION: Final = "MultiHeadAttention"
ATTENTION_OPSET: Final = 23
"""The first with `Attention`. What else Foley's graphs hold means in it what it means in opset 20: a test compares the
operators' definitions."""


def attention_nodes(model: ir.Model) -> list[ir.Node]:
    """Give the attention nodes of a traced graph, in order."""
    return [node for node in model.graph if node.domain == CONTRIB and node.op_type == ATTENTION]


def to_standard_onnx(model: ir.Model) -> int:
    """Spell attention with standard operators in place; give the number of nodes that were respelt."""
    nodes = attention_nodes(model)
    for node in nodes:
        _decompose(model.graph, node)
    _forget_contrib(model)
    return len(nodes)


def to_onnx_attention(model: ir.Model) -> int:
    """Spell attention as ONNX's `Attention` in place; give the number of nodes that were respelt.

    Heads are an axis of its inputs, [B,heads,L,D]: TensorRT's table of operators asks for four axes, though its
    importer also takes [B,L,heads·D]. It refuses a second output and a past; both are left out. That was read in
    NVIDIA's table and source: no TensorRT has parsed such a graph yet.
    """
    nodes = attention_nodes(model)
    for node in nodes:
        _respell(model.graph, node)
    model.opset_imports[""] = max(model.opset_imports[""], ATTENTION_OPSET)
    _forget_contrib(model)
    return len(nodes)


def _respell(graph: ir.Graph, node: ir.Node) -> None:
    """Replace a node by `Attention` on [B,heads,L,D]."""
    tape = _Tape(graph, node)
    split, merge = _split_and_merge(tape, node)
    heads = [tape.op("Transpose", [tape.op("Reshape", [value, split])], perm=[0, 2, 1, 3]) for value in node.inputs[:3]]
    attended = tape.op("Attention", heads, scale=node.attributes["scale"].as_float())
    _put_back(graph, node, tape, attended, merge)


def _split_and_merge(tape: "_Tape", node: ir.Node) -> tuple[ir.Value, ir.Value]:
    """Give the shapes that split the heads of [B,L,heads·D], and that merge them again."""
    heads = node.attributes["num_heads"].as_int()
    return tape.constant("heads", [0, 0, heads, -1]), tape.constant("merged", [0, 0, -1])


def _put_back(graph: ir.Graph, node: ir.Node, tape: "_Tape", attended: ir.Value, merge: ir.Value) -> None:
    """Let [B,heads,L,D] as [B,L,heads·D] take the place of a node."""
    joined = tape.op("Transpose", [attended], perm=[0, 2, 1, 3])
    output = tape.op("Reshape", [joined, merge])
    output.shape, output.type = node.outputs[0].shape, node.outputs[0].type
    ir.convenience.replace_all_uses_with(node.outputs[0], output)
    graph.remove(node, safe=True)


def _forget_contrib(model: ir.Model) -> None:
    if not any(node.domain == CONTRIB for node in model.graph):
        model.opset_imports.pop(CONTRIB, None)


def _decompose(graph: ir.Graph, node: ir.Node) -> None:
    """Replace softmax(scale · Q Kᵀ) V over heads, [B,L,heads·D] in and out, by the operators that say so."""
    scale = node.attributes["scale"].as_float()
    query, key, value = node.inputs[:3]
    tape = _Tape(graph, node)
    split, merge = _split_and_merge(tape, node)
    q = tape.op("Transpose", [tape.op("Reshape", [query, split])], perm=[0, 2, 1, 3])
    k = tape.op("Transpose", [tape.op("Reshape", [key, split])], perm=[0, 2, 3, 1])
    v = tape.op("Transpose", [tape.op("Reshape", [value, split])], perm=[0, 2, 1, 3])
    scaled = tape.op("Mul", [q, tape.scalar("scale", scale, query)])
    weights = tape.op("Softmax", [tape.op("MatMul", [scaled, k])], axis=-1)
    _put_back(graph, node, tape, tape.op("MatMul", [weights, v]), merge)


class _Tape:
    """Appends nodes before another one."""

    def __init__(self, graph: ir.Graph, before: ir.Node) -> None:
        self._graph = graph
        self._before = before
        self._count = 0

    def op(self, kind: str, inputs: Sequence[ir.Value | None], **attributes: float | list[int]) -> ir.Value:
        """Add a node with one output, of its first input's type, and give that."""
        self._count += 1
        node = ir.node(kind, inputs, attributes, name=f"{self._before.name}/{kind}_{self._count}")
        node.outputs[0].name = f"{node.name}/output"
        if inputs[0] is not None and inputs[0].dtype != ir.DataType.FLOAT:  # float32 is understood, and left unsaid
            node.outputs[0].type = inputs[0].type
        self._graph.insert_before(self._before, node)
        return node.outputs[0]

    def constant(self, name: str, values: list[int]) -> ir.Value:
        """Add a vector of int64."""
        return self._initializer(name, np.array(values, np.int64))

    def scalar(self, name: str, number: float, like: ir.Value | None) -> ir.Value:
        """Add a number of another value's type."""
        dtype = ir.DataType.FLOAT if like is None or like.dtype is None else like.dtype
        return self._initializer(name, np.array(number, dtype.numpy()))

    def _initializer(self, name: str, array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> ir.Value:
        full = f"{self._before.name}/{name}"
        tensor = ir.tensor(array, name=full)
        value = ir.Value(name=full, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor)
        self._graph.register_initializer(value)
        return value
