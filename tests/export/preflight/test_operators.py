"""Operators and opsets against the tables."""

import pytest

RELU = "(float[2] x) => (float[2] y) { y = Relu (x) }"


def test_a_plain_graph_passes(errors):
    assert errors(RELU) == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("(float[2] x) => (float[2] y) { y = Det (x) }", "refuses it"),
        ("(float[2] x) => (float[2] y) { y = Swish (x) }", "TensorRT 11.0, the target is TensorRT 10.3"),
        ("(float[2] x) => (float[2] y) { y = NoSuch (x) }", "not in the parser's table"),
        ("(float[2] x) => (float[2] y) { y = com.microsoft.QuickGelu (x) }", "looks for a plugin"),
        ("(float[2] x) => (float[2] y) { y = com.microsoft.Gelu (x) }", "takes it for ONNX's operator"),
        ("(float[2] x) => (float[2] y) { y = RMSNormalization (x, x) }", "10.15"),
    ],
)
def test_an_operator_that_is_not_taken(errors, text, words):
    [first, *_] = errors(text)
    assert (first.node, first.rule) == ("node y", "operator")
    assert words in first.message


def test_an_operator_that_a_newer_version_takes(errors):
    text = "(float[2] x) => (float[2] y) { y = Swish (x) }"
    assert errors(text, version="10.16", opset=24) != []
    assert errors(text, version="11.0", opset=24) == []


def test_an_operator_newer_than_the_graphs_opset(errors):
    [found] = errors("(float[2] x) => (float[2] y) { y = Gelu (x) }", opset=19)
    assert (found.node, found.message) == ("node y", "is not in opset 19, which the graph imports")


def test_an_operator_in_a_body(errors):
    text = """(bool c, float[2] x) => (float[2] y) {
        y = If (c) <then_branch = g1 () => (float[2] a) { a = Det (x) },
                    else_branch = g2 () => (float[2] b) { b = Relu (x) }>
    }"""
    assert [found.operator for found in errors(text)] == ["Det"]


def test_what_no_table_tells_is_said_to_be_unknown(findings):
    text = "(float[2] x) => (float[2] y) { y = BitCast <to = 6> (x) }"
    unknown = [found for found in findings(text, version="11.4", opset=26) if found.rule == "operator"]
    assert [(found.severity, found.operator) for found in unknown] == [("warning", "BitCast")]
    assert "unknown for TensorRT 11.4" in unknown[0].message
    known = [found.severity for found in findings(text, version="10.15", opset=26) if found.rule == "operator"]
    assert known == ["error"]


@pytest.mark.parametrize(
    ("version", "opset", "severity"),
    [
        ("10.3", 8, "error"),
        ("10.3", 20, None),
        ("10.3", 21, "warning"),
        ("10.3", 22, "error"),
        ("10.6", 22, "warning"),
        ("10.13", 23, "warning"),
        ("10.14", 23, None),
        ("10.14", 24, "error"),
        ("10.15", 24, None),
        ("10.15", 25, "error"),
        ("11.4", 25, "warning"),
    ],
)
def test_opsets(findings, version, opset, severity):
    found = [found.severity for found in findings(RELU, version=version, opset=opset) if found.rule == "opset"]
    assert found == ([severity] if severity else [])
