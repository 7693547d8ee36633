"""The emulation of half against half itself, as torch computes it."""

import numpy as np
import onnx_ir as ir
import pytest
import torch
from support.typed_graphs import BFLOAT16, FLOAT, parse, run

from foley.errors import EngineError
from foley.verify import snr_db
from foley_export.precision.emulate import emulate, emulated

RNG = np.random.default_rng(11)
X = RNG.standard_normal((3, 8)).astype(np.float32)
W = RNG.integers(-3, 4, (8, 8)).astype(np.float32) / 4
"""Sums of eight products of bfloat16 numbers are exact in float32, so that their order does not matter."""
TEXT = """
g (float[B,8] x) => (float[B,8] y) {
    h = MatMul (x, w)
    s = Sigmoid (h)
    m = Mul (h, s)
    t = Transpose <perm = [1, 0]> (m)
    b = Transpose <perm = [1, 0]> (t)
    r = Add (b, h)
    n = LayerNormalization (r, scale)
    y = MatMul (n, w)
}"""


WEIGHTS = {"w": W, "scale": np.ones(8, np.float32)}


def in_torch(x: np.ndarray, half: torch.dtype) -> np.ndarray:
    w = torch.from_numpy(W).to(half)
    h = torch.from_numpy(x).to(half) @ w
    r = h * torch.sigmoid(h) + h
    n = torch.nn.functional.layer_norm(r.float(), (8,), torch.ones(8)).to(half)
    return (n @ w).float().numpy()


@pytest.fixture
def graph(convert):
    return convert(TEXT, WEIGHTS, {"x": X}, precision="bf16")


@pytest.mark.parametrize(("precision", "half", "least"), [("bf16", torch.bfloat16, 35), ("fp16", torch.float16, 53)])
def test_it_computes_what_half_computes(convert, precision, half, least):
    done = convert(TEXT, WEIGHTS, {"x": X}, precision=precision)
    assert emulate(done.model) == 7  # the input, five results and what the norm gives; what is moved is rounded already
    exact, got = run(parse(TEXT, WEIGHTS), done.folder, x=X), done.run(x=X)
    np.testing.assert_array_equal(got, in_torch(X, half))
    np.testing.assert_array_equal(got, torch.from_numpy(got).to(half).float().numpy())
    assert least < snr_db(exact, got) < least + 20


def test_onnx_runtime_leaves_rounding_out(convert):
    """Why float16 is emulated too: two Casts between its float32 kernels are dropped, an overflow with them."""
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) l = Mul (h, f) s = Mul (l, i) y = MatMul (s, w) }"
    weights = {"w": W, "f": np.float32(1000), "i": np.float32(1 / 1000)}
    done = convert(text, weights, {"x": X})
    assert np.isfinite(done.run(x=100 * X)).all()
    emulate(done.model)
    assert not np.isfinite(done.run(x=100 * X)).all()


def test_nothing_computes_in_bfloat16(graph):
    emulate(graph.model)
    for node in graph.model.graph:
        types = {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
        assert node.op_type == "Cast" or BFLOAT16 not in types


def test_weights_stay_where_they_are(graph):
    """The emulation of a bundle's graph reads the bundle's own weights."""
    stored = graph.model.graph.initializers["w"].const_value
    emulate(graph.model)
    assert graph.model.graph.initializers["w"].const_value is stored
    assert stored.dtype == BFLOAT16
    assert graph.model.graph.initializers["scale"].dtype == FLOAT


def test_a_file_of_it_is_gone_afterwards(graph, tmp_path):
    place = tmp_path / "step.onnx"
    ir.save(graph.model, place)
    with emulated(place) as file:
        assert file.parent == place.parent
        assert file.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step.onnx"]


def test_onnx_runtime_itself_has_no_bfloat16(graph):
    with pytest.raises(EngineError, match="NOT_IMPLEMENTED"):
        graph.run(x=X)
