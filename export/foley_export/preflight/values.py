"""What is known of each tensor of a graph before it runs: type, shape at given sizes, and small integers' values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import checker, defs, helper, numpy_helper, shape_inference

from foley_engines.profiles import split_axis
from foley_export.preflight.folding import Array, fold

SMALL: Final = 4096
"""Elements up to which a tensor's values are followed."""
ONNX_DOMAINS: Final = ("", "ai.onnx")
SHAPE_READERS: Final = ("Shape", "Size")

Origin = Literal["stored", "known", "data"]
"""An initializer or constant · computed from such and from shapes · computed from what the graph is given."""
Extent = int | None


@dataclass(frozen=True)
class Value:
    """A tensor before the graph runs."""

    dtype: int
    """ONNX's number of the element type; 0 where it is not known."""
    shape: tuple[Extent, ...] | None
    origin: Origin
    array: Array | None = None

    @property
    def elements(self) -> int | None:
        """The volume, None where an axis is not known."""
        if self.shape is None or None in self.shape:
            return None
        return int(np.prod([axis or 0 for axis in self.shape], dtype=object))

    @property
    def bytes(self) -> int:
        """The size in memory; 0 where it is not known."""
        return (self.elements or 0) * item_bytes(self.dtype)


@dataclass(frozen=True)
class Inference:
    """The tensors of a graph at one set of sizes, and the nodes that onnx cannot follow."""

    values: Mapping[str, Value]
    contradictions: tuple[tuple[onnx.NodeProto, str], ...]


def item_bytes(dtype: int) -> int:
    """Give the bytes of an element; 0 where the type is not known."""
    try:
        return helper.tensor_dtype_to_np_dtype(dtype).itemsize if dtype else 0
    except KeyError:
        return 0


def infer(model: onnx.ModelProto, sizes: Mapping[str, int]) -> Inference:
    """Follow types, shapes and small integers through a graph whose symbolic axes have the given sizes."""
    values = dict(_given(model.graph, sizes))
    declared = {info.name: _declared(info, sizes, "data") for info in (*model.graph.value_info, *model.graph.output)}
    contradictions = []
    for node in model.graph.node:
        outputs, complaint = _outputs(model, node, values)
        values |= {name: _complete(value, declared.get(name)) for name, value in outputs.items()}
        contradictions += [(node, complaint)] if complaint else []
    return Inference(values, tuple(contradictions))


def _given(graph: onnx.GraphProto, sizes: Mapping[str, int]) -> Iterator[tuple[str, Value]]:
    for info in graph.input:
        yield info.name, _declared(info, sizes, "data")
    for tensor in graph.initializer:
        yield tensor.name, stored(tensor)


def stored(tensor: onnx.TensorProto) -> Value:
    """Give what is known of a stored tensor, whose values are read where they are few and in the graph's own file."""
    external = tensor.data_location == onnx.TensorProto.EXTERNAL
    few = int(np.prod(tensor.dims, dtype=object)) <= SMALL
    array = numpy_helper.to_array(tensor) if few and not external and item_bytes(tensor.data_type) else None
    return Value(tensor.data_type, tuple(tensor.dims), "stored", array)


def _declared(info: onnx.ValueInfoProto, sizes: Mapping[str, int], origin: Origin) -> Value:
    kind = info.type.tensor_type
    if not kind.HasField("shape"):
        return Value(kind.elem_type, None, origin)
    return Value(kind.elem_type, tuple(_extent(axis, sizes) for axis in kind.shape.dim), origin)


def _extent(axis: onnx.TensorShapeProto.Dimension, sizes: Mapping[str, int]) -> Extent:
    if axis.HasField("dim_value"):
        return axis.dim_value
    try:
        factor, symbol = split_axis(axis.dim_param)
    except ValueError:
        return None  # a formula of the tracer's
    return factor * sizes[symbol] if symbol in sizes else None


def _complete(value: Value, declared: Value | None) -> Value:
    """Take from the file what inference did not find."""
    if declared is None or (value.dtype and value.shape is not None):
        return value
    return replace(value, dtype=value.dtype or declared.dtype, shape=value.shape or declared.shape)


def _outputs(
    model: onnx.ModelProto, node: onnx.NodeProto, values: Mapping[str, Value]
) -> tuple[dict[str, Value], str | None]:
    origin = _origin(node, values)
    arrays = _folded(node, values)
    types, complaint = _types(model, node, values)
    return {
        name: _output(types.get(name), origin, arrays[index] if arrays else None)
        for index, name in enumerate(node.output)
        if name
    }, complaint


def _origin(node: onnx.NodeProto, values: Mapping[str, Value]) -> Origin:
    if node.op_type == "Constant":
        return "stored"
    if node.op_type in SHAPE_READERS:
        return "known"
    origins = {values[name].origin if name in values else "data" for name in node.input if name}
    return "known" if origins and "data" not in origins else "data"


def _folded(node: onnx.NodeProto, values: Mapping[str, Value]) -> list[Array] | None:
    if node.op_type in SHAPE_READERS:
        shape = values[node.input[0]].shape if node.input[0] in values else None
        inputs: list[Array | None] = [None if shape is None or None in shape else np.array(shape, np.int64)]
    else:
        inputs = [values[name].array if name in values else None for name in node.input]
    return fold(node, inputs)


def _output(kind: onnx.TypeProto | None, origin: Origin, array: Array | None) -> Value:
    if array is not None and array.size <= SMALL:
        return Value(int(helper.np_dtype_to_tensor_dtype(array.dtype)), array.shape, origin, array)
    if kind is None:
        return Value(0, None, origin)
    tensor = kind.tensor_type
    shape = tuple(_extent(axis, {}) for axis in tensor.shape.dim) if tensor.HasField("shape") else None
    return Value(tensor.elem_type, shape, origin)


def _types(
    model: onnx.ModelProto, node: onnx.NodeProto, values: Mapping[str, Value]
) -> tuple[Mapping[str, onnx.TypeProto], str | None]:
    """Infer a node's outputs; where that fails, give onnx's complaint."""
    schema = schema_of(model, node)
    if schema is None or schema.deprecated or any(attribute.HasField("g") for attribute in node.attribute):
        return {}, None
    known = {name: values[name] for name in node.input if name in values and values[name].dtype}
    if any(name and name not in known for name in node.input):
        return {}, None
    kinds = {
        name: helper.make_tensor_type_proto(value.dtype, None if value.shape is None else list(value.shape))
        for name, value in known.items()
    }
    data = {name: _tensor(name, value.array) for name, value in known.items() if value.array is not None}
    try:
        return shape_inference.infer_node_outputs(schema, node, kinds, data, None, list(model.opset_import)), None
    except (shape_inference.InferenceError, checker.ValidationError) as error:
        return {}, " ".join(str(error).rpartition("]")[2].split())


def _tensor(name: str, array: NDArray[np.generic]) -> onnx.TensorProto:
    return numpy_helper.from_array(array, name)


def opset_of(model: onnx.ModelProto) -> int:
    """Give the version of ONNX's own operators that a model imports; 0 where it imports none."""
    return next((entry.version for entry in model.opset_import if entry.domain in ONNX_DOMAINS), 0)


def schema_of(model: onnx.ModelProto, node: onnx.NodeProto) -> defs.OpSchema | None:
    """Give ONNX's definition of a node's operator in the model's opset, None where there is none."""
    opset = opset_of(model)
    if node.domain not in ONNX_DOMAINS or not defs.has(node.op_type, opset, ""):
        return None
    return defs.get_schema(node.op_type, opset, "")
