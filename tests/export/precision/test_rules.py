"""What stays float32 whatever was measured, by operator and by where values flow."""

import numpy as np
import pytest
from support.typed_graphs import BFLOAT16, FLOAT, HALF, run

from foley.verify import snr_db

RNG = np.random.default_rng(3)
X = RNG.standard_normal((2, 8)).astype(np.float32)
W = RNG.standard_normal((8, 8)).astype(np.float32)
PICTURE = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
KERNEL = RNG.standard_normal((4, 4, 3, 3)).astype(np.float32)
NOTHING_MEASURED = {}


def test_a_timestep_embedding_up_to_its_first_layer(convert):
    done = convert(
        """
        g (float[B] t) => (float[B,8] y) {
            last = Constant <value_ints = [1]> ()
            column = Unsqueeze (t, last)
            angle = Mul (column, frequencies)
            sin = Sin (angle)
            cos = Cos (angle)
            both = Concat <axis = 1> (sin, cos)
            hidden = MatMul (both, w)
            active = Sigmoid (hidden)
            y = MatMul (active, w)
        }""",
        {"frequencies": np.float32([1, 0.5, 0.1, 0.01]), "w": W},
        {"t": np.float32([981, 7])},
    )
    kinds = ("Unsqueeze", "Mul", "Sin", "Cos", "Concat", "MatMul", "Sigmoid")
    assert [done.type(kind) for kind in kinds] == [FLOAT] * 5 + [HALF] * 2
    assert done.count("Cast") == 2  # before the first layer, and the output
    assert done.lowered.measured == NOTHING_MEASURED


def test_a_periodic_activation_alone(convert):
    """Of what lies between layers the sine alone stays float32, not all that leads to it."""
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) a = Mul (h, h) s = Sin (a) y = MatMul (s, w) }"
    done = convert(text, {"w": W}, {"x": X})
    assert [done.type(kind) for kind in ("MatMul", "Mul", "Sin")] == [HALF, HALF, FLOAT]


def test_a_layer_normalisation(convert):
    text = "g (float[B,8] x) => (float[B,8] y) { h = MatMul (x, w) n = LayerNormalization (h, s, b) y = MatMul (n, w) }"
    done = convert(text, {"w": W, "s": W[0], "b": W[1]}, {"x": X})
    assert [done.type("MatMul"), done.type("LayerNormalization"), done.type("MatMul", 1)] == [HALF, FLOAT, HALF]
    assert done.count("Cast") == 4
    assert {done.model.graph.initializers[name].dtype for name in "sb"} == {FLOAT}


GROUP_NORM = """
g (float[B,4,6,6] x) => (float[B,4,6,6] y) {
    before = Conv <pads = [1,1,1,1]> (x, k)
    groups = Constant <value_ints = [0, 2, -1]> ()
    grouped = Reshape (before, groups)
    normal = InstanceNormalization (grouped, one, zero)
    shape = Shape (before)
    back = Reshape (normal, shape)
    scaled = Mul (back, scale)
    shifted = Add (scaled, shift)
    gate = Sigmoid (shifted)
    silu = Mul (shifted, gate)
    y = Conv <pads = [1,1,1,1]> (silu, k)
}"""
GROUP_WEIGHTS = {
    "k": KERNEL,
    "one": np.ones(2, np.float32),
    "zero": np.zeros(2, np.float32),
    "scale": RNG.standard_normal((4, 1, 1)).astype(np.float32),
    "shift": RNG.standard_normal((4, 1, 1)).astype(np.float32),
}


def test_a_group_normalisation_with_its_reshapes_and_affine_step(convert):
    """The casts stand around the pattern, not in it; the shape is read without one."""
    done = convert(GROUP_NORM, GROUP_WEIGHTS, {"x": PICTURE})
    island = [("Reshape", 0), ("InstanceNormalization", 0), ("Reshape", 1), ("Mul", 0), ("Add", 0)]
    assert [done.type(*place) for place in island] == [FLOAT] * 5
    assert [done.type(*place) for place in [("Conv", 0), ("Sigmoid", 0), ("Mul", 1), ("Conv", 1)]] == [HALF] * 4
    assert done.count("Cast") == 4
    assert done.node("Shape").inputs[0].dtype == HALF


def test_a_normalisation_by_root_mean_square(convert):
    """T5's: squares overflow half at 256, so the chain from the squares to the weight is float32."""
    done = convert(
        """
        g (float[B,8] x) => (float[B,8] y) {
            h = MatMul (x, w)
            two = Constant <value = float {2.0}> ()
            last = Constant <value_ints = [-1]> ()
            epsilon = Constant <value = float {1e-6}> ()
            square = Pow (h, two)
            mean = ReduceMean (square, last)
            safe = Add (mean, epsilon)
            root = Sqrt (safe)
            inverse = Reciprocal (root)
            normal = Mul (h, inverse)
            scaled = Mul (s, normal)
            gate = Sigmoid (scaled)
            more = Mul (gate, scaled)
            y = MatMul (more, w)
        }""",
        {"w": W, "s": W[0]},
        {"x": 1000 * X},
    )
    chain = ["Pow", "ReduceMean", "Add", "Sqrt", "Reciprocal"]
    assert [done.type(kind) for kind in chain] == [FLOAT] * 5
    assert [done.type("Mul", place) for place in range(3)] == [FLOAT, FLOAT, HALF]
    assert done.type("Sigmoid") == HALF
    assert done.lowered.measured == NOTHING_MEASURED


def test_guidance_and_sampler_behind_the_last_layer(convert):
    done = convert(
        """
        g (float[S,8] state, float[S,S] mix, float[S,1] repaint) => (float[S,8] y) {
            hidden = MatMul (state, w)
            output = MatMul (hidden, w)
            guided = MatMul (mix, output)
            unit = Constant <value = float {1.0}> ()
            kept = Sub (unit, repaint)
            painted = Mul (repaint, guided)
            known = Mul (kept, state)
            y = Add (painted, known)
        }""",
        {"w": W},
        {"state": X, "mix": np.eye(2, dtype=np.float32), "repaint": np.ones((2, 1), np.float32)},
    )
    assert [done.type("MatMul", place) for place in range(3)] == [HALF, HALF, FLOAT]
    assert {done.type(kind, place) for kind, place in [("Sub", 0), ("Mul", 0), ("Mul", 1), ("Add", 0)]} == {FLOAT}
    assert done.count("Cast") == 2


@pytest.mark.parametrize(("precision", "scores"), [("fp16", HALF), ("bf16", BFLOAT16)])
def test_a_mask_of_numbers_that_half_has_not(convert, precision, scores):
    """From the mask to its Softmax; the score's product before and the average behind are half."""
    text = """
    g (float[B,8] x, bool[B,B] seen) => (float[B,8] y) {
        q = MatMul (x, w)
        k = MatMul (x, v)
        turned = Transpose <perm = [1, 0]> (k)
        scores = MatMul (q, turned)
        mask = Where (seen, none, lowest)
        masked = Add (scores, mask)
        weights = Softmax (masked)
        average = MatMul (weights, k)
        y = MatMul (average, w)
    }"""
    weights = {"w": W / 4, "v": W.T / 4, "none": np.float32(0), "lowest": np.float32(-3.4028235e38)}
    sample = {"x": X, "seen": np.tri(2, dtype=bool)}
    done = convert(text, weights, sample, precision=precision)
    assert [done.type(kind) for kind in ("Where", "Add", "Softmax")] == [FLOAT] * 3
    assert [done.type("MatMul", place) for place in range(5)] == [scores] * 5
    assert done.lowered.measured == NOTHING_MEASURED


def test_indices_are_computed_in_float32(convert):
    """T5's buckets of distances: a logarithm that is rounded to half falls into another bucket."""
    done = convert(
        """
        g (int64[B] far) => (float[B,8] y) {
            wide = Cast <to = 1> (far)
            log = Log (wide)
            scaled = Mul (log, eight)
            bucket = Cast <to = 7> (scaled)
            row = Gather (table, bucket)
            y = MatMul (row, w)
        }""",
        {"eight": np.float32(8), "table": np.tile(W, (8, 1)), "w": W},
        {"far": np.arange(1, 9)},
    )
    assert [done.type(kind) for kind in ("Cast", "Log", "Mul", "Gather", "MatMul")] == [FLOAT] * 3 + [HALF] * 2
    assert done.node("Gather").inputs[1].dtype.name == "INT64"


def test_an_index_made_of_activations(convert):
    """Back to the nearest weights, which are half, and though a layer reads the same numbers as half."""
    done = convert(
        """
        g (float[B,8] x) => (float[B,8,8] y) {
            h = MatMul (x, w)
            size = Abs (h)
            bucket = Cast <to = 7> (size)
            row = Gather (table, bucket)
            one = Constant <value_ints = [1]> ()
            also = MatMul (size, w)
            beside = Unsqueeze (also, one)
            sum = Add (row, beside)
            y = MatMul (sum, w)
        }""",
        {"table": np.tile(W, (8, 1)), "w": W},
        {"x": X},
    )
    assert [done.type(kind) for kind in ("MatMul", "Abs", "Gather")] == [HALF, FLOAT, HALF]


RESIZE = """
g (float[B,4,6,6] x) => (float[B,4,H,V] y) {
    h = Conv <pads = [1,1,1,1]> (x, k)
    large = Resize <mode = "nearest"> (h, , scales)
    y = Conv <pads = [1,1,1,1]> (large, k)
}"""


@pytest.mark.parametrize(("precision", "resized"), [("fp16", HALF), ("bf16", FLOAT)])
def test_tensorrt_resizes_no_bfloat16(convert, precision, resized):
    """The scales stay float32 beside half pictures."""
    weights = {"k": KERNEL, "scales": np.float32([1, 1, 2, 2])}
    done = convert(RESIZE, weights, {"x": PICTURE}, precision=precision)
    assert done.type("Resize") == resized
    assert done.node("Resize").inputs[2].dtype == FLOAT
    assert done.node("Resize").inputs[1] is None or done.node("Resize").inputs[1].name == ""


def test_a_graph_without_layers_stays_as_it_was(convert, tmp_path):
    done = convert("g (float[B,8] x) => (float[B,8] y) { a = Mul (x, x) y = Add (a, x) }", {}, {"x": X})
    assert not done.lowered.lowered
    assert done.count("Cast") == 0
    np.testing.assert_array_equal(run(done.model, tmp_path, x=X), X * X + X)


def test_half_of_a_group_normalisation_is_close(convert):
    from support.typed_graphs import parse

    done = convert(GROUP_NORM, GROUP_WEIGHTS, {"x": PICTURE})
    exact = run(parse(GROUP_NORM, GROUP_WEIGHTS), done.folder, x=PICTURE)
    assert snr_db(exact, done.run(x=PICTURE)) > 60
