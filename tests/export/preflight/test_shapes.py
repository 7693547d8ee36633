"""Ranges, volumes, and shapes that only running could tell."""

import onnx
import pytest
from onnx import parser

from foley_engines.profiles import Sizes, fixed

MOVES = Sizes(1, 2, 4)


def plain() -> onnx.ModelProto:
    """Give a graph whose axes the test changes."""
    return parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]>\ng (float[1] x) => (float[1] y) { y = Relu (x) }'
    )


def test_every_dynamic_axis_gets_a_range(errors):
    text = "(float[S,4] x) => (float[S,4] y) { y = Relu (x) }"
    [found] = errors(text)
    assert (found.node, found.rule) == ("x", "shape")
    assert "'S' has no range" in found.message
    assert errors(text, S=MOVES) == []


def test_multiples_of_a_symbol(errors):
    model = plain()
    for info in (*model.graph.input, *model.graph.output):
        info.type.tensor_type.shape.dim[0].dim_param = "8*n"
    assert errors(model, n=MOVES) == []
    assert [found.node for found in errors(model, m=MOVES)] == ["x"]


@pytest.mark.parametrize("name", ["", "s0 // 2"])
def test_an_axis_without_a_usable_name(errors, name):
    model = plain()
    axis = model.graph.input[0].type.tensor_type.shape.dim[0]
    axis.Clear()
    axis.dim_param = name
    assert [found.node for found in errors(model)] == ["x"]


def test_an_input_without_rank(errors):
    model = plain()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    [found] = errors(model)
    assert (found.node, found.rule) == ("x", "shape")
    assert "rank" in found.message


@pytest.mark.parametrize(
    "text",
    [
        "(float[4] x) => (int64[1,N] y) { y = NonZero (x) }",
        "(float[4] x) => (float[N] y) { y = Unique (x) }",
        "(float[4] x, bool[4] c) => (float[N] y) { y = Compress (x, c) }",
    ],
)
def test_operators_whose_shape_depends_on_data(errors, text):
    assert ("node y", "shape") in {(found.node, found.rule) for found in errors(text)}


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("Reshape (x, s)", "shape"),
        ("Expand (x, s)", "shape"),
        ("Slice (x, s, s)", "starts"),
        ("Tile (x, s)", "repeats"),
        ("Pad (x, p)", "pads"),
        ("Resize (x, , , s)", "sizes"),
    ],
)
def test_shapes_from_data(errors, operation, words):
    bad = f"(float[2,2] x, int64[2] s, int64[4] p) => (float[A,B] y) {{ y = {operation} }}"
    assert [(found.node, found.rule) for found in errors(bad) if words in found.message] == [("node y", "shape")]
    good = f"(float[2,2] x) => (float[A,B] y) <int64[2] s = {{2, 2}}, int64[4] p = {{0,0,1,1}}> {{ y = {operation} }}"
    assert errors(good) == []


def test_shapes_worked_out_from_shapes(errors):
    text = """(float[S,6] x) => (float[A,2,3] y) <int64[1] zero = {0}, int64[2] two = {2, 3}> {
        shape = Shape (x) rows = Gather (shape, zero) whole = Concat <axis = 0> (rows, two) y = Reshape (x, whole)
    }"""
    assert errors(text, S=MOVES) == []


def test_shapes_that_do_not_fit_at_the_least_sizes(errors):
    text = "(float[S] x) => (float[2,N] y) <int64[2] s = {2, -1}> { y = Reshape (x, s) }"
    [found] = errors(text, S=Sizes(3, 4, 4))
    assert (found.node, found.operator, found.rule) == ("node y", "Reshape", "shape")
    assert errors(text, S=fixed(4)) == []


def test_more_than_eight_axes(errors):
    text = """(float[1,1,1,1,1,1,1,1] x) => (float[N] y) <int64[1] a = {0}, int64[1] f = {-1}> {
        z = Unsqueeze (x, a) y = Reshape (@, f)
    }"""
    [found] = errors(text.replace("@", "z"))
    assert (found.node, found.operator) == ("z", "Unsqueeze")
    assert "9 axes" in found.message


def test_volumes_at_a_convolution(errors):
    text = "(float[B,1,65536] x, float[1,1,1] w) => (float[B,1,65536] y) { y = Conv <kernel_shape = [1]> (x, w) }"
    assert {(found.node, found.operator) for found in errors(text, B=fixed(32768))} == {("x", ""), ("y", "Conv")}
    assert errors(text, B=fixed(32767)) == []


def test_volumes_elsewhere_are_not_known(findings):
    text = "(float[B,65536] x) => (float[B,65536] y) { y = Relu (x) }"
    large = [found.severity for found in findings(text, B=fixed(32768)) if "2^31" in found.message]
    assert large == ["warning", "warning"]
