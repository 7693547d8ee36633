"""What measuring finds: numbers beyond half, numbers below it, scores too coarse for it; and nothing else."""

import numpy as np
import pytest
from support.typed_graphs import BFLOAT16, FLOAT, HALF, parse, run

from foley.verify import snr_db
from foley_export.precision.fit import RANGE_MARGIN, SCORE_ERROR, UNIT_ROUNDOFF
from foley_export.precision.measure import measure

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 8)).astype(np.float32)
W = RNG.standard_normal((8, 8)).astype(np.float32)
FLAT = np.full((8, 8), 0.125, np.float32)

BRANCHES = """
g (float[B,8] x) => (float[B,8] y) {
    h = MatMul (x, w)
    large = Mul (h, factor)
    small = Sigmoid (h)
    back = Mul (large, inverse)
    both = Add (back, small)
    y = MatMul (both, w)
}"""


def branches(factor: float) -> dict[str, np.ndarray]:
    return {"w": W, "factor": np.float32(factor), "inverse": np.float32(1 / factor)}


def test_an_activation_beyond_half_keeps_what_touches_it_in_float32(convert):
    largest = np.abs(X @ W).max()
    done = convert(BRANCHES, branches(1e5 / largest), {"x": X})
    assert done.lowered.measured == {"Mul_1": "range", "Mul_3": "range"}
    assert done.lowered.nodes == 6
    assert str(done.lowered) == "2 of 6 nodes stay in float32 (range 2)"
    assert [done.type("Sigmoid"), done.type("Add"), done.type("MatMul", 1)] == [HALF] * 3
    exact = run(parse(BRANCHES, branches(1e5 / largest)), done.folder, x=X)
    assert np.isfinite(done.run(x=X)).all()
    assert snr_db(exact, done.run(x=X)) > 55


def test_the_range_has_a_margin(convert):
    largest = float(np.abs(X @ W).max())
    within, beyond = (65504 / RANGE_MARGIN / largest * factor for factor in (0.99, 1.01))
    assert convert(BRANCHES, branches(within), {"x": X}).lowered.measured == {}
    assert set(convert(BRANCHES, branches(beyond), {"x": X}).lowered.measured) == {"Mul_1", "Mul_3"}


def test_bfloat16_has_the_range(convert):
    assert convert(BRANCHES, branches(1e5), {"x": X}, precision="bf16").lowered.measured == {}


def test_one_sample_of_many_is_enough(convert):
    assert convert(BRANCHES, branches(1000.0), {"x": X}, {"x": X}).lowered.measured == {}
    done = convert(BRANCHES, branches(1000.0), {"x": X}, {"x": 20 * X}, {"x": X})
    assert {*done.lowered.measured} == {"Mul_1", "Mul_3"}


def test_an_activation_below_half_loses_its_digits(convert):
    done = convert(BRANCHES, branches(1e-7), {"x": X})
    assert done.lowered.measured == {"Mul_1": "rounding", "Mul_3": "range"}  # the inverse is a large constant
    exact = run(parse(BRANCHES, branches(1e-7)), done.folder, x=X)
    assert snr_db(exact, done.run(x=X)) > 55
    assert convert(BRANCHES, branches(1e-7), {"x": X}, precision="bf16").lowered.measured == {}


def test_a_silent_sample_does_not_decide(convert):
    """Powers add up: what is lost in silence is not heard."""
    assert convert(BRANCHES, branches(1.0), {"x": X}, {"x": 1e-7 * X}).lowered.measured == {}


def test_an_activation_that_is_nothing_fits(convert):
    assert convert(BRANCHES, branches(1.0), {"x": 0 * X}).lowered.measured == {}


def test_a_number_that_is_none_does_not_fit(convert):
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) a = Log (h) y = MatMul (a, w) }"
    assert convert(text, {"w": W}, {"x": X}).lowered.measured == {"Log_1": "range", "MatMul_2": "range"}


@pytest.mark.parametrize("number", [1e5, 1e-9])
def test_a_weight_that_half_has_not_stays(convert, number):
    """It has no margin: 60000 is a half number."""
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) t = MatMul (h, v) y = MatMul (t, w) }"
    tiny = X / max(1.0, number)
    done = convert(text, {"w": W, "v": np.full((8, 8), number, np.float32)}, {"x": tiny})
    assert "MatMul_1" in done.lowered.measured
    assert done.model.graph.initializers["v"].dtype == FLOAT
    assert done.model.graph.initializers["w"].dtype in (FLOAT, HALF)


def test_a_weight_within_the_margin_is_half(convert):
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) t = MatMul (h, v) y = MatMul (t, w) }"
    done = convert(text, {"w": FLAT, "v": np.full((8, 8), 6e4, np.float32)}, {"x": X / 1000})
    assert done.model.graph.initializers["v"].dtype == HALF


def test_rows_of_a_table_that_half_has_not(convert):
    text = "g (int64[B] ids) => (float[B,8] y) { e = Gather (table, ids) y = MatMul (e, w) }"
    done = convert(text, {"table": 1e5 * np.ones((4, 8), np.float32), "w": FLAT}, {"ids": np.arange(2)})
    assert done.lowered.lowered is False


def test_a_constant_among_what_only_moves(convert):
    """Nothing is computed, but a half constant would be infinite."""
    text = """
    g (float[B,8] x, bool[B,8] take) => (float[B,8] y) {
        h = MatMul (x, w)
        chosen = Where (take, h, far)
        s = Sigmoid (chosen)
        y = MatMul (s, w)
    }"""
    done = convert(text, {"w": W, "far": np.float32(1e9)}, {"x": X, "take": X < 9})
    assert done.lowered.measured == {"Where_1": "range"}


ATTENTION = """
g (float[B,L,8] x) => (float[B,L,8] y) {
    q = MatMul (x, w)
    a = com.microsoft.MultiHeadAttention <num_heads = 2, scale = 0.5> (q, x, x)
    y = MatMul (a, w)
}"""
TOKENS = RNG.standard_normal((1, 5, 8)).astype(np.float32)


def largest_score(x: np.ndarray) -> float:
    q, k = (value.reshape(1, 5, 2, 4).transpose(0, 2, 1, 3) for value in (x @ W, x))
    return float(np.abs(0.5 * q @ k.transpose(0, 1, 3, 2)).max())


@pytest.mark.parametrize(("precision", "half"), [("fp16", HALF), ("bf16", BFLOAT16)])
def test_scores_that_half_is_too_coarse_for(convert, precision, half):
    limit = SCORE_ERROR[precision] / UNIT_ROUNDOFF[precision]
    x = TOKENS * np.sqrt(limit / largest_score(TOKENS))
    for factor, kept in ((0.99, {}), (1.02, {"MultiHeadAttention_1": "scores"})):
        done = convert(ATTENTION, {"w": W}, {"x": (x * np.sqrt(factor)).astype(np.float32)}, precision=precision)
        assert done.lowered.measured == kept
        assert done.type("MultiHeadAttention") == (FLOAT if kept else half)


def test_the_largest_score_is_measured(tmp_path):
    found = measure(parse(ATTENTION, {"w": W}), "fp16", [{"x": TOKENS}], tmp_path, {"q", "a"})
    assert found.scores == {"MultiHeadAttention_1": pytest.approx(largest_score(TOKENS), rel=1e-4)}
    assert found.tensors["q"].largest == pytest.approx(np.abs(TOKENS @ W).max(), rel=1e-5)
    assert found.tensors["q"].rounding_db == pytest.approx(
        snr_db(TOKENS @ W, np.float32(np.float16(TOKENS @ W))), abs=1
    )
    assert found.tensors["w"].rounding_db == pytest.approx(snr_db(W, np.float32(np.float16(W))), abs=0.01)
    assert [*tmp_path.iterdir()] == []


def test_decomposed_scores(convert):
    """The chain from the product of queries and keys to the Softmax, whose own outcome fits whatever comes in."""
    text = """
    g (float[B,8] x) => (float[B,8] y) {
        q = MatMul (x, w)
        k = MatMul (x, v)
        turned = Transpose <perm = [1, 0]> (k)
        product = MatMul (q, turned)
        scores = Mul (product, scale)
        weights = Softmax (scores)
        average = MatMul (weights, k)
        y = MatMul (average, w)
    }"""
    weights = {"w": W, "v": W.T.copy(), "scale": np.float32(0.5)}
    product = np.abs((X @ W) @ (X @ W.T).T).max()
    small = (X * np.sqrt(60 / product)).astype(np.float32)
    assert convert(text, weights, {"x": small}).lowered.measured == {}
    coarse = convert(text, weights, {"x": 2 * small}).lowered.measured
    assert coarse == {"MatMul_3": "scores", "Mul_4": "scores", "Softmax_5": "scores"}


def test_tensors_are_measured_in_runs_that_fit_memory(convert, monkeypatch, tmp_path):
    """The chunks find what one run finds."""
    from foley_export.precision import measure as module

    model, names = parse(BRANCHES, branches(3.0)), {"x", "h", "large", "small", "back", "both", "y"}
    whole = measure(model, "fp16", [{"x": X}, {"x": 2 * X}], tmp_path, names)
    monkeypatch.setattr(module, "CHUNK_BYTES", 2 * X.nbytes)
    assert measure(model, "fp16", [{"x": X}, {"x": 2 * X}], tmp_path, names) == whole
    assert {*whole.tensors} == names | {"w", "factor", "inverse"}
