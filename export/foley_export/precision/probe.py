"""Graphs that compute numbers about another graph's tensors while it runs."""

from collections.abc import Callable
from typing import Final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes.common import RemoveUnusedNodesPass

from foley_export.dialect import attention_nodes
from foley_export.precision.operators import FLOAT

STATISTICS: Final = "foley/statistics"
"""A probe's only output, float32 [numbers]."""
NUMBERS: Final = 3
"""Of a tensor's extent: its largest magnitude, its power, the power of its rounding error."""


def float_values(model: ir.Model) -> list[ir.Value]:
    """Give a graph's float32 inputs and all that its nodes give in float32."""
    outputs = [value for node in model.graph for value in node.outputs]
    return [value for value in (*model.graph.inputs, *outputs) if value.dtype == FLOAT]


def size_probe(model: ir.Model, names: list[str]) -> ir.Model:
    """Give a copy of a graph that counts the elements of some tensors, a number each."""
    return _probe(model, names, _Gauge.size)


def extent_probe(model: ir.Model, names: list[str], half: ir.DataType) -> ir.Model:
    """Give a copy of a graph that measures some tensors, `NUMBERS` each."""
    return _probe(model, names, lambda gauge, value: gauge.extent(value, half))


def score_probe(model: ir.Model) -> ir.Model:
    """Give a copy of a graph that finds the largest |scale·q·k| of each attention node."""
    probe = model.clone()
    gauge = _Gauge(probe.graph)
    return gauge.joined(probe, [gauge.scores(node) for node in attention_nodes(probe)])


def _probe(model: ir.Model, names: list[str], gauged: "Gauged") -> ir.Model:
    """Give a copy of a graph, no larger than needed, whose only output are numbers of some tensors, in their order."""
    probe = model.clone()
    values = {value.name: value for value in float_values(probe)}
    gauge = _Gauge(probe.graph)
    return gauge.joined(probe, [number for name in names for number in gauged(gauge, values[name])])


class _Gauge:
    """Appends nodes that measure values, each outcome a float32 [1]."""

    def __init__(self, graph: ir.Graph) -> None:
        self._graph = graph
        self._count = 0
        self._shapes: dict[str, ir.Value] = {}

    def size(self, value: ir.Value) -> list[ir.Value]:
        """Give the number of a value's elements."""
        count = self._op("Cast", [self._op("Size", [value])], to=FLOAT)
        return [self._op("Reshape", [count, self._shape("flat", [-1])])]

    def extent(self, value: ir.Value, half: ir.DataType) -> list[ir.Value]:
        """Give a value's largest magnitude, its power, and the power of its rounding error."""
        flat = self._op("Reshape", [value, self._shape("flat", [-1])])
        rounded = self._op("Cast", [self._op("Cast", [flat], to=half)], to=FLOAT)
        error = self._op("Sub", [flat, rounded])
        return [self._largest(flat), self._op("ReduceSumSquare", [flat]), self._op("ReduceSumSquare", [error])]

    def scores(self, node: ir.Node) -> ir.Value:
        """Give the largest |scale·q·k| of an attention node; the samples are short enough for the map of scores."""
        heads = self._shape(f"heads_{self._count}", [0, 0, node.attributes["num_heads"].as_int(), -1])
        q, k = (self._op("Reshape", [value, heads]) for value in node.inputs[:2])
        q, k = self._op("Transpose", [q], perm=[0, 2, 1, 3]), self._op("Transpose", [k], perm=[0, 2, 3, 1])
        product = self._op("Reshape", [self._op("MatMul", [q, k]), self._shape("flat", [-1])])
        scale = self._constant(f"scale_{self._count}", np.array([node.attributes["scale"].as_float()], np.float32))
        return self._op("Mul", [self._largest(product), scale])

    def joined(self, probe: ir.Model, numbers: list[ir.Value]) -> ir.Model:
        """Make all of them one vector, the graph's only output, and drop what it does not need."""
        output = self._op("Concat", [*numbers], axis=0)
        output.name, output.shape, output.type = STATISTICS, ir.Shape([len(numbers)]), ir.TensorType(FLOAT)
        self._graph.outputs.clear()
        self._graph.outputs.append(output)
        RemoveUnusedNodesPass()(probe)
        return probe

    def _largest(self, flat: ir.Value) -> ir.Value:
        return self._op("ReduceMax", [self._op("Abs", [flat])])

    def _op(self, kind: str, inputs: list[ir.Value | None], **attributes: int | list[int]) -> ir.Value:
        self._count += 1
        node = ir.node(kind, inputs, attributes, name=f"foley/{kind}_{self._count}")
        node.outputs[0].name = f"{node.name}/output"
        self._graph.append(node)
        return node.outputs[0]

    def _shape(self, name: str, axes: list[int]) -> ir.Value:
        if name not in self._shapes:
            self._shapes[name] = self._constant(name, np.array(axes, np.int64))
        return self._shapes[name]

    def _constant(self, name: str, numbers: NDArray[np.generic]) -> ir.Value:
        tensor = ir.tensor(numbers, name=f"foley/{name}")
        value = ir.Value(
            name=tensor.name, shape=ir.Shape(numbers.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
        )
        self._graph.register_initializer(value)
        return value


Gauged = Callable[[_Gauge, ir.Value], list[ir.Value]]
"""Appends what is measured of a value."""
