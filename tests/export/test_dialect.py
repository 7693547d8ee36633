"""Attention respelt: the same numbers, types that fit, and an opset in which nothing else changed its meaning."""

from types import SimpleNamespace

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from support.typed_graphs import parse, run

from foley.verify import snr_db
from foley_export.dialect import ATTENTION_OPSET, to_onnx_attention, to_standard_onnx
from foley_export.precision.check import check_types
from foley_export.precision.emulate import emulate
from foley_export.precision.lower import lower
from foley_export.spellings import count_fused
from foley_export.trace import OPSET

RNG = np.random.default_rng(2)
TEXT = """
g (float[B,L,8] x, float[B,M,8] c) => (float[B,L,8] y) {
    q = MatMul (x, w)
    k = MatMul (c, w)
    v = MatMul (c, u)
    a = com.microsoft.MultiHeadAttention <num_heads = 2, scale = 0.4> (q, k, v)
    y = MatMul (a, w)
}"""
WEIGHTS = {name: RNG.standard_normal((8, 8)).astype(np.float32) / 3 for name in "wu"}
INPUTS = {
    "x": RNG.standard_normal((2, 5, 8)).astype(np.float32),
    "c": RNG.standard_normal((2, 3, 8)).astype(np.float32),
}
USED = """
    Abs Add And Cast Clip Concat Conv ConvTranspose Cos CumSum Div Equal Expand Gather GatherElements
    GatherND Gelu Gemm GreaterOrEqual InstanceNormalization IsNaN LayerNormalization LeakyRelu Less Log
    MatMul Max Min Mul Not Pow Range Reciprocal ReduceMean ReduceSum Reshape Resize Shape Sigmoid Sin Slice
    Softmax Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze Where
""".split()  # noqa: SIM905 — fifty quotes less
"""What Foley's exported graphs hold, all encoders included."""


@pytest.mark.parametrize("respell", [to_standard_onnx, to_onnx_attention])
@pytest.mark.parametrize(("precision", "least"), [("fp32", 110), ("fp16", 55), ("bf16", 35)])
def test_the_same_numbers(tmp_path, respell, precision, least):
    model = parse(TEXT, WEIGHTS)
    expected = run(model, tmp_path, **INPUTS)
    if precision != "fp32":
        lower(model, precision, [INPUTS], tmp_path)
    assert respell(model) == 1
    assert "com.microsoft" not in model.opset_imports
    if precision != "fp32":
        check_types(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    if precision == "bf16":
        emulate(model)
    assert snr_db(expected, run(model, tmp_path, **INPUTS)) > least


def test_onnx_attention_takes_heads_as_an_axis_and_says_its_scale():
    model = parse(TEXT, WEIGHTS)
    to_onnx_attention(model)
    (node,) = [node for node in model.graph if node.op_type == "Attention"]
    attributes = {name: value.value for name, value in node.attributes.items()}
    assert attributes == {"scale": pytest.approx(0.4)}
    assert [value.producer().attributes["perm"].value for value in node.inputs] == [(0, 2, 1, 3)] * 3
    assert (len(node.inputs), len(node.outputs)) == (3, 1)
    assert model.opset_imports[""] == ATTENTION_OPSET


def test_fused_operators_are_counted_in_each_spelling(tmp_path):
    """The standard one has none; one that is no engine's own is counted once."""
    respells = {"cpu": lambda _: 0, "tensorrt": to_onnx_attention, "standard": to_standard_onnx}
    for name, respell in respells.items():
        model = parse(TEXT, WEIGHTS)
        respell(model)
        ir.save(model, tmp_path / f"{name}.onnx")
    graph = SimpleNamespace(
        file="standard.onnx", engines={"cpu": "cpu.onnx", "tensorrt": "tensorrt.onnx", "cuda": "cpu.onnx"}
    )
    assert count_fused(graph, tmp_path) == {"cpu.onnx": {"MultiHeadAttention": 1}, "tensorrt.onnx": {"Attention": 1}}


@pytest.mark.parametrize("kind", USED)
def test_operators_mean_in_the_newer_opset_what_they_meant(kind):
    """Newer versions take more types and have more attributes, whose defaults are what was; nothing is gone."""
    old, new = (onnx.defs.get_schema(kind, opset) for opset in (OPSET, ATTENTION_OPSET))
    assert [formal.name for formal in old.inputs] == [formal.name for formal in new.inputs]
    assert [formal.name for formal in old.outputs] == [formal.name for formal in new.outputs]
    for name, attribute in old.attributes.items():
        assert new.attributes[name].default_value == attribute.default_value
        assert new.attributes[name].required == attribute.required
    assert not [name for name in new.attributes if name not in old.attributes and new.attributes[name].required]
