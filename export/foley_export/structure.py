"""What a graph is without its weights: checkpoints of one model have it in common, and so may have one engine."""

import hashlib
from collections.abc import Iterator
from typing import Final

import onnx_ir as ir

FEW: Final = 8
"""Elements up to which a float tensor without a module's name is a constant of the computation, not a weight."""
WHOLE: Final = frozenset((ir.DataType.INT32, ir.DataType.INT64, ir.DataType.BOOL))


def structure_digest(model: ir.Model) -> str:
    """Digest a graph: nodes, attributes, inputs, outputs, and its tensors' names, types and shapes.

    Of tensors that decide shapes, or that are constants of the computation, the values are part of it.
    """
    digest = hashlib.sha256()
    for line in _lines(model):
        digest.update(line.encode() + b"\n")
    return digest.hexdigest()


def _lines(model: ir.Model) -> Iterator[str]:
    graph = model.graph
    yield f"opsets {sorted(model.opset_imports.items())}"
    for kind, values in (("input", graph.inputs), ("output", graph.outputs)):
        yield from (f"{kind} {value.name} {value.dtype} {value.shape}" for value in values)
    for name, value in sorted(graph.initializers.items()):
        yield f"tensor {name} {value.dtype} {value.shape}{_content(name, value)}"
    yield from (_node(node) for node in graph)


def _node(node: ir.Node) -> str:
    attributes = {name: _attribute(attribute) for name, attribute in sorted(node.attributes.items())}
    inputs = [value.name if value is not None else None for value in node.inputs]
    return f"node {node.domain}:{node.op_type} {inputs} {[value.name for value in node.outputs]} {attributes}"


def _attribute(attribute: ir.Attr) -> str:
    value = attribute.value
    if isinstance(value, ir.TensorProtocol):
        return f"{value.dtype} {value.shape} {_digest(value)}"
    return f"{attribute.type} {value}"


def _content(name: str, value: ir.Value) -> str:
    tensor = value.const_value
    if tensor is None or not (tensor.dtype in WHOLE or ("." not in name and tensor.size <= FEW)):
        return ""
    return f" {_digest(tensor)}"


def _digest(tensor: ir.TensorProtocol) -> str:
    return hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
