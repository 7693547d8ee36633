"""One type in every node, and float32 where half was meant."""

import pytest


@pytest.mark.parametrize(
    "operation",
    ["Add (x, h)", "MatMul (x, h)", "Concat <axis = 0> (x, h)", "Where (b, x, h)", "Pow (x, h)", "Clip (x, h)"],
)
def test_operands_of_two_types(errors, operation):
    text = f"(float[2,2] x, float16[2,2] h, bool[2,2] b) => (float[A,B] y) {{ {{0}} y = {operation} }}"
    found = errors(text.replace("{0} ", ""))
    assert ("node y", "strong typing") in {(error.node, error.rule) for error in found}


def test_a_cast_makes_them_one(errors):
    text = "(float[2,2] x, float16[2,2] h) => (float[2,2] y) { c = Cast <to = 1> (h) y = Add (x, c) }"
    assert errors(text) == []


def test_attention_computes_on_one_type(errors):
    text = "(float[1,2,4,8] q, @[1,2,4,8] v) => (float[1,2,4,8] y) { y = Attention (q, q, v) }"
    [found] = errors(text.replace("@", "float16"), version="10.14", opset=23)
    assert (found.node, found.rule) == ("node y", "strong typing")
    assert errors(text.replace("@", "float"), version="10.14", opset=23) == []


LAYERS = """({0}[2,2] x) => ({0}[2,2] y) <{1}[2,2] w = {{1,0,0,1}}, {0}[2,2] v = {{1,0,0,1}}> {{
    {2}
    z = MatMul (x, v) y = Add (z, t)
}}"""
STRAY = "c = Cast <to = 1> (x) d = MatMul (c, w) t = Cast <to = 10> (d)"


def test_a_float32_graph_gives_a_float32_engine(findings):
    [found] = findings("(float[2,2] x) => (float[2,2] y) { y = MatMul (x, x) }")
    assert (found.severity, found.rule) == ("warning", "strong typing")
    assert "1 of 1 matrix products and convolutions (100 %)" in found.message


def test_float32_weights_in_a_half_graph(findings):
    [found] = findings(LAYERS.format("float16", "float", STRAY), precision="fp16")
    assert (found.severity, found.node) == ("warning", "node d")
    assert "1 of 2 matrix products and convolutions (50 %)" in found.message


def test_float32_that_the_bundle_tells_of(findings):
    text = LAYERS.format("float16", "float", STRAY)
    assert findings(text, precision="fp16", wide=("node d",)) == []


def test_a_half_graph(findings):
    text = LAYERS.format("float16", "float16", "t = MatMul (x, w)")
    assert findings(text, precision="fp16") == []


def test_a_float32_product_without_weights_is_meant(findings):
    """The sampler's matrix is float32 at every precision."""
    text = "(float[2,2] x, float16[2,2] h) => (float[2,2] y) { y = MatMul (x, x) }"
    assert findings(text, precision="fp16") == []


@pytest.mark.parametrize("norm", ["Layer", "Instance"])
def test_a_normalisation_of_half_numbers_is_told_for_tensorrt_11(findings, norm):
    operands = "x, s" if norm == "Layer" else "x, s, s"
    text = f"(float16[1,4,4] x, float16[4] s) => (float16[A,B,C] y) {{ y = {norm}Normalization ({operands}) }}"
    [found] = findings(text, version="11.4", precision="fp16")
    assert (found.severity, found.node, found.rule) == ("warning", "node y", "strong typing")
    assert findings(text, version="10.3", precision="fp16") == []


def test_batch_normalisation_may_mix_from_10_7_on(errors):
    text = "(float16[1,2,8] x, float[2] s) => (float16[A,B,C] y) { y = BatchNormalization (x, s, s, s, s) }"
    assert [found.node for found in errors(text)] == ["node y"]
    assert errors(text, version="10.7") == []
