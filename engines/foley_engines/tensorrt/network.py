"""An ONNX graph as a TensorRT network."""

from pathlib import Path
from typing import Any, Final

from foley_engines.base import TensorSpec
from foley_engines.errors import EngineError
from foley_engines.tensorrt.library import reason, version_of

DTYPES: Final = {"FLOAT": "float32", "INT64": "int64"}
"""TensorRT's names of the types that cross a graph's boundary."""


def parse(trt: Any, builder: Any, graph: Path, logger: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Parse a graph; give the network and the parser, which must live as long: it owns the weights.

    Raises:
        EngineError: the parser refuses a node, which the message names with the parser's reason.
    """
    network = builder.create_network(_flags(trt))
    parser = trt.OnnxParser(network, logger)
    parser.set_flag(trt.OnnxParserFlag.NATIVE_INSTANCENORM)
    if not parser.parse_from_file(str(graph)):
        raise EngineError(f"{graph.name} is no network for TensorRT {trt.__version__}: {_refusals(parser, logger)}")
    return network, parser


def inputs_of(network: Any) -> list[TensorSpec]:  # noqa: ANN401
    """Describe a network's inputs, dynamic axes by the graph's names."""
    return [_spec(network.get_input(index)) for index in range(network.num_inputs)]


def outputs_of(network: Any) -> list[TensorSpec]:  # noqa: ANN401
    """Describe a network's outputs."""
    return [_spec(network.get_output(index)) for index in range(network.num_outputs)]


def _flags(trt: Any) -> int:  # noqa: ANN401
    """Strong types: from 11 on there are no others, and the flag is only accepted."""
    if version_of(trt)[0] >= 11:
        return 0
    return 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)


def _refusals(parser: Any, logger: Any) -> str:  # noqa: ANN401
    """Word the parser's errors: how many, and the first with its node."""
    logged = reason(logger)
    if not parser.num_errors:
        return logged
    error = parser.get_error(0)
    node = f"node {error.node_name() or error.node()} ({error.node_operator() or 'no operator'})"
    more = f" (the first of {parser.num_errors} refusals)" if parser.num_errors > 1 else ""
    return f"{node}: {' '.join(str(error.desc()).split())}{more}"


def _spec(tensor: Any) -> TensorSpec:  # noqa: ANN401
    if tensor.dtype.name not in DTYPES:
        kinds = ", ".join(DTYPES.values())
        raise EngineError(
            f"{tensor.name} is of type {tensor.dtype.name}, expected one of {kinds} at a graph's boundary"
        )
    axes = tuple(_axis(tensor, place, size) for place, size in enumerate(tensor.shape))
    return TensorSpec(tensor.name, DTYPES[tensor.dtype.name], axes)


def _axis(tensor: Any, place: int, size: int) -> int | str:  # noqa: ANN401
    if size >= 0:
        return int(size)
    return str(tensor.get_dimension_name(place) or f"{tensor.name}.{place}")
