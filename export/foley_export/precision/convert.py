"""Rewrite a float32 graph in place so that every node has its chosen type."""

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from foley_export.precision.node_types import NodeTypes
from foley_export.precision.operators import FLOAT, array, is_constant, operands, results

SUFFIXES = {ir.DataType.FLOAT16: "fp16", ir.DataType.BFLOAT16: "bf16", FLOAT: "fp32"}


def convert(model: ir.Model, types: NodeTypes) -> None:
    """Give every node its type: operands are cast where the type changes on an edge, outputs take the node's.

    A value is cast once to a type, for all that read it so; a weight is stored in the type of what reads it, twice only
    where both types do. Graph inputs and outputs stay as they are.
    """
    for node, wanted in types.items():
        for value in results(node):
            value.type = ir.TensorType(wanted)
        if node.op_type == "Cast":
            node.attributes["to"] = ir.AttrInt64("to", wanted)
    _join(model.graph, types)
    RemoveUnusedNodesPass()(model)
    _rename_weights(model.graph)


def _join(graph: ir.Graph, types: NodeTypes) -> None:
    desk = _Desk(graph)
    for node, wanted in types.items():
        for place, value in operands(node) if node.op_type != "Cast" else ():
            node.replace_input_with(place, desk.typed(value, wanted))
    for place, value in enumerate(graph.outputs):
        if value.dtype in SUFFIXES and value.dtype != FLOAT:
            graph.outputs[place] = desk.output(value)


def _rename_weights(graph: ir.Graph) -> None:
    """Give weights that are stored in one type alone their own names back, by which they are known elsewhere."""
    for name, value in [*graph.initializers.items()]:
        stem, _, suffix = name.rpartition(".")
        if suffix in SUFFIXES.values() and value.dtype != FLOAT and stem not in graph.initializers:
            graph.initializers.pop(name)
            value.name = stem
            graph.register_initializer(value)


class _Desk:
    """Hands out values in another type, each made once."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._made: dict[tuple[ir.Value, ir.DataType], ir.Value] = {}

    def typed(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        """Give a value in a type: itself, a weight stored so, or a cast."""
        if value.dtype == wanted:
            return value
        key = (value, wanted)
        if key not in self._made:
            self._made[key] = self._stored(value, wanted) if is_constant(value) else self._cast(value, wanted)
        return self._made[key]

    def output(self, value: ir.Value) -> ir.Value:
        """Give a graph output in float32, under its name."""
        name = str(value.name)
        value.name = f"{name}.half"
        widened = self.typed(value, FLOAT)
        widened.name = name
        return widened

    def _stored(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        name = f"{value.name}.{SUFFIXES[wanted]}"
        with np.errstate(over="ignore"):
            numbers: NDArray[np.generic] = array(value).astype(wanted.numpy())
        tensor = ir.tensor(numbers, name=name)
        stored = ir.Value(name=name, shape=value.shape, type=ir.TensorType(wanted), const_value=tensor)
        self._graph.register_initializer(stored)
        return stored

    def _cast(self, value: ir.Value, wanted: ir.DataType) -> ir.Value:
        name = f"{value.name}/{SUFFIXES[wanted]}"
        node = ir.node("Cast", [_before_casts(value)], {"to": wanted}, name=name)
        cast = node.outputs[0]
        cast.name, cast.shape, cast.type = name, value.shape, ir.TensorType(wanted)
        producer = value.producer()
        if producer is None:
            self._graph.insert_before(self._graph[0], node)
        else:
            self._graph.insert_after(producer, node)
        return cast


def _before_casts(value: ir.Value) -> ir.Value:
    """Give the integer that a value was cast from, so that it is cast once; the value itself where there is none."""
    producer = value.producer()
    if producer is None or producer.op_type != "Cast" or producer.inputs[0] is None:
        return value
    source = producer.inputs[0]
    return value if source.dtype in SUFFIXES else source
