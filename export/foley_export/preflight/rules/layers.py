"""What the parser asks of convolutions, products, normalisations, pooling and bodies."""

from collections.abc import Callable, Iterator
from typing import Final

from onnx import TensorProto

from foley_export.preflight.rules.complaints import Complaint, first_output_only, one_of, ranks, zero
from foley_export.preflight.subject import Node, bodies

KERNELS_INFERRED_FROM: Final = (10, 4)
GROUP_NORM_21_FROM: Final = (10, 9)
MIXED_BATCH_NORM_FROM: Final = (10, 7)
DIAGONALS_FROM: Final = (10, 12)
BFLOAT_NORM_FROM: Final = (10, 15)
HALVES: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
SAME: Final = ("SAME_LOWER", "SAME_UPPER")


def _paddings(node: Node) -> Iterator[Complaint]:
    if node.attributes.get("auto_pad") in SAME and "pads" in node.attributes:
        yield Complaint("has both pads and auto_pad SAME; the parser takes one of them")


def _conv(node: Node) -> Iterator[Complaint]:
    yield from ranks(node, 3, 5)
    yield from _paddings(node)
    kernel = node.input(1)
    early = node.subject.target.version < KERNELS_INFERRED_FROM
    if early and kernel is not None and kernel.origin != "stored" and "kernel_shape" not in node.attributes:
        yield Complaint("its weights are computed and it says no kernel_shape, which the parser needs below 10.4")


def _gemm(node: Node) -> Iterator[Complaint]:
    yield from ranks(node, 2, 2)
    operand = node.input(0)
    half = operand is not None and operand.dtype in HALVES
    for name in ("alpha", "beta"):
        if half and node.attributes.get(name, 1.0) != 1.0:
            yield Complaint(
                f"{name} is not 1; the parser multiplies by it in float32, which half operands may not meet"
            )


def _einsum(node: Node) -> Iterator[Complaint]:
    equation = str(node.attributes.get("equation", ""))
    if strange := sorted({letter for letter in equation if not (letter.isascii() and letter.islower())} - set("->., ")):
        yield Complaint(f"equation {equation!r} has {' '.join(strange)}; the parser takes small letters")
    terms = equation.replace(".", "").replace(" ", "").partition("->")[0].split(",")
    if node.subject.target.version < DIAGONALS_FROM and any(len(set(term)) < len(term) for term in terms):
        yield Complaint(f"equation {equation!r} takes a diagonal, which the parser knows from 10.12 on")


def _attention(node: Node) -> Iterator[Complaint]:
    """Ask what table and source of 10.15 ask: no cache, one output, no capping."""
    yield from _attention_axes(node)
    yield from first_output_only(node)
    yield from zero(node, "softcap", "qk_matmul_output_mode")
    if "softmax_precision" in node.attributes:
        yield Complaint("softmax_precision is set; the parser takes none")
    for index, name in ((4, "past_key"), (5, "past_value"), (6, "nonpad_kv_seqlen")):
        if node.has_input(index):
            yield Complaint(f"{name} is given; the parser takes none")


def _attention_axes(node: Node) -> Iterator[Complaint]:
    found = {node.rank(index) for index in (0, 1, 2)} - {None}
    if found == {3} and node.attributes.get("q_num_heads"):
        message = "Q, K and V have 3 axes, which the table of 10.15 excludes and its source reshapes; 4 are certain"
        yield Complaint(message, "warning")
    elif not found <= {4}:
        yield Complaint(f"Q, K and V have {' and '.join(map(str, sorted(found, key=str)))} axes; the parser takes 4")


def _instance_norm(node: Node) -> Iterator[Complaint]:
    yield from ranks(node, 3, 8)
    operand, version = node.input(0), node.subject.target.version
    if operand is not None and operand.dtype == TensorProto.BFLOAT16 and version < BFLOAT_NORM_FROM:
        yield Complaint("the parser of 10.1 takes float32 and float16; bfloat16 is known to pass in 10.15 only")


def _group_norm(node: Node) -> Iterator[Complaint]:
    yield from ranks(node, 3, 8)
    if node.subject.opset >= 21 and node.subject.target.version < GROUP_NORM_21_FROM:
        yield Complaint("is opset 21's, with a scale a channel, which the parser knows from 10.9 on")


def _batch_norm(node: Node) -> Iterator[Complaint]:
    yield from zero(node, "training_mode")
    yield from first_output_only(node)
    dtypes = {value.dtype for value in node.inputs if value is not None and value.dtype}
    if len(dtypes) > 1 and node.subject.target.version < MIXED_BATCH_NORM_FROM:
        yield Complaint("its parameters are of another type than its input, which the parser takes from 10.7 on")


def _pool(node: Node) -> Iterator[Complaint]:
    yield from ranks(node, 3, 5)
    yield from _paddings(node)
    yield from first_output_only(node)
    if any(step != 1 for step in node.attributes.get("dilations", ())):
        yield Complaint(f"dilations are {node.attributes['dilations']}; the parser takes 1 only")


def _is_inf(node: Node) -> Iterator[Complaint]:
    operand = node.input(0)
    one_sided = not (node.attributes.get("detect_negative", 1) and node.attributes.get("detect_positive", 1))
    if one_sided and operand is not None and operand.dtype in HALVES:
        yield Complaint("looks for one sign only, for which the parser compares with float32; half may not meet it")


def _if(node: Node) -> Iterator[Complaint]:
    names = [[output.name for output in body.output] for body in bodies(node.proto)]
    if len({len(outputs) for outputs in names}) > 1:
        yield Complaint("its branches give different numbers of outputs")
    if len(names) == 2 and set(names[0]) & set(names[1]):
        yield Complaint("its branches give outputs of the same name; the parser wants different ones")


def _loop(node: Node) -> Iterator[Complaint]:
    carried = len(node.proto.input) - 2
    limit = node.input(0)
    if any(node.proto.output[carried:]) and (limit is None or limit.origin == "data"):
        yield Complaint("stacks what each turn gives, and how many turns there are is not known before it runs")


def _dropout(node: Node) -> Iterator[Complaint]:
    training = node.input(2)
    if training is not None and (training.origin != "stored" or training.array is None or training.array.any()):
        yield Complaint("training_mode is not a constant false")


def _random(node: Node) -> Iterator[Complaint]:
    if node.attributes.get("dtype", TensorProto.FLOAT) not in (TensorProto.FLOAT, TensorProto.FLOAT16):
        yield Complaint("its dtype is neither float32 nor float16")


def _mod(node: Node) -> Iterator[Complaint]:
    operand = node.input(0)
    integers = (TensorProto.INT32, TensorProto.INT64, 0)
    if not node.attributes.get("fmod", 0) and operand is not None and operand.dtype not in integers:
        yield Complaint("fmod is 0 and its operands are no integers")


def _gelu(node: Node) -> Iterator[Complaint]:
    yield from one_of(node, "approximate", "none", ("none", "tanh"))


ASKED: Final[dict[str, Callable[[Node], Iterator[Complaint]]]] = {
    "Conv": _conv,
    "ConvTranspose": _conv,
    "Gemm": _gemm,
    "Einsum": _einsum,
    "Attention": _attention,
    "InstanceNormalization": _instance_norm,
    "GroupNormalization": _group_norm,
    "LayerNormalization": first_output_only,
    "BatchNormalization": _batch_norm,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "IsInf": _is_inf,
    "If": _if,
    "Loop": _loop,
    "Dropout": _dropout,
    "RandomNormal": _random,
    "RandomNormalLike": _random,
    "RandomUniform": _random,
    "RandomUniformLike": _random,
    "Mod": _mod,
    "Gelu": _gelu,
}
