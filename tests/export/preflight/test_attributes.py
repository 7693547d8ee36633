"""Attributes and inputs that the parser refuses: a bad graph of each kind, and its twin that passes."""

from dataclasses import dataclass

import pytest

from foley_engines.profiles import Sizes


@dataclass(frozen=True)
class Twins:
    bad: str
    good: str
    words: str
    version: str = "10.3"
    opset: int = 20

    @property
    def operator(self) -> str:
        return self.bad.rpartition("y = ")[2].split()[0]


IMAGE = "(float[1,2,4,4] x) => (float[A,B,C,D] y)"
SIGNAL = "(float[1,2,8] x) => (float[A,B,C] y)"
SCALES = "<float[4] s = {1.0, 1.0, 2.0, 2.0}>"


def resize(attributes: str) -> str:
    return f"{IMAGE} {SCALES} {{ y = Resize {attributes} (x, , s) }}"


def pair(text: str, bad: str, good: str, words: str, **options: object) -> Twins:
    return Twins(text.replace("@", bad), text.replace("@", good), words, **options)


TWINS = [
    pair(resize("<coordinate_transformation_mode = @>"), '"tf_crop_and_resize"', '"asymmetric"', "asymmetric"),
    pair(resize("<antialias = @, mode = \"linear\">"), "1", "0", "antialias"),
    pair(resize("<keep_aspect_ratio_policy = @>"), '"not_larger"', '"stretch"', "stretch"),
    pair(resize("<nearest_mode = @>"), '"simple"', '"floor"', "nearest_mode"),
    pair(resize("<mode = @>"), '"area"', '"nearest"', "mode"),
    pair(
        resize('<coordinate_transformation_mode = "tf_half_pixel_for_nn", nearest_mode = @>'),
        '"floor"', '"round_prefer_floor"', "tf_half_pixel_for_nn",
    ),
    pair(
        f"{IMAGE} <float[4] s = {{@, 1.0, 2.0, 2.0}}> {{ y = Resize <mode = \"cubic\"> (x, , s) }}",
        "2.0", "1.0", "last 2 axes",
    ),
    pair(
        f"{IMAGE} {SCALES} {{ t = Identity (s) y = Resize @ (x, , t) }}", "<axes = [2, 3, 0, 1]>", "",
        "axes are a choice",
    ),
    pair(f"{IMAGE} <float[2] s = {{2.0, 2.0}}> {{ y = Resize <axes = @> (x, , s) }}", "[2, 2]", "[2, 3]", "each once"),
    pair(f"{IMAGE} <float[4] s = {{@, 1.0, 2.0, 2.0}}> {{ y = Upsample <mode = \"linear\"> (x, s) }}",
         "2.0", "1.0", "last 3 axes", opset=9),
    pair(f"{IMAGE} {SCALES} {{ y = Upsample <mode = @> (x, s) }}", '"cubic"', '"nearest"', "nearest", opset=9),
    pair(
        "(float[1,2,3] x) => (float[A,B,C,D] y) <int64[1] a = {1}> { b = Identity (a) y = Unsqueeze (x, @) }",
        "b", "a", "initializer below TensorRT 10.7",
    ),
    pair(
        "(float[1,2,1] x) => (float[A,B] y) <int64[1] a = {2}> { b = Identity (a) y = Squeeze (x, @) }",
        "b", "a", "initializer below TensorRT 10.7",
    ),
    pair(
        "(float[1,2,1] x, int64[1] a) => (float[A,B] y) <int64[1] c = {2}> { y = Squeeze (x, @) }",
        "a", "c", "depends on the graph's inputs", version="11.4",
    ),
    pair(
        "(float[2,3] x) => (float[A,B] y) <int64[1] a = {1}> { b = Identity (a) y = ReduceMean (x, @) }",
        "b", "a", "initializer", version="11.4",
    ),
    pair(
        "(float[2,3] x) => (float[A,B] y) <int64 a = {1}> { b = Identity (a) y = CumSum (x, @) }",
        "b", "a", "initializer below TensorRT 10.8",
    ),
    pair(f"{SIGNAL} <int64[6] p = {{0,0,2,0,0,2}}> {{ y = Pad <mode = @> (x, p) }}",
         '"mirror"', '"reflect"', "reflect"),
    pair(f"{SIGNAL} <int64[6] p = {{0,0,@,0,0,2}}> {{ y = Pad (x, p) }}", "-1", "1", "negative"),
    pair(
        f"{SIGNAL} <int64[2] p = {{1,1}}, int64[1] a = {{2}}> {{ b = Identity (a) y = Pad (x, p, , @) }}",
        "b", "a", "axes",
    ),
    pair(
        "(float[1,2,8] x, float[@] v) => (float[A,B,C] y) <int64[6] p = {0,0,2,0,0,2}> { y = Pad (x, p, v) }",
        "2", "1", "no scalar",
    ),
    pair(
        "(float[6] x) => (float[3] y, float[3] z) <int64[3] s = {2,2,2}, int64[2] t = {3,3}> { y, z = Split (x, @) }",
        "s", "t", "split has 3 sizes",
    ),
    pair(
        "(float[1,2,8] x, float[3,2,3] w) => (float[A,B,C] y) { v = Neg (w) y = Conv @ (x, v) }",
        "", "<kernel_shape = [3]>", "kernel_shape",
    ),
    pair(
        "(float[1,2,8] x, float[3,2,3] w) => (float[A,B,C] y) "
        "{ y = Conv <kernel_shape = [3], auto_pad = @, pads = [1,1]> (x, w) }",
        '"SAME_UPPER"', '"NOTSET"', "auto_pad",
    ),
    pair(
        "(float[1,2,8] x, float[2,3,4] w) => (float[A,B,C] y) "
        "{ y = ConvTranspose <kernel_shape = [4], strides = [2], auto_pad = @, pads = [1,1]> (x, w) }",
        '"SAME_LOWER"', '"NOTSET"', "auto_pad",
    ),
    pair(
        "(float16[2,3] x, float16[3,4] w, float16[4] b) => (float16[A,B] y) { y = Gemm <@> (x, w, b) }",
        "alpha = 0.5", "alpha = 1.0", "float32",
    ),
    pair(
        "(float16[2,3] x, float16[3,4] w, float16[4] b) => (float16[A,B] y) { y = Gemm <@> (x, w, b) }",
        "beta = 0.5", "beta = 1.0", "float32",
    ),
    pair("(float[2,3] x, float[3,4] w) => (float[A,B] y) { y = Einsum <equation = @> (x, w) }",
         '"Ab,bc->Ac"', '"ab,bc->ac"', "small letters"),
    pair("(float[3,3] x) => (float[A] y) { y = Einsum <equation = @> (x) }", '"ii->i"', '"ij->i"', "diagonal"),
    pair("(@[1,2,8] x, @[2] s) => (@[A,B,C] y) { y = InstanceNormalization (x, s, s) }", "bfloat16", "float16",
         "bfloat16", version="10.6", opset=22),
    pair(
        "(float[2,4] x, float[4] s) => (float[A,B] y) { y@ = LayerNormalization (x, s) }", ", m", "", "first only"
    ),
    pair("(float[1,4,8] x, float[4] s) => (float[A,B,C] y) { y = GroupNormalization <num_groups = 2> (x, s, s) }",
         "", "", "opset 21", opset=21),
    pair(f"{IMAGE} {{ y = MaxPool <kernel_shape = [2,2], dilations = [@, 1]> (x) }}", "2", "1", "dilations"),
    pair(f"{SIGNAL} {{ y = AveragePool <kernel_shape = [2], dilations = [@]> (x) }}", "2", "1", "dilations"),
    pair(f"{IMAGE} {{ y@ = MaxPool <kernel_shape = [2,2]> (x) }}", ", i", "", "first only"),
    pair("(float[4] x) => (float[4] y) { y = Gelu <approximate = @> (x) }", '"fast"', '"tanh"', "approximate"),
    pair("(float[4] x) => (float[4] y) { y = Mod <fmod = @> (x, x) }", "0", "1", "no integers"),
    pair("(@[4] q) => (@[N] y) <@ a = {0}, @ b = {4}, @ c = {1}> { y = Range (a, b, c) }", "float16", "int64", "half"),
    pair(
        "(float[4] x, int64[1,1] i, float[1] u) => (float[4] y) { y = ScatterND @ (x, i, u) }",
        '<reduction = "add">', "", "reduction", version="11.4",
    ),
    pair(
        "(float[4] x, int64[1,1] i, float[1] u) => (float[4] y) { y = ScatterND @ (x, i, u) }",
        '<reduction = "none">', "", "below 10.9",
    ),
    pair("(float[4] x) => (float[2] y, int64[2] i) <int64[1] k = {2}> { y, i = TopK <sorted = @> (x, k) }",
         "0", "1", "sorted"),
    pair("(float[9000] x) => (float[N] y, int64[N] i) <int64[1] k = {@}> { y, i = TopK (x, k) }",
         "4000", "3000", "3840"),
    pair("(float[6] x) => (float[3] y, float[3] z) { y, z = Split <num_outputs = @> (x) }", "3", "2", "num_outputs"),
    pair(
        "(float[6] x) => (float[3] y, float[3] z) <int64[2] s = {3, 3}> { y, z = Split @ (x, s) }",
        "<num_outputs = 2>", "", "both split and num_outputs",
    ),
    pair("(float[4] x) => (float[4] y) { y = Pow (x, @) }", "i", "x", "integer"),
    pair("(float16[4] x) => (bool[4] y) { y = IsInf <detect_negative = @> (x) }", "0", "1", "one sign"),
    pair("(float[1,2,8] x, float[2] s) => (float[A,B,C] y) "
         "{ y = BatchNormalization <training_mode = @> (x, s, s, s, s) }", "1", "0", "training_mode"),
    pair(
        "(float[1,16,1] x) => (float[A,B,C,D] y) <int64 f = {4}, float[4] w = {1.0,1.0,1.0,1.0}> "
        "{ g = Identity (f) y = STFT (x, @, w) }",
        "g", "f", "frame_step", version="10.5",
    ),
    pair(
        "(float[1,16,1] x) => (float[A,B,C,D] y) <int64 f = {4}, float[4] w = {1.0,1.0,1.0,1.0}> "
        "{ v = Identity (w) y = STFT (x, f, @) }",
        "v", "w", "window", version="10.5",
    ),
    pair("(float[4] x) => (float[4] y) <float r = {0.5}, bool t = {@}> { y = Dropout (x, r, t) }",
         "1", "0", "constant false"),
    pair("(float[4] x) => (float[N] y) { y = RandomNormalLike <dtype = @> (x) }", "16", "10", "neither"),
    pair(
        "(int64[2] x, int64 d) => (float[A,B] y) <int64 e = {4}, float[2] v = {0.0, 1.0}> { y = OneHot (x, @, v) }",
        "d", "e", "depth",
    ),
    pair("(float[@] x, float[3,4] w) => (float[A,B] y) { y = Gemm (x, w) }", "2,2,3", "2,3", "works on 3 axes"),
    pair("(float[@] x) => (float[A,B,C] y) { y = MaxPool <kernel_shape = [2]> (x) }",
         "2,8", "1,2,8", "works on 2 axes"),
    pair(
        f"{SIGNAL} {{ y = AveragePool <kernel_shape = [2], auto_pad = @, pads = [0,1]> (x) }}",
        '"SAME_UPPER"', '"NOTSET"', "auto_pad",
    ),
    pair("(float[@] x, float[4] s) => (float[Z] y) { y = InstanceNormalization (x, s, s) }", "2,4", "2,4,8", "axes"),
    pair("(float[@] x, float[3,2,3] w) => (float[A,B,C] y) { y = Conv <kernel_shape = [3]> (x, w) }",
         "2,8", "1,2,8", "works on 2 axes"),
    pair("(float[4] x) => (float[4] y) { y = Constant <value_string = \"a\"> () }", "", "", "value_string"),
    pair(
        "(float[1,2,4,8] q) => (float[1,2,4,8] y) { y = Attention <@> (q, q, q) }",
        "softcap = 2.0", "scale = 0.25", "softcap", version="10.15", opset=23,
    ),
    pair(
        "(float[1,2,4,8] q) => (float[1,2,4,8] y) { y = Attention <softmax_precision = 1> (q, q, q) }",
        "", "", "softmax_precision", version="11.4", opset=23,
    ),
    pair(
        "(float[1,2,4,8] q) => (float[1,2,4,8] y) { y = Attention (q, q, q, , q, q) }",
        "", "", "past_key is given", version="11.4", opset=23,
    ),
    pair(
        "(float[1,2,4,8] q) => (float[1,2,4,8] y) { y@ = Attention (q, q, q) }",
        ", k, v", "", "first only", version="11.4", opset=23,
    ),
]  # fmt: skip
INTEGER = "<int64[1] i = {2}> "


def completed(text: str) -> str:
    """Give `Pow` its integer."""
    return text.replace("{ y = Pow", f"{INTEGER}{{ y = Pow")


@pytest.mark.parametrize("twins", TWINS, ids=lambda twins: f"{twins.operator}: {twins.words}")
def test_what_the_parser_refuses(errors, twins):
    found = errors(completed(twins.bad), version=twins.version, opset=twins.opset)
    mine = [error for error in found if error.rule == "attribute" and twins.words in error.message]
    assert [error.node for error in mine] == ["node y"], found


@pytest.mark.parametrize(
    "twins", [twins for twins in TWINS if twins.good != twins.bad], ids=lambda twins: f"{twins.operator}: {twins.words}"
)
def test_the_twin_that_it_takes(errors, twins):
    assert errors(completed(twins.good), version=twins.version, opset=twins.opset) == []


def test_squeeze_of_all_axes_of_a_shape_that_moves(errors):
    text = "(float[S,1,3] x) => (float[A,B] y) { y = Squeeze (x) }"
    [found] = errors(text, S=Sizes(1, 2, 4))
    assert (found.node, found.rule) == ("node y", "attribute")
    assert errors(text, S=Sizes(2, 2, 2)) == []


def test_an_eye_of_a_shape_that_moves(errors):
    text = "(float[S,3] x) => (float[A,B] y) { y = EyeLike (x) }"
    assert [(found.node, found.rule) for found in errors(text, S=Sizes(1, 2, 4))] == [("node y", "attribute")]
    assert errors(text, S=Sizes(2, 2, 2)) == []


THREE_AXES = "(float[1,4,16] q) => (float[A,B,C] y) { y = Attention <q_num_heads = 2, kv_num_heads = 2> (q, q, q) }"
FIVE_AXES = "(float[1,1,2,4,8] q) => (float[A,B,C,D,E] y) { y = Attention (q, q, q) }"


def test_attention_of_three_axes_is_not_certain(findings):
    found = [found for found in findings(THREE_AXES, version="10.15", opset=23) if found.rule == "attribute"]
    assert [(one.severity, one.node) for one in found] == [("warning", "node y")]
    assert "4 are certain" in found[0].message


def test_attention_of_five_axes(errors):
    found = [found for found in errors(FIVE_AXES, version="10.15", opset=23) if found.rule == "attribute"]
    assert [(one.node, one.message) for one in found] == [("node y", "Q, K and V have 5 axes; the parser takes 4")]


BRANCHES = """(bool c, float[2] x) => (float[2] y) {{
    y = If (c) <then_branch = g1 () => (float[2] {0}) {{ {0} = Relu (x) }},
                else_branch = g2 () => (float[2] {1}) {{ {1} = Neg (x) }}>
}}"""


def test_branches_that_give_the_same_name(errors):
    [found] = errors(BRANCHES.format("a", "a"))
    assert (found.node, found.operator) == ("node y", "If")
    assert errors(BRANCHES.format("a", "b")) == []


def test_branches_of_different_numbers(errors):
    text = BRANCHES.format("a", "b").replace("(float[2] b) {", "(float[2] b, float[2] e) { e = Abs (x)")
    [found] = errors(text)
    assert (found.node, found.message) == ("node y", "its branches give different numbers of outputs")


LOOP = """(int64 m, float[2] x) => (float[N,2] y) <int64 four = {{4}}> {{
    v, y = Loop ({0}, , x) <body = b (int64 i, bool c, float[2] s) => (bool d, float[2] t, float[2] e)
    {{ d = Identity (c) t = Add (s, s) e = Neg (s) }}>
}}"""


def test_a_loop_that_stacks_an_unknown_number(errors):
    found = errors(LOOP.format("m"))
    assert [(error.node, error.operator) for error in found] == [("node v", "Loop")]
    assert errors(LOOP.format("four")) == []


def test_lifted_restrictions_by_version(errors):
    axes = "(float[1,2,3] x) => (float[A,B,C,D] y) <int64[1] a = {1}> { b = Identity (a) y = Unsqueeze (x, b) }"
    assert errors(axes, version="10.7") == []
    flat = "(float[1,4] x, float[4] s) => (float[A,B] y) { y = GroupNormalization <num_groups = 2> (x, s, s) }"
    assert "works on 2 axes; the parser takes 3 to 8" in [found.message for found in errors(flat, "10.9", 21)]
    group = "(float[1,4,8] x, float[4] s) => (float[A,B,C] y) { y = GroupNormalization <num_groups = 2> (x, s, s) }"
    assert errors(group, version="10.9", opset=21) == []
