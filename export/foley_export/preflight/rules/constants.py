"""What the parser asks of inputs that say how a tensor is cut, joined, padded or counted."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from onnx import TensorProto

from foley_export.preflight.rules.complaints import Complaint, one_of, stored_input
from foley_export.preflight.subject import Node

FOLDED_AXES_FROM: Final = (10, 7)
PAD_AXES_FROM: Final = (10, 4)
CUMSUM_AXIS_FROM: Final = (10, 8)
SCATTER_NONE_FROM: Final = (10, 9)
MOST_OF_TOPK: Final = 3840
INTEGER_EXPONENTS_FROM: Final = (10, 8)
INTEGERS: Final = (TensorProto.INT32, TensorProto.INT64)
REDUCTIONS: Final = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")


def _axes(node: Node) -> Iterator[Complaint]:
    yield from stored_input(node, 1, "axes", FOLDED_AXES_FROM)


def _squeeze(node: Node) -> Iterator[Complaint]:
    yield from _axes(node)
    data = node.input(0)
    named = node.has_input(1) or "axes" in node.attributes
    if not named and data is not None and (data.shape is None or _moves(node)):
        yield Complaint("says no axes, and its input's shape depends on the profile; name the axes")


def _moves(node: Node) -> bool:
    """Say whether a node's input has another shape at the profile's least sizes than at its largest."""
    name = node.proto.input[0]
    least = node.subject.least.values.get(name)
    largest = node.subject.largest.values.get(name)
    return least is None or largest is None or least.shape != largest.shape


def _reduce(node: Node) -> Iterator[Complaint]:
    yield from stored_input(node, 1, "axes")


def _cumsum(node: Node) -> Iterator[Complaint]:
    yield from stored_input(node, 1, "axis", CUMSUM_AXIS_FROM)


def _pad(node: Node) -> Iterator[Complaint]:
    yield from one_of(node, "mode", "constant", ("constant", "reflect", "edge", "wrap"))
    if node.has_input(3) and node.subject.target.version < PAD_AXES_FROM:
        yield from stored_input(node, 3, "axes")
    value = node.input(2)
    if value is not None and value.elements not in (None, 1):
        yield Complaint("constant_value is no scalar")
    pads = node.input(1)
    if pads is not None and pads.array is not None and (pads.array < 0).any():
        yield Complaint("pads are negative, which cuts; use Slice")


def _split(node: Node) -> Iterator[Complaint]:
    outputs = len(node.proto.output)
    if node.has_input(1) and "num_outputs" in node.attributes:
        yield Complaint("has both split and num_outputs; the parser takes one of them")
    if node.attributes.get("num_outputs", outputs) != outputs:
        yield Complaint(f"num_outputs is {node.attributes['num_outputs']}, its outputs are {outputs}")
    sizes = node.input(1)
    if sizes is not None and sizes.array is not None and sizes.array.size != outputs:
        yield Complaint(f"split has {sizes.array.size} sizes, its outputs are {outputs}")


def _range(node: Node) -> Iterator[Complaint]:
    start = node.input(0)
    if start is not None and start.dtype in (TensorProto.FLOAT16, TensorProto.BFLOAT16):
        yield Complaint("counts in half numbers; the parser takes float32, int32 and int64")


def _scatter_nd(node: Node) -> Iterator[Complaint]:
    yield from one_of(node, "reduction", "none", ("none",))
    if node.attributes.get("reduction") == "none" and node.subject.target.version < SCATTER_NONE_FROM:
        yield Complaint("says reduction 'none', where the parser takes no such attribute below 10.9; leave it out")


def _top_k(node: Node) -> Iterator[Complaint]:
    if not node.attributes.get("sorted", 1):
        yield Complaint("sorted is 0; the parser takes 1 only")
    count = node.input(1)
    if count is not None and count.array is not None and count.array.max() >= MOST_OF_TOPK:
        yield Complaint(f"K is {int(count.array.max())}; TensorRT takes less than {MOST_OF_TOPK}")


def _eye_like(node: Node) -> Iterator[Complaint]:
    if _moves(node):
        yield Complaint("its input's shape depends on the profile; the parser wants a fixed one")


def _constant(node: Node) -> Iterator[Complaint]:
    for name in ("sparse_value", "value_string", "value_strings"):
        if name in node.attributes:
            yield Complaint(f"{name} is given; the parser takes no such constant")


def _pow(node: Node) -> Iterator[Complaint]:
    exponent = node.input(1)
    early = node.subject.target.version < INTEGER_EXPONENTS_FROM
    if early and exponent is not None and exponent.dtype in INTEGERS:
        yield Complaint("its exponent is an integer, which the parser takes from 10.8 on; make it a float")


def _stft(node: Node) -> Iterator[Complaint]:
    yield from stored_input(node, 1, "frame_step")
    yield from stored_input(node, 2, "window")


ASKED: Final[dict[str, Callable[[Node], Iterator[Complaint]]]] = {
    **{f"Reduce{kind}": _reduce for kind in REDUCTIONS},
    "Unsqueeze": _axes,
    "Squeeze": _squeeze,
    "CumSum": _cumsum,
    "Pad": _pad,
    "Split": _split,
    "Range": _range,
    "ScatterND": _scatter_nd,
    "TopK": _top_k,
    "EyeLike": _eye_like,
    "Constant": _constant,
    "Pow": _pow,
    "STFT": _stft,
    "OneHot": partial(stored_input, index=1, name="depth", until=(10, 1)),
}
