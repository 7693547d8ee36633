"""Computes the small integers with which graphs work out shapes, as an engine's builder does."""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

Array = NDArray[Any]
Attributes = dict[str, Any]
Folder = Callable[[Sequence[Array], Attributes], Array]


def attributes_of(node: onnx.NodeProto) -> Attributes:
    """Give a node's attributes by name, strings decoded."""
    found = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def fold(node: onnx.NodeProto, inputs: Sequence[Array | None]) -> list[Array] | None:
    """Compute a node of one output from its inputs' values; None where one is not known, or for other operators.

    `Shape` and `Size` get their input's shape in the place of its values.
    """
    folder = FOLDERS.get(node.op_type)
    known = [array for name, array in zip(node.input, inputs, strict=False) if name and array is not None]
    if folder is None or len(known) != sum(map(bool, node.input)):
        return None
    try:
        return [np.asarray(folder(known, attributes_of(node)))]
    except (ValueError, IndexError, TypeError, KeyError, ZeroDivisionError):
        return None  # the graph's own fault, which shape inference words


def _constant(_: Sequence[Array], attributes: Attributes) -> Array:
    name, value = next(iter(attributes.items()))
    if name == "value":
        return np.asarray(numpy_helper.to_array(value))
    return np.asarray(value, np.float32 if name.startswith("value_float") else np.int64)


def _shape(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return inputs[0][attributes.get("start", 0) : attributes.get("end", len(inputs[0]))]


def _gather(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return np.take(inputs[0], inputs[1], axis=attributes.get("axis", 0))


def _slice(inputs: Sequence[Array], _: Attributes) -> Array:
    data, starts, ends = inputs[:3]
    axes = inputs[3] if len(inputs) > 3 else np.arange(len(starts))
    steps = inputs[4] if len(inputs) > 4 else np.ones(len(starts), np.int64)
    cut = [slice(None)] * data.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        cut[axis] = slice(int(start), int(end), int(step))
    return data[tuple(cut)]


def _squeeze(inputs: Sequence[Array], _: Attributes) -> Array:
    return np.squeeze(inputs[0], tuple(map(int, inputs[1])) if len(inputs) > 1 else None)


def _unsqueeze(inputs: Sequence[Array], _: Attributes) -> Array:
    return np.expand_dims(inputs[0], tuple(map(int, np.atleast_1d(inputs[1]))))


def _cast(inputs: Sequence[Array], attributes: Attributes) -> Array:
    return inputs[0].astype(helper.tensor_dtype_to_np_dtype(attributes["to"]))


def _divide(inputs: Sequence[Array], _: Attributes) -> Array:
    quotient = np.true_divide(inputs[0], inputs[1])
    integer = np.issubdtype(inputs[0].dtype, np.integer)
    return (np.trunc(quotient) if integer else quotient).astype(inputs[0].dtype)


def _reshape(inputs: Sequence[Array], attributes: Attributes) -> Array:
    old = inputs[0].shape
    kept = not attributes.get("allowzero", 0)
    return inputs[0].reshape([old[i] if kept and size == 0 else int(size) for i, size in enumerate(inputs[1])])


def _filled(inputs: Sequence[Array], attributes: Attributes) -> Array:
    value = numpy_helper.to_array(attributes["value"]) if "value" in attributes else np.zeros(1, np.float32)
    return np.full(tuple(map(int, inputs[0])), value[0], value.dtype)


def _product(inputs: Sequence[Array], attributes: Attributes) -> Array:
    axes = tuple(map(int, inputs[1])) if len(inputs) > 1 else None
    return np.asarray(np.prod(inputs[0], axis=axes, keepdims=bool(attributes.get("keepdims", 1))))


def _plain(function: Callable[..., Any]) -> Folder:
    """Take a numpy function of the operator's inputs."""
    return lambda inputs, _: function(*inputs)


FOLDERS: Final[dict[str, Folder]] = {
    "Constant": _constant,
    "Shape": _shape,
    "Size": _plain(np.prod),
    "Gather": _gather,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Cast": _cast,
    "Div": _divide,
    "Reshape": _reshape,
    "ConstantOfShape": _filled,
    "ReduceProd": _product,
    "Concat": lambda inputs, attributes: np.concatenate(inputs, axis=attributes["axis"]),
    "Identity": _plain(np.asarray),
    "Add": _plain(np.add),
    "Sub": _plain(np.subtract),
    "Mul": _plain(np.multiply),
    "Mod": _plain(np.mod),
    "Neg": _plain(np.negative),
    "Min": _plain(lambda *several: np.minimum.reduce(np.broadcast_arrays(*several))),
    "Max": _plain(lambda *several: np.maximum.reduce(np.broadcast_arrays(*several))),
    "Equal": _plain(np.equal),
    "Less": _plain(np.less),
    "Greater": _plain(np.greater),
    "Where": _plain(np.where),
    "Floor": _plain(np.floor),
    "Ceil": _plain(np.ceil),
    "Range": _plain(np.arange),
    "Expand": _plain(lambda data, shape: data * np.ones(tuple(map(int, shape)), data.dtype)),
}
