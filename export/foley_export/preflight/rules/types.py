"""Every tensor's element type against those of TensorRT and of the operator."""

from collections.abc import Iterator
from typing import Final

from onnx import TensorProto

from foley_export.preflight.findings import Finding
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.table import ANY, BYTES, FOURTH, QUANTISED, TYPES, UNLISTED, Types, types_of

RULE: Final = "type"
BOUNDARY: Final[Types] = ANY | BYTES
INSIDE: Final[Types] = ANY | QUANTISED | FOURTH

VARIABLES: Final = {"Where": "T", "OneHot": "T3", "NonMaxSuppression": ""}
"""Operators whose numbers are not of their first input's type variable; "" for none to look at."""
MAKERS: Final = frozenset({"Constant", "ConstantOfShape", "BlackmanWindow", "HammingWindow", "HannWindow"})
"""Operators that are known by what they give."""
CONVERTERS: Final = frozenset({"Cast", "CastLike"})
WITH_BODIES: Final = frozenset({"If", "Loop", "Scan"})


def check(subject: Subject) -> Iterator[Finding]:
    """Find types that TensorRT lacks, and types that an operator does not take."""
    yield from _boundary(subject)
    for node in subject.nodes():
        yield from _foreign_types(node)
        yield from _operands(node)


def _boundary(subject: Subject) -> Iterator[Finding]:
    for info in (*subject.model.graph.input, *subject.model.graph.output):
        dtype = info.type.tensor_type.elem_type
        if dtype not in BOUNDARY:
            yield subject.finding(info.name, RULE, f"is {worded(dtype)} at the graph's boundary; TensorRT has none")
    for tensor in subject.model.graph.initializer:
        if tensor.data_type not in INSIDE | BYTES:
            yield subject.finding(
                tensor.name, RULE, f"is stored as {worded(tensor.data_type)}, a type that TensorRT lacks"
            )


def _foreign_types(node: Node) -> Iterator[Finding]:
    """Say what a node gives in a type that no tensor inside an engine may have."""
    results = {info.name for info in node.subject.model.graph.output}
    for name, value in zip(node.proto.output, node.outputs, strict=True):
        allowed = INSIDE | BYTES if name in results else INSIDE
        if value is not None and value.dtype and value.dtype not in allowed:
            yield node.finding(RULE, f"gives {worded(value.dtype)}, which TensorRT does not have inside an engine")


def _operands(node: Node) -> Iterator[Finding]:
    if node.operator not in TYPES or node.operator in WITH_BODIES or node.schema is None:
        return
    taken = types_of(node.operator, node.subject.target.version)
    for dtype in sorted(_dtypes(node) - taken - {0}):
        if dtype in UNLISTED.get(node.operator, frozenset()):
            message = f"its table does not list {worded(dtype)}, its parser lets it through; a build has to tell"
            yield node.finding(RULE, message, "warning")
        elif dtype in INSIDE | BYTES:
            yield node.finding(RULE, f"computes on {worded(dtype)}; TensorRT's takes {_listed(taken)}")


def _dtypes(node: Node) -> set[int]:
    """Give the types of a node's operands that share the type of what it computes on."""
    schema = node.schema
    if schema is None or not schema.inputs or node.operator in MAKERS:
        return {value.dtype for value in node.outputs if value is not None}
    if node.operator in CONVERTERS:
        return {value.dtype for value in (*node.inputs, *node.outputs) if value is not None}
    variable = VARIABLES.get(node.operator, schema.inputs[0].type_str)
    formals = [schema.inputs[min(index, len(schema.inputs) - 1)].type_str for index in range(len(node.inputs))]
    return {
        value.dtype
        for formal, value in zip(formals, node.inputs, strict=True)
        if value is not None and formal == variable
    }


def worded(dtype: int) -> str:
    """Name an element type as ONNX does, in small letters."""
    known = dtype in TensorProto.DataType.values()
    return TensorProto.DataType.Name(dtype).lower() if known else f"type {dtype}"


def _listed(types: Types) -> str:
    return ", ".join(worded(dtype) for dtype in sorted(types))
