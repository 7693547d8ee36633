"""What two checkpoints of one model have in common, and what makes another graph."""

from collections.abc import Callable

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from foley.bundle import load_bundle
from foley_export.checkpoint import open_checkpoint
from foley_export.export import Options, export
from foley_export.structure import structure_digest


def graph(
    weight: float = 1.0,
    scale: float = 0.5,
    axes: int = 1,
    pads: tuple[int, int] = (1, 1),
    name: str = "unet.conv.weight",
) -> ir.Model:
    tensors = {
        name: np.full((2, 2, 3), weight, np.float32),
        "unet.conv.bias": np.full(2, weight, np.float32),
        "val_3": np.full((), scale, np.float32),
        "axes": np.array([axes], np.int64),
    }
    nodes = [
        helper.make_node("Conv", ["x", name, "unet.conv.bias"], ["convolved"], name="conv", pads=pads),
        helper.make_node("Mul", ["convolved", "val_3"], ["scaled"], name="scale"),
        helper.make_node("ReduceSum", ["scaled", "axes"], ["y"], name="sum"),
    ]
    return ir.serde.deserialize_model(
        helper.make_model(
            helper.make_graph(
                nodes,
                "g",
                [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["B", 2, 8])],
                [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                [numpy_helper.from_array(array, key) for key, array in tensors.items()],
            ),
            opset_imports=[helper.make_opsetid("", 20)],
        )
    )


def test_weights_are_no_part_of_it():
    assert structure_digest(graph(weight=1.0)) == structure_digest(graph(weight=2.0))


@pytest.mark.parametrize(
    "other",
    [{"scale": 0.25}, {"axes": 2}, {"pads": (0, 2)}, {"name": "unet.other.weight"}],
    ids=["a constant", "a shape's number", "an attribute", "a name"],
)
def test_what_makes_another_graph(other: dict[str, object]):
    assert structure_digest(graph()) != structure_digest(graph(**other))  # type: ignore[arg-type]


def retyped(model: ir.Model) -> None:
    value = model.graph.initializers["unet.conv.bias"]
    value.const_value = ir.tensor(value.const_value.numpy().astype(np.float16), name=value.name)
    value.dtype = ir.DataType.FLOAT16


def widened(model: ir.Model) -> None:
    model.graph.inputs[0].shape = ir.Shape(["B", 2, "N"])


def raised(model: ir.Model) -> None:
    model.opset_imports[""] = 23


@pytest.mark.parametrize("change", [retyped, widened, raised])
def test_types_shapes_and_opsets_are_part_of_it(change: Callable[[ir.Model], None]):
    changed = graph()
    change(changed)
    assert structure_digest(changed) != structure_digest(graph())


def test_where_weights_lie_is_no_part_of_it(tmp_path):
    """Equal tensors share a place in the weights file, so that places depend on values."""
    for name in ("one", "other"):
        onnx.save_model(
            ir.serde.serialize_model(graph()), tmp_path / f"{name}.onnx", save_as_external_data=True,
            location=f"{name}.weights", size_threshold=0,
        )  # fmt: skip
    loaded = [ir.load(tmp_path / f"{name}.onnx") for name in ("one", "other")]
    assert len({structure_digest(model) for model in (*loaded, graph())}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_the_next_checkpoint_of_a_model_has_its_structure(checkpoint, bundles, tmp_path, precision):
    """Other weights, inline and in the file, equal ones in other places: what a refit rests on."""
    first = load_bundle(bundles.bundle("no-adapter", precision)).manifest
    other = export(open_checkpoint(str(checkpoint(layout="no-adapter", seed=7))), tmp_path / "b", Options(precision))
    assert {name: graph.structures for name, graph in first.graphs.items()} == {
        name: graph.structures for name, graph in other.graphs.items()
    }
    assert all(set(graph.structures) == {graph.file, *graph.engines.values()} for graph in other.graphs.values())
    assert first.files["graphs/denoise_step.onnx"].sha256 != other.files["graphs/denoise_step.onnx"].sha256
