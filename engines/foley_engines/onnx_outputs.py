"""Inner tensors of an ONNX graph given out, without an ONNX library.

Protobuf merges messages that follow one another: repeated fields are joined, embedded messages merged. So a graph gets
further outputs by bytes behind its end (ModelProto.graph is field 7, GraphProto.output 12, ValueInfoProto.name 1).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from foley_engines.base import Array
from foley_engines.errors import EngineError, one_line
from foley_engines.onnxruntime_cpu import import_library

GRAPH: Final = 7
OUTPUT: Final = 12
NAME: Final = 1
FOLDER_KEY: Final = "session.model_external_initializers_file_folder_path"


def with_outputs(model: bytes, names: Sequence[str]) -> bytes:
    """Give a serialised model more outputs."""
    outputs = b"".join(_field(OUTPUT, _field(NAME, name.encode())) for name in names)
    return model + _field(GRAPH, outputs)


def run_with_outputs(graph: Path, inputs: Mapping[str, Array], names: Sequence[str]) -> dict[str, Array]:
    """Run a graph in ONNX Runtime on the CPU and give inner tensors of it.

    Raises:
        EngineUnavailableError: ONNX Runtime is not installed.
        EngineError: it does not load or run the graph.
    """
    library = import_library()
    options = library.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = library.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.add_session_config_entry(FOLDER_KEY, str(graph.parent))
    try:
        session = library.InferenceSession(
            with_outputs(graph.read_bytes(), names), options, providers=["CPUExecutionProvider"]
        )
        return dict(zip(names, session.run(list(names), dict(inputs)), strict=True))
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise EngineError(f"{graph.name}: {one_line(error)}") from error


def _field(number: int, content: bytes) -> bytes:
    """Write a field of bytes: its key, its length, itself."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])
