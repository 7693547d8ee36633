"""A small graph for the tests of engines: two types, an axis that is a multiple, outputs that can be fed back."""

from pathlib import Path

import numpy as np
import onnx

from foley_engines import GraphFile, Session, Spelling, TensorSpec
from support.mini_bundle import save_graph

GRAPH = """
sum (float[B,4] x, float[B,4] y, int64[B] order) => (float[B,4] next_x, float[N] flat, int64[B] again) {
    scaled = Mul (y, weight)
    added = Add (x, scaled)
    next_x = Gather (added, order)
    one_axis = Constant <value_ints = [-1]> ()
    flat = Reshape (added, one_axis)
    again = Add (order, order)
}"""
WEIGHT = np.array([1, 2, 3, 4], np.float32)
X, Y = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones((2, 4), np.float32)
SWAP = np.array([1, 0], np.int64)
SHAPES = {"x": (2, 4), "y": (2, 4), "order": (2,)}
SUM = (X + WEIGHT).ravel()
"""What `flat` is."""
TENSORS = (
    (TensorSpec("x", "float32", ("B", 4)), TensorSpec("y", "float32", ("B", 4)), TensorSpec("order", "int64", ("B",))),
    (
        TensorSpec("next_x", "float32", ("B", 4)),
        TensorSpec("flat", "float32", ("4*B",)),
        TensorSpec("again", "int64", ("B",)),
    ),
)


def write_sum_graph(folder: Path, weight: np.ndarray = WEIGHT) -> Path:
    """Write the graph and its weights below a bundle's folder `graphs`; gives the graph's file."""
    file = folder / "graphs" / "sum.onnx"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.with_suffix(".weights").unlink(missing_ok=True)  # onnx would append
    save_graph(GRAPH, {"weight": weight}, file)
    model = onnx.load(file, load_external_data=False)
    model.graph.output[1].type.tensor_type.shape.dim[0].dim_param = "4*B"
    file.write_bytes(model.SerializeToString())
    return file


def sum_graph(file: Path, **more: object) -> GraphFile:
    """Describe the graph to engines."""
    return GraphFile("sum", Spelling(file), weights=file.with_suffix(".weights"), tensors=TENSORS, **more)  # type: ignore[arg-type]


def write_inputs(session: Session, x: np.ndarray = X, y: np.ndarray = Y) -> None:
    """Write the usual inputs."""
    for name, value in (("x", x), ("y", y), ("order", SWAP)):
        session[name].write(value)
