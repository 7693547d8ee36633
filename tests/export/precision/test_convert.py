"""The rewrite: casts stand where the type changes and nowhere else, weights have the type of what reads them."""

import numpy as np
import onnx_ir as ir
import pytest
from support.typed_graphs import FLOAT, HALF, parse, run

from foley.errors import CheckpointError
from foley_export.precision.check import MixedTypesError, check_types
from foley_export.precision.lower import lower

RNG = np.random.default_rng(5)
X = RNG.standard_normal((2, 8)).astype(np.float32)
W = RNG.standard_normal((8, 8)).astype(np.float32)


def test_a_value_is_cast_once_for_all_that_read_it(convert):
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        q = MatMul (x, w)
        k = MatMul (x, v)
        s = Add (q, k)
        y = MatMul (s, w)
    }"""
    done = convert(text, {"w": W, "v": W.T.copy()}, {"x": X})
    assert done.count("Cast") == 2
    assert done.model.graph.inputs[0].dtype == FLOAT
    assert done.model.graph.outputs[0].dtype == FLOAT
    assert done.model.graph.outputs[0].name == "y"


def test_a_residual_around_a_normalisation(convert):
    """The stream stays half: it is widened for the norm alone, and the norm's outcome narrowed once."""
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        n = LayerNormalization (h, s)
        q = MatMul (n, w)
        k = MatMul (n, v)
        m = Mul (q, k)
        r = Add (h, m)
        y = MatMul (r, w)
    }"""
    done = convert(text, {"w": W, "v": W.T.copy(), "s": W[0]}, {"x": X})
    assert done.type("Add") == HALF
    assert done.count("Cast") == 4
    casts = [node for node in done.model.graph if node.op_type == "Cast"]
    assert not [cast for cast in casts if cast.inputs[0].producer() in casts]


def test_a_weight_of_half_and_float32_nodes_is_stored_in_both(convert):
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        m = Mul (h, s)
        n = LayerNormalization (m, s)
        y = MatMul (n, w)
    }"""
    done = convert(text, {"w": W, "s": W[0]}, {"x": X})
    assert {name: value.dtype for name, value in done.model.graph.initializers.items()} == {
        "w": HALF,
        "s": FLOAT,
        "s.fp16": HALF,
    }
    stored = done.model.graph.initializers["w"].const_value.numpy()
    np.testing.assert_array_equal(stored, W.astype(np.float16))


def test_constants_are_weights(convert):
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        half = Constant <value = float {0.5}> ()
        third = Constant <value_float = 0.25> ()
        two = Constant <value_floats = [2.0]> ()
        a = Mul (h, half)
        b = Mul (a, third)
        c = Mul (b, two)
        y = MatMul (c, w)
    }"""
    done = convert(text, {"w": W}, {"x": X})
    assert done.count("Constant") == 0
    assert {value.dtype for value in done.model.graph.initializers.values()} == {HALF}
    np.testing.assert_allclose(done.run(x=X), X @ W / 4 @ W, rtol=0.02, atol=0.02)


def test_shapes_and_indices_stay_integers(convert):
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        h = MatMul (x, w)
        shape = Shape (h)
        pairs = Constant <value_ints = [0, 2, 4]> ()
        paired = Reshape (h, pairs)
        first, second = Split <axis = 1, num_outputs = 2> (paired)
        swapped = Concat <axis = 1> (second, first)
        flat = Reshape (swapped, shape)
        zero = Constant <value_ints = [0]> ()
        eight = Constant <value_ints = [8]> ()
        one = Constant <value_ints = [1]> ()
        cut = Slice (flat, zero, eight, one)
        wide = Expand (cut, shape)
        y = MatMul (wide, w)
    }"""
    done = convert(text, {"w": W}, {"x": X})
    moved = ["Reshape", "Split", "Concat", "Slice", "Expand"]
    assert [done.type(kind) for kind in moved] == [HALF] * 5
    integers = [value for value in done.model.graph.initializers.values() if value.dtype == ir.DataType.INT64]
    assert len(integers) >= 4
    assert done.count("Cast") == 2
    swapped = np.concatenate([(X @ W)[:, 4:], (X @ W)[:, :4]], axis=1)
    np.testing.assert_allclose(done.run(x=X), swapped @ W, rtol=0.05, atol=0.05)


def test_a_choice_between_half_values(convert):
    text = """
    g (float[B,8] x, bool[B,8] take) => (float[B,8] y) {
        h = MatMul (x, w)
        chosen = Where (take, h, none)
        y = MatMul (chosen, w)
    }"""
    done = convert(text, {"w": W, "none": np.float32(0)}, {"x": X, "take": X > 0})
    assert done.type("Where") == HALF
    assert done.node("Where").inputs[0].dtype == ir.DataType.BOOL


def test_what_joins_half_and_float32_is_float32(convert):
    """A float32 operand may hold what half does not."""
    text = """
    g (float[B,8] x) => (float[C,8] y) {
        h = MatMul (x, w)
        both = Concat <axis = 0> (h, x)
        y = MatMul (both, w)
    }"""
    done = convert(text, {"w": W}, {"x": X})
    assert done.type("Concat") == FLOAT


def test_an_integer_is_cast_once(convert):
    """Not to float32 and on to half."""
    text = """
    g (int64[B,8] mask) => (float[B,8] y) {
        wide = Cast <to = 1> (mask)
        y = MatMul (wide, w)
    }"""
    done = convert(text, {"w": W}, {"mask": np.ones((2, 8), np.int64)})
    assert done.type("Cast") == HALF
    assert done.count("Cast") == 2


def test_a_moved_output_is_widened_under_its_name(convert):
    done = convert("g (int64[B] ids) => (float[B,8] y) { y = Gather (w, ids) }", {"w": W}, {"ids": np.arange(3)})
    assert done.type("Gather") == HALF
    np.testing.assert_array_equal(done.run(ids=np.array([1, 7])), W[[1, 7]].astype(np.float16).astype(np.float32))


def test_the_opset_of_bfloat16_has_its_convolutions(convert):
    text = "g (float[B,4,6] x) => (float[B,4,T] y) { h = Conv (x, k) y = Conv (h, k) }"
    kernel = RNG.standard_normal((4, 4, 2)).astype(np.float32)
    sample = {"x": RNG.standard_normal((1, 4, 6)).astype(np.float32)}
    assert convert(text, {"k": kernel}, sample).model.opset_imports[""] == 20
    assert convert(text, {"k": kernel}, sample, precision="bf16").model.opset_imports[""] == 22


def test_branches_are_refused(tmp_path):
    text = """
    g (float[B,8] x, bool c) => (float[B,8] y) {
        h = MatMul (x, w)
        y = If (c) <
            then_branch = a () => (float[B,8] p) { p = Identity (h) },
            else_branch = b () => (float[B,8] n) { n = Neg (h) }
        >
    }"""
    with pytest.raises(CheckpointError, match="branches or loops; export it with --precision fp32"):
        lower(parse(text, {"w": W}), "fp16", [{"x": X, "c": np.array(True)}], tmp_path)


TWO = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) a = Add (h, h) y = MatMul (a, w) }"


def retyped(model: ir.Model, kind: str, dtype: ir.DataType) -> None:
    next(node for node in model.graph if node.op_type == kind).outputs[0].type = ir.TensorType(dtype)


def test_a_mixed_node_is_found(convert):
    model = convert(TWO, {"w": W}, {"x": X}).model
    check_types(model)
    add = next(node for node in model.graph if node.op_type == "Add")
    add.replace_input_with(1, model.graph.inputs[0])
    with pytest.raises(MixedTypesError, match="Add Add_1 mixes FLOAT, FLOAT16"):
        check_types(model)


def test_a_wrong_declaration_is_found(convert):
    model = convert(TWO, {"w": W}, {"x": X}).model
    retyped(model, "Add", FLOAT)
    with pytest.raises(MixedTypesError, match="Add Add_1 mixes"):
        check_types(model)
    model = convert(TWO, {"w": W}, {"x": X}).model
    retyped(model, "Cast", FLOAT)
    with pytest.raises(MixedTypesError, match="Cast x/fp16 gives another type"):
        check_types(model)


def test_weights_of_another_type_than_declared_are_found(convert):
    model = convert(TWO, {"w": W}, {"x": X}).model
    model.graph.initializers["w"].const_value = ir.tensor(W)
    with pytest.raises(MixedTypesError, match="w is declared FLOAT16, its numbers are FLOAT"):
        check_types(model)


def test_a_type_that_an_operator_has_not_is_found(convert):
    text = "g (float[B,4,6] x) => (float[B,4,T] y) { h = Conv (x, k) y = Conv (h, k) }"
    sample = {"x": RNG.standard_normal((1, 4, 6)).astype(np.float32)}
    kernel = RNG.standard_normal((4, 4, 2)).astype(np.float32)
    model = convert(text, {"k": kernel}, sample, precision="bf16").model
    model.opset_imports[""] = 20
    with pytest.raises(MixedTypesError, match="Conv Conv_0 takes no BFLOAT16 in opset 20"):
        check_types(model)


def test_onnx_runtime_finds_a_mixed_node_too(convert, tmp_path):
    """What the checker is for: an engine refuses such a graph."""
    from foley.errors import EngineError

    model = convert(TWO, {"w": W}, {"x": X}).model
    add = next(node for node in model.graph if node.op_type == "Add")
    add.replace_input_with(1, model.graph.inputs[0])
    with pytest.raises(EngineError, match="does not load"):
        run(model, tmp_path, x=X)
