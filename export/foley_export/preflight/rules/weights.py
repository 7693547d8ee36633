"""The graph's file and its weights: references within the file, sizes, and what they come to."""

import math
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

import onnx

from foley_export.preflight.findings import Finding
from foley_export.preflight.subject import Subject
from foley_export.preflight.values import item_bytes

RULE: Final = "weights"
KEYS: Final = frozenset({"location", "offset", "length", "checksum"})
"""What the parser knows of an external tensor; it refuses the file for any other key."""
MOST_FILE_BYTES: Final = 2**31 - 1
"""Protobuf's limit."""
MOST_AXES: Final = 8


def check(subject: Subject) -> Iterator[Finding]:
    """Find references outside the weights file, a file too large to parse, and tensors that cannot be imported."""
    if subject.file.stat().st_size > MOST_FILE_BYTES:
        yield subject.finding("", RULE, "the .onnx file has 2 GiB or more, which protobuf refuses; store weights apart")
    if subject.model.graph.sparse_initializer:
        yield subject.finding("", RULE, "has sparse initializers, which the parser does not import")
    for tensor in subject.model.graph.initializer:
        for message in _problems(subject, tensor):
            yield subject.finding(tensor.name, RULE, message)


def _problems(subject: Subject, tensor: onnx.TensorProto) -> Iterator[str]:
    if len(tensor.dims) > MOST_AXES:
        yield f"has {len(tensor.dims)} axes; TensorRT takes {MOST_AXES}"
    if tensor.data_location != onnx.TensorProto.EXTERNAL:
        return
    place = {entry.key: entry.value for entry in tensor.external_data}
    if strange := sorted(set(place) - KEYS):
        yield f"its reference to the weights file says {', '.join(strange)}, which the parser refuses"
    location = place.get("location", "")
    if not location or ".." in PurePosixPath(location).parts or PurePosixPath(location).is_absolute():
        yield f"refers to {location or 'no file'}; the parser takes a file beside or below the graph"
        return
    yield from _range(subject, tensor, location, place)


def _range(subject: Subject, tensor: onnx.TensorProto, location: str, place: dict[str, str]) -> Iterator[str]:
    file = subject.file.parent / location
    if not file.is_file():
        yield f"its weights file {location} is missing; copy the bundle again"
        return
    offset, needed = int(place.get("offset", 0)), math.prod(tensor.dims) * item_bytes(tensor.data_type)
    length = int(place.get("length", 0)) or needed
    if length != needed:
        yield f"refers to {length} bytes, its shape and type need {needed}"
    if offset + length > file.stat().st_size:
        yield f"refers beyond the end of {location}, which has {file.stat().st_size} bytes; copy the bundle again"


def weight_bytes(model: onnx.ModelProto) -> int:
    """Sum what the initializers take in the types that the engine computes with: a Cast behind one is worked out."""
    widened = {node.input[0]: _target(node) for node in model.graph.node if node.op_type == "Cast"}
    return sum(
        math.prod(tensor.dims) * item_bytes(widened.get(tensor.name, tensor.data_type))
        for tensor in model.graph.initializer
    )


def _target(node: onnx.NodeProto) -> int:
    return next((attribute.i for attribute in node.attribute if attribute.name == "to"), 0)
