"""Operations counted from ONNX files against torch's own counter, and bytes against hand sums."""

from functools import cache
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from foley.bundle import load_bundle
from foley.demo_bundle import demo_bundle
from foley.errors import BundleError
from foley_bench.roofline.count import GraphCost, count
from foley_engines import TensorSpec
from foley_engines.profiles import sizes_in
from foley_export import demo_model
from foley_export.checkpoint import open_checkpoint
from foley_export.systems import read_model

CHECKPOINT = Path(demo_model.__file__).parent / "checkpoint"
GRAPHS = ("text_encoder", "denoise_step", "latent_decoder", "vocoder")


@cache
def demo_cost(name: str) -> GraphCost:
    """Count a graph of the demo at the sizes of its recorded inputs."""
    bundle = load_bundle(demo_bundle(), verify_files=False)
    graph, recorded = bundle.graph(name), bundle.golden(name)
    specs = {each.name: TensorSpec(each.name, each.dtype, each.shape) for each in graph.inputs}
    model = onnx.load(bundle.folder / graph.file, load_external_data=False)
    return count(model, sizes_in(specs, {name: recorded[name].shape for name in specs}))


@pytest.mark.parametrize("name", GRAPHS)
def test_operations_are_those_that_torch_counts(name: str) -> None:
    plan = next(plan for plan in read_model(open_checkpoint(str(CHECKPOINT)), ()).graphs if plan.name == name)
    module, example = plan.build(), plan.example()
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        module(*example.values())  # torch counts no attention that its CPU kernels do in one
    assert demo_cost(name).flops == pytest.approx(counter.get_total_flops(), rel=0.01)


@pytest.mark.parametrize("name", GRAPHS)
def test_weights_are_counted_once_and_nothing_moves_less_than_the_least(name: str) -> None:
    bundle = load_bundle(demo_bundle(), verify_files=False)
    cost = demo_cost(name)
    stored = (bundle.folder / bundle.graph(name).weights).stat().st_size
    assert cost.weight_bytes == pytest.approx(stored, rel=0.5)  # pages between tensors, and small ones in the graph
    assert cost.moved_bytes > cost.least_bytes > cost.boundary_bytes > 0


def product(shape: list[int | str]) -> onnx.ModelProto:
    """x [shape] @ w [4,5]."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 5], bytes(80), raw=True)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="only")],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [*shape[:-1], 5])],
        [weight],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def test_a_product_by_hand() -> None:
    cost = count(product(["B", 3, 4]), {"B": 2})
    assert cost.flops == 2 * (2 * 3 * 5) * 4
    assert cost.weight_bytes == 4 * 20
    assert cost.boundary_bytes == 4 * (2 * 3 * 4 + 2 * 3 * 5)
    assert cost.moved_bytes == cost.least_bytes


def test_a_size_that_is_not_known_is_an_error_that_names_the_node() -> None:
    with pytest.raises(BundleError, match="MatMul only: the shape of x is not known"):
        count(product(["B", 3, 4]), {})


@pytest.mark.parametrize("file", ["denoise_step.cpu.onnx", "latent_decoder.cpu.onnx"])
def test_one_engines_spelling_is_refused_and_not_counted_as_nothing(file: str) -> None:
    model = onnx.load(demo_bundle() / "graphs" / file, load_external_data=False)
    with pytest.raises(BundleError, match=r"MultiHeadAttention .*; count the graph of standard operators"):
        count(model, {"S": 1, "R": 2, "n": 8, "B": 1, "W": 32})


@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("transposed", [False, True])
def test_convolutions_by_groups(groups: int, transposed: bool) -> None:
    kind = torch.nn.ConvTranspose1d if transposed else torch.nn.Conv1d
    module = kind(4, 6, 3, stride=2, groups=groups)
    with FlopCounterMode(display=False) as counter:
        module(torch.zeros(2, 4, 11))
    length = module(torch.zeros(2, 4, 11)).shape[-1]
    graph = helper.make_graph(
        [
            helper.make_node(
                "ConvTranspose" if transposed else "Conv", ["x", "w"], ["y"], strides=[2], group=groups, name="only"
            )
        ],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 4, 11])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 6, length])],
        [
            helper.make_tensor(
                "w", TensorProto.FLOAT, list(module.weight.shape), bytes(4 * module.weight.numel()), raw=True
            )
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    assert count(model, {}).flops == counter.get_total_flops()


def looked_up(*nodes: onnx.NodeProto) -> onnx.ModelProto:
    """ids [3] → 3 rows of a table [50,8], by nodes from `table` and `ids` to `rows`."""
    table = helper.make_tensor("table", TensorProto.FLOAT16, [50, 8], bytes(800), raw=True)
    graph = helper.make_graph(
        list(nodes),
        "look up",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, [3])],
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [3, 8])],
        [table],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def cast(source: str, target: str) -> onnx.NodeProto:
    return helper.make_node("Cast", [source], [target], to=TensorProto.FLOAT)


def test_of_a_table_only_the_rows_that_are_looked_up_count() -> None:
    cost = count(looked_up(helper.make_node("Gather", ["table", "ids"], ["half"]), cast("half", "rows")), {})
    rows = 3 * 8
    assert cost.weight_bytes == 2 * rows
    assert [node.moved_bytes for node in cost.nodes] == [2 * 2 * rows + 8 * 3, (2 + 4) * rows]


def test_a_table_that_is_widened_at_load_counts_as_it_is_stored() -> None:
    cost = count(looked_up(cast("table", "wide"), helper.make_node("Gather", ["wide", "ids"], ["rows"])), {})
    rows = 3 * 8
    assert cost.weight_bytes == 2 * rows
    assert [node.moved_bytes for node in cost.nodes] == [0, 2 * 4 * rows + 8 * 3]


def test_a_table_that_is_read_otherwise_too_counts_whole() -> None:
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["half"]),
        cast("half", "some"),
        helper.make_node("ReduceSum", ["table"], ["all"], keepdims=0),
        cast("all", "sum"),
        helper.make_node("Add", ["some", "sum"], ["rows"]),
    ]
    assert count(looked_up(*nodes), {}).weight_bytes == 2 * 50 * 8


def test_views_move_nothing() -> None:
    axes = helper.make_node("Constant", [], ["axes"], value_ints=[0])
    nodes = [axes, helper.make_node("Unsqueeze", ["ids", "axes"], ["higher"])]
    rest = [helper.make_node("Gather", ["table", "higher"], ["half"]), helper.make_node("Squeeze", ["half"], ["flat"])]
    cost = count(looked_up(*nodes, *rest, cast("flat", "rows")), {})
    moved = {node.operator: node.moved_bytes for node in cost.nodes}
    assert moved == {"Constant": 0, "Unsqueeze": 0, "Gather": 2 * 2 * 24 + 24, "Squeeze": 0, "Cast": 6 * 24}
