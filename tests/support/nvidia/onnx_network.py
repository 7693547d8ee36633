"""An ONNX graph as the fakes of networks and engines hold it: facts about its tensors, and runs on the CPU."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, numpy_helper, shape_inference

DTYPES = {
    TensorProto.FLOAT: "FLOAT",
    TensorProto.FLOAT16: "HALF",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
    TensorProto.UINT8: "UINT8",
    TensorProto.FLOAT8E4M3FN: "FP8",
}
"""TensorRT's names of ONNX's types."""
WEIGHTS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)
"""Types of initializers that can be refitted."""
DATA_DEPENDENT = ("NonZero", "NonMaxSuppression", "Unique", "Compress")


@dataclass(frozen=True)
class TensorFacts:
    """A tensor of a graph."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    """-1: known at run time only."""
    axes: tuple[str, ...] = ()
    """The names of an input's axes; "" where there is none."""


@dataclass
class OnnxNetwork:
    """A graph with its weights inside."""

    proto: Any
    _session: Any = None
    _inner: dict[str, TensorFacts] = field(default_factory=dict)
    _shapes: dict[Any, dict[str, tuple[int, ...]]] = field(default_factory=dict)

    @property
    def inputs(self) -> list[TensorFacts]:
        """The inputs; an initializer is none."""
        weights = {tensor.name for tensor in self.proto.graph.initializer}
        return [_facts(value) for value in self.proto.graph.input if value.name not in weights]

    @property
    def outputs(self) -> list[TensorFacts]:
        """The outputs, with the sizes that can be inferred."""
        return [self.tensor(value.name) for value in self.proto.graph.output]

    def tensor(self, name: str) -> TensorFacts:
        """Describe any tensor of the graph."""
        if not self._inner:
            self._inner = _inferred(self.proto)
        return self._inner.get(name) or TensorFacts(name, "FLOAT", ())

    def set_shape(self, name: str, shape: tuple[int, ...]) -> None:
        """Give an input another shape; -1 keeps an axis open."""
        (value,) = [value for value in self.proto.graph.input if value.name == name]
        for axis, size in zip(value.type.tensor_type.shape.dim, shape, strict=True):
            if size >= 0:
                axis.dim_value = size
        self._inner.clear()

    def mark(self, name: str) -> None:
        """Make an inner tensor an output as well."""
        facts = self.tensor(name)
        element = next(number for number, dtype in DTYPES.items() if dtype == facts.dtype)
        self.proto.graph.output.append(onnx.helper.make_tensor_value_info(name, element, None))
        self._inner.clear()

    def unmark(self, name: str) -> None:
        """Make an output an inner tensor."""
        kept = [value for value in self.proto.graph.output if value.name != name]
        del self.proto.graph.output[:]
        self.proto.graph.output.extend(kept)

    def weights(self) -> dict[str, Any]:
        """Give the weights that can be refitted, by name."""
        return {tensor.name: tensor for tensor in self.proto.graph.initializer if tensor.data_type in WEIGHTS}

    def replace(self, name: str, value: Any) -> None:
        """Replace a weight."""
        self.weights()[name].CopyFrom(numpy_helper.from_array(np.ascontiguousarray(value), name))
        self._session = None

    def strip(self) -> None:
        """Leave out the content of the weights."""
        for tensor in self.weights().values():
            empty = onnx.TensorProto(name=tensor.name, data_type=tensor.data_type, dims=tensor.dims)
            tensor.CopyFrom(empty)

    def digest(self) -> str:
        """Give the sha256 of the weights."""
        whole = hashlib.sha256()
        for name, tensor in sorted(self.weights().items()):
            whole.update(name.encode())
            whole.update(numpy_helper.to_array(tensor).tobytes())
        return whole.hexdigest()

    def run(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run the graph; gives every output by name."""
        if self._session is None:
            self._session = _session(self.proto)
        names = [value.name for value in self.proto.graph.output]
        return dict(zip(names, self._session.run(names, inputs), strict=True))

    def output_shapes(self, inputs: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Find the outputs' shapes for the inputs', by a run over zeros; -1 where values decide."""
        key = tuple(sorted(inputs.items()))
        if key not in self._shapes:
            dtypes = {value.name: _numpy(value) for value in self.proto.graph.input}
            outputs = self.run({name: np.zeros(shape, dtypes[name]) for name, shape in inputs.items()})
            self._shapes[key] = {name: self._told(value.shape) for name, value in outputs.items()}
        return self._shapes[key]

    def _told(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        open_ = any(node.op_type in DATA_DEPENDENT for node in self.proto.graph.node)
        return tuple(-1 for _ in shape) if open_ else shape

    def copy(self) -> "OnnxNetwork":
        """Give another of the same content."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        return OnnxNetwork(proto)


def read_file(path: Path) -> OnnxNetwork:
    """Read a graph, its external weights beside it too.

    Raises:
        Exception: of whichever kind onnx and protobuf have for a file that is none.
    """
    proto = onnx.load(str(path), load_external_data=True)
    if not proto.graph.node:
        raise ValueError("the model has no nodes")
    return OnnxNetwork(proto)


def read_bytes(content: bytes, folder: Path | None = None) -> OnnxNetwork:
    """Read a graph from memory; external weights lie in the folder.

    Raises:
        Exception: as `read_file`.
    """
    proto = onnx.load_model_from_string(content)
    if folder is not None:
        onnx.load_external_data_for_model(proto, str(folder))
    if not proto.graph.node:
        raise ValueError("the model has no nodes")
    return OnnxNetwork(proto)


def _session(proto: Any) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, 1
    return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _inferred(proto: Any) -> dict[str, TensorFacts]:
    """Infer every tensor's type and shape; what the file says of its outputs' sizes is left out before."""
    open_ = onnx.ModelProto()
    open_.CopyFrom(proto)
    for value in open_.graph.output:
        value.type.tensor_type.ClearField("shape")
    graph = shape_inference.infer_shapes(open_, data_prop=True).graph
    facts = {value.name: _facts(value, axes=False) for value in (*graph.value_info, *graph.output)}
    declared = {value.name: _facts(value, axes=False) for value in proto.graph.output}
    return {name: declared[name] if name in declared and not each.shape else each for name, each in facts.items()} | {
        value.name: _facts(value) for value in graph.input
    }


def _facts(value: Any, *, axes: bool = True) -> TensorFacts:
    tensor = value.type.tensor_type
    shape = tuple(axis.dim_value if axis.HasField("dim_value") else -1 for axis in tensor.shape.dim)
    names = tuple(axis.dim_param for axis in tensor.shape.dim) if axes else ()
    return TensorFacts(value.name, DTYPES.get(tensor.elem_type, ""), shape, names)


def _numpy(value: Any) -> Any:
    return onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
