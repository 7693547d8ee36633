"""Element types, of tensors and of operands."""

import pytest


def graph(dtype: str, operation: str) -> str:
    return f"({dtype}[1,2,4] x) => ({dtype}[N,M,K] y) {{ y = {operation} }}"


SCALES = "<float[3] s = {1.0, 1.0, 2.0}>"


@pytest.mark.parametrize(
    ("bad", "good", "operation"),
    [
        ("double", "float", "Relu (x)"),
        ("int8", "int32", "Add (x, x)"),
        ("uint8", "int64", "Concat <axis = 0> (x, x)"),
        ("bool", "float", "Mul (x, x)"),
        ("float", "bool", "Not (x)"),
        ("int64", "float", "MatMul (x, x)"),
        ("int64", "float16", "Sigmoid (x)"),
        ("int16", "int32", "Abs (x)"),
        ("int64", "float", "Pow (x, x)"),
    ],
)
def test_operands_of_a_type_that_is_not_taken(errors, bad, good, operation):
    found = errors(graph(bad, operation))
    assert "type" in {error.rule for error in found}
    assert "node y" in {error.node for error in found}
    assert [error for error in errors(graph(good, operation)) if error.rule == "type"] == []


def test_resize_takes_no_bfloat16(errors):
    text = "({0}[1,2,4] x) => ({0}[1,2,8] y) <float[3] s = {{1.0, 1.0, 2.0}}> {{ y = Resize (x, , s) }}"
    [found] = errors(text.format("bfloat16"))
    assert (found.node, found.operator, found.rule) == ("node y", "Resize", "type")
    assert "bfloat16" in found.message
    assert errors(text.format("float16")) == []


def test_int64_is_fine(errors):
    assert errors("(int64[4] x, float[9] t) => (float[4] y) { y = Gather (t, x) }") == []


def test_bytes_at_the_boundary_only(errors):
    inside = "(float[4] x) => (float[4] y) { b = Cast <to = 2> (x) y = Cast <to = 1> (b) }"
    assert [found.node for found in errors(inside)] == ["node b"]
    assert errors("(float[4] x) => (uint8[4] y) { y = Cast <to = 2> (x) }") == []


def test_casts_to_what_a_cast_does_not_give(errors):
    text = "(float[4] x) => (float[4] y) { b = Cast <to = @> (x) y = Cast <to = 1> (b) }"
    assert {(found.node, found.operator) for found in errors(text.replace("@", "17"))} == {
        ("node b", "Cast"),
        ("node y", "Cast"),
    }
    assert errors(text.replace("@", "10")) == []


def test_a_stored_tensor_of_a_type_that_tensorrt_lacks(errors):
    found = errors("(float[2] x) => (float[2] y) <double[2] w = {1.0, 2.0}> { c = Cast <to = 1> (w) y = Add (x, c) }")
    assert ("w", "type") in {(error.node, error.rule) for error in found}


def test_integers_that_a_table_does_not_list_and_the_parser_lets_through(findings):
    text = "({0}[4] x) => ({0}[4] y) <int64 a = {{0}}> {{ y = CumSum (x, a) }}"
    [found] = findings(text.format("int64"))
    assert (found.severity, found.operator) == ("warning", "CumSum")
    assert findings(text.format("float")) == []


def test_integers_in_powers_by_version(errors):
    text = graph("int64", "Pow (x, x)")
    assert errors(text, version="10.12") == []
