"""Serialisation and the inspector of the fake TensorRT's engines."""

import json
from typing import Any

from support.nvidia import plan_file
from support.nvidia.plan_file import Header, Plan
from support.nvidia.pybind import module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, fail, names_in
from support.nvidia.trt_engine import EngineState
from support.nvidia.trt_network import layer_name
from support.nvidia.trt_types import host_memory

does, sets = BEHAVIOURS.does, BEHAVIOURS.sets


@does("ICudaEngine.serialize", required=True)
def serialize(engine: Any) -> Any:
    state: EngineState = engine._fake_state
    return _serialized(engine, state.header, stripped=state.header.stripped)


@does("ICudaEngine.create_serialization_config", required=True)
def create_serialization_config(engine: Any) -> Any:
    excluded = engine._fake_state.header.stripped
    flag = int(module_of(engine).enum("SerializationFlag", "EXCLUDE_WEIGHTS"))
    return module_of(engine).make("ISerializationConfig", [(1 << flag) if excluded else 0])


@does("ICudaEngine.serialize_with_config", required=True)
def serialize_with_config(engine: Any, arg0: Any) -> Any:
    """Serialise; an engine with its weights inside stays refittable only with INCLUDE_REFIT."""
    names = names_in(module_of(engine), "SerializationFlag", arg0._fake_state[0])
    stripped = "EXCLUDE_WEIGHTS" in names
    header: Header = engine._fake_state.header
    if stripped and not header.refittable:
        return fail(engine._fake_state.logger, "Weights can be excluded from a refittable engine only")
    dropped = () if stripped or "INCLUDE_REFIT" in names else ("REFIT", "REFIT_IDENTICAL", "STRIP_PLAN")
    flags = tuple(flag for flag in header.flags if flag not in dropped)
    return _serialized(engine, replace(header, flags=flags), stripped=stripped)


def _serialized(engine: Any, header: Header, *, stripped: bool) -> Any:
    state: EngineState = engine._fake_state
    if state.missing and not stripped:
        return fail(state.logger, f"{len(state.missing)} weights are missing: refit the engine before")
    network = state.network.copy()
    if stripped:
        network.strip()
    header = replace(header, stripped=stripped, weights=header.weights if stripped else state.network.digest())
    return host_memory(engine, plan_file.write(Plan(header, network)))


def replace(header: Header, **changes: Any) -> Header:
    """Give a header with other values."""
    return Header(**{name: changes.get(name, getattr(header, name)) for name in Header.__struct_fields__})


@does("ISerializationConfig.set_flag", required=True)
def set_serialization_flag(config: Any, flag: Any) -> bool:
    config._fake_state[0] |= 1 << int(flag)
    return True


@does("ISerializationConfig.clear_flag", required=True)
def clear_serialization_flag(config: Any, flag: Any) -> bool:
    config._fake_state[0] &= ~(1 << int(flag))
    return True


@does("ISerializationConfig.get_flag", required=True)
def get_serialization_flag(config: Any, flag: Any) -> bool:
    return bool(config._fake_state[0] >> int(flag) & 1)


does("ISerializationConfig.flags", required=True)(lambda config: config._fake_state[0])


@sets("ISerializationConfig.flags")
def set_serialization_flags(config: Any, value: int) -> None:
    config._fake_state[0] = value


# The inspector


@does("ICudaEngine.create_engine_inspector", required=True)
def create_engine_inspector(engine: Any) -> Any:
    return module_of(engine).make("EngineInspector", engine)


BEHAVIOURS.keeps("EngineInspector", execution_context=None, error_recorder=None)


@does("EngineInspector.get_engine_information", required=True)
def engine_information(inspector: Any, format: Any) -> str:  # noqa: A002
    state: EngineState = inspector._fake_state._fake_state
    layers = [_layer(node, state.header.verbosity) for node in state.network.proto.graph.node]
    layers = [] if state.header.verbosity == "NONE" else layers
    if format.name == "ONELINE":
        return "\n".join(str(layer) for layer in layers)
    return json.dumps({"Layers": layers, "Bindings": [each.name for each in state.tensors()]})


@does("EngineInspector.get_layer_information", required=True)
def layer_information(inspector: Any, layer_index: int, format: Any) -> str:  # noqa: A002
    state: EngineState = inspector._fake_state._fake_state
    return json.dumps(_layer(state.network.proto.graph.node[layer_index], state.header.verbosity))


def _layer(node: Any, verbosity: str) -> Any:
    """Describe a layer: its name, or in DETAILED its parts."""
    if verbosity != "DETAILED":
        return layer_name(node)
    tensors = {"Inputs": [{"Name": name} for name in node.input], "Outputs": [{"Name": name} for name in node.output]}
    return {"Name": layer_name(node), "LayerType": node.op_type, **tensors, "TacticName": "fake", "Metadata": ""}
