"""Graphs of a few nodes in ONNX's text form, before and after their conversion to half."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper, parser

import foley_engines
from foley_export.precision.lower import Lowered

HEAD = '<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>\n'
FLOAT, HALF, BFLOAT16 = ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16

Arrays = Mapping[str, np.ndarray]


def parse(text: str, weights: Arrays) -> ir.Model:
    """Read a float32 graph with its weights, types inferred."""
    built = parser.parse_model(HEAD + text)
    built.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    model = ir.from_proto(onnx.shape_inference.infer_shapes(built, check_type=True, strict_mode=False))
    for index, node in enumerate(model.graph):
        node.name = f"{node.op_type}_{index}"
        for value in node.outputs:
            value.type = value.type or ir.TensorType(FLOAT)  # the inference knows no contrib operator
    return model


@dataclass(frozen=True)
class Converted:
    """A graph after its conversion."""

    model: ir.Model
    lowered: Lowered
    folder: Path

    def node(self, kind: str, number: int = 0) -> ir.Node:
        return [node for node in self.model.graph if node.op_type == kind][number]

    def type(self, kind: str, number: int = 0) -> ir.DataType | None:
        return self.node(kind, number).outputs[0].dtype

    def count(self, kind: str) -> int:
        return sum(node.op_type == kind for node in self.model.graph)

    def run(self, **inputs: np.ndarray) -> np.ndarray:
        return run(self.model, self.folder, **inputs)


def run(model: ir.Model, folder: Path, **inputs: np.ndarray) -> np.ndarray:
    """Run a graph in ONNX Runtime and give its only output."""
    ir.save(model, folder / "graph.onnx")
    with foley_engines.open(folder / "graph.onnx", engine="cpu", threads=1) as engine:
        session = engine.bind(**{name: value.shape for name, value in inputs.items()})
        for name, value in inputs.items():
            session[name].write(value)
        session.run()
        (output,) = engine.outputs
        return session[output].read()
