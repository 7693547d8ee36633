"""Dynamic axes against a profile: ranges, volumes, and shapes that only running could tell."""

from collections.abc import Iterator
from typing import Final

from onnx import NodeProto

from foley_engines.profiles import describe, split_axis
from foley_export.preflight.findings import Finding, Severity
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.values import Inference, Value

RULE: Final = "shape"
MOST_AXES: Final = 8
MOST_ELEMENTS: Final = 2**31 - 1
"""NVIDIA/TensorRT issues: any tensor's limit in 8 (1948, 3324), a convolution's in 10.4 (4123) and 10.9 (4408)."""
BOUNDED: Final = frozenset({"Conv", "ConvTranspose", "DeformConv"})

DATA_DEPENDENT: Final = frozenset({"NonZero", "Unique", "Compress", "NonMaxSuppression"})
SHAPE_OPERANDS: Final[dict[str, tuple[int, ...]]] = {
    "Reshape": (1,),
    "Expand": (1,),
    "Tile": (1,),
    "ConstantOfShape": (0,),
    "Slice": (1, 2, 3, 4),
    "Pad": (1, 3),
    "Resize": (2, 3),
    "Upsample": (1,),
    "Split": (1,),
    "Range": (0, 1, 2),
    "TopK": (1,),
}
"""Inputs that decide a shape, by operator."""


def check(subject: Subject) -> Iterator[Finding]:
    """Find axes without a range, and shapes that contradict, grow too large or depend on data."""
    yield from _inputs(subject)
    yield from _contradictions(subject)
    yield from _too_large(subject)
    for node in subject.nodes():
        yield from _depends_on_data(node)


def _inputs(subject: Subject) -> Iterator[Finding]:
    stored = {tensor.name for tensor in subject.model.graph.initializer}
    for info in subject.model.graph.input:
        if info.name in stored:
            continue
        kind = info.type.tensor_type
        if not kind.HasField("shape"):
            yield subject.finding(info.name, RULE, "has no rank; TensorRT wants the number of axes of every input")
        for index, axis in enumerate(kind.shape.dim):
            if not axis.HasField("dim_value"):
                yield from _axis(subject, info.name, index, axis.dim_param)


def _axis(subject: Subject, tensor: str, index: int, name: str) -> Iterator[Finding]:
    if not name:
        yield subject.finding(
            tensor, RULE, f"its axis {index} is dynamic and has no name, so that no profile gives it a range"
        )
        return
    try:
        symbol = split_axis(name)[1]
    except ValueError:
        symbol = name
    if symbol not in subject.profile:
        known = ", ".join(subject.profile) or "none"
        yield subject.finding(tensor, RULE, f"its axis {name!r} has no range; the profile gives {known}")


def _contradictions(subject: Subject) -> Iterator[Finding]:
    """Say where shapes or types do not fit each other at the least or the largest sizes."""
    seen = set()
    for inference in _corners(subject):
        for proto, complaint in inference.contradictions:
            node = Node(subject, proto)
            if (node.name, complaint) not in seen:
                seen.add((node.name, complaint))
                yield node.finding(RULE, f"is no valid ONNX at {_sizes(subject)}: {complaint}")


def _corners(subject: Subject) -> list[Inference]:
    fixed = all(sizes.low == sizes.high for sizes in subject.profile.values())
    return [subject.largest] if fixed else [subject.largest, subject.least]


def _too_large(subject: Subject) -> Iterator[Finding]:
    makers = {name: node.op_type for node in subject.model.graph.node for name in node.output}
    bounded = {name for node in subject.model.graph.node if node.op_type in BOUNDED for name in _tensors(node)}
    for name, value in subject.values.items():
        place = (subject.name, name, makers.get(name, ""), RULE)
        if value.shape is not None and len(value.shape) > MOST_AXES:
            yield Finding(*place, f"has {len(value.shape)} axes; TensorRT takes {MOST_AXES}")
        if (value.elements or 0) > MOST_ELEMENTS:
            yield Finding(*place, *_volume(subject, value, refused=name in bounded))


def _tensors(node: NodeProto) -> tuple[str, ...]:
    return (*node.input, *node.output)


def _volume(subject: Subject, value: Value, *, refused: bool) -> tuple[str, Severity]:
    shape = "×".join(map(str, value.shape or ()))
    large = f"{shape} is more than 2^31-1 elements at {_sizes(subject)}"
    if refused:
        return f"{large}, a convolution's limit; ask for fewer slots or seconds", "error"
    return f"{large}, which TensorRT 8 refused; whether {subject.target} takes it is not known here", "warning"


def _sizes(subject: Subject) -> str:
    return describe(subject.profile) or "fixed sizes"


def _depends_on_data(node: Node) -> Iterator[Finding]:
    if node.operator in DATA_DEPENDENT:
        yield node.finding(RULE, "gives a shape that depends on data; no profile can hold it")
    for index in SHAPE_OPERANDS.get(node.operator, ()):
        value = node.input(index)
        if value is not None and value.origin == "data":
            yield node.finding(RULE, f"{_formal(node, index)} depends on the graph's inputs, not on their shapes alone")


def _formal(node: Node, index: int) -> str:
    """Name an input as ONNX's definition does."""
    return node.schema.inputs[index].name if node.schema is not None else f"input {index}"
