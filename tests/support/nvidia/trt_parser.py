"""The ONNX parser of the fake TensorRT."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.nvidia.machine import current
from support.nvidia.onnx_network import OnnxNetwork, read_bytes, read_file
from support.nvidia.pybind import module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, fail

does, sets = BEHAVIOURS.does, BEHAVIOURS.sets
SINCE = {"Attention": (10, 14)}
"""Operators that older parsers refuse, and the first version that takes them."""
NO_PLUGIN = "Plugin not found, are the plugin name, version, and namespace correct?"


@dataclass
class ParserState:
    """A parser and what it refused."""

    network: Any
    logger: Any
    flags: int = 0
    errors: list["Refusal"] = field(default_factory=list)


@dataclass(frozen=True)
class Refusal:
    """Why a parser refuses."""

    code: str
    desc: str
    node: int = -1
    node_name: str = ""
    node_operator: str = ""


@does("OnnxParser.__init__", required=True)
def make_parser(parser: Any, network: Any, logger: Any) -> None:
    object.__setattr__(parser, "_fake_state", ParserState(network, logger))


@does("OnnxParser.parse_from_file", required=True)
def parse_from_file(parser: Any, model: str) -> bool:
    return _parse(parser, lambda: read_file(Path(model)), model)


@does("OnnxParser.parse", required=True)
def parse(parser: Any, model: Any, path: str | None = None) -> bool:
    folder = Path(path).parent if path else None
    return _parse(parser, lambda: read_bytes(bytes(memoryview(model)), folder), path or "the model")


def _parse(parser: Any, load: Callable[[], OnnxNetwork], what: str) -> bool:
    state: ParserState = parser._fake_state
    try:
        model = load()
    except Exception as error:  # onnx and protobuf raise kinds of their own
        words = f"Failed to parse {what}: {' '.join(str(error).split())[:200]}"
        state.errors.append(Refusal("MODEL_DESERIALIZE_FAILED", words))
        return bool(fail(state.logger, words, False))
    state.errors += refusals(model, module_of(parser).__version__)
    for refusal in state.errors:
        fail(state.logger, f"{refusal.node_name} ({refusal.node_operator}): {refusal.desc}")
    if not state.errors:
        state.network._fake_state.model = model
    return not state.errors


def refusals(model: OnnxNetwork, version: str) -> list[Refusal]:
    """List the inputs and nodes that the parser of a version refuses."""
    bad = [each for each in model.inputs if not each.dtype]
    found = [Refusal("UNSUPPORTED_NODE_DATATYPE", f"{each.name} has a type that TensorRT lacks") for each in bad]
    for index, node in enumerate(model.proto.graph.node):
        reason = _reason(node, tuple(int(part) for part in version.split(".")[:2]))
        if reason:
            found.append(Refusal("UNSUPPORTED_NODE", reason, index, node.name, node.op_type))
    return found


def _reason(node: Any, version: tuple[int, ...]) -> str:
    if node.op_type in current().refused_operators:
        return current().refused_operators[node.op_type]
    if node.domain not in ("", "ai.onnx"):
        return NO_PLUGIN
    return f"{node.op_type} is not supported" if version < SINCE.get(node.op_type, (0, 0)) else ""


@does("OnnxParser.num_errors", required=True)
def parser_errors(parser: Any) -> int:
    return len(parser._fake_state.errors)


@does("OnnxParser.get_error", required=True)
def parser_error(parser: Any, index: int) -> Any:
    return module_of(parser).make("ParserError", parser._fake_state.errors[index])


@does("OnnxParser.clear_errors", required=True)
def clear_parser_errors(parser: Any) -> None:
    parser._fake_state.errors.clear()


@does("OnnxParser.set_flag", required=True)
def set_parser_flag(parser: Any, flag: Any) -> None:
    parser._fake_state.flags |= 1 << int(flag)


@does("OnnxParser.clear_flag", required=True)
def clear_parser_flag(parser: Any, flag: Any) -> None:
    parser._fake_state.flags &= ~(1 << int(flag))


@does("OnnxParser.get_flag", required=True)
def parser_flag(parser: Any, flag: Any) -> bool:
    return bool(parser._fake_state.flags >> int(flag) & 1)


@does("OnnxParser.flags", required=True)
def parser_flags(parser: Any) -> int:
    return int(parser._fake_state.flags)


@sets("OnnxParser.flags")
def set_parser_flags(parser: Any, value: int) -> None:
    parser._fake_state.flags = value


@does("ParserError.code", required=True)
def error_code(error: Any) -> Any:
    return module_of(error).enum("ErrorCode", error._fake_state.code)


does("ParserError.desc", required=True)(lambda error: error._fake_state.desc)
does("ParserError.node", required=True)(lambda error: error._fake_state.node)
does("ParserError.node_name", required=True)(lambda error: error._fake_state.node_name)
does("ParserError.node_operator", required=True)(lambda error: error._fake_state.node_operator)
BEHAVIOURS.gives("ParserError", file="ModelImporter.cpp", func="parseNode", line=1)
