"""Networks of the fake TensorRT."""

from dataclasses import dataclass
from typing import Any

from support.nvidia.onnx_network import OnnxNetwork, TensorFacts
from support.nvidia.pybind import module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, dims, fail, sizes_of

does, sets = BEHAVIOURS.does, BEHAVIOURS.sets


@dataclass
class NetworkState:
    """A network: empty until a parser filled it."""

    logger: Any
    flags: int
    model: OnnxNetwork | None = None
    name: str = ""


@dataclass(frozen=True)
class TensorState:
    """A tensor of a network."""

    network: NetworkState
    name: str

    @property
    def facts(self) -> TensorFacts:
        """What is known of it."""
        assert self.network.model is not None
        inputs = {each.name: each for each in self.network.model.inputs}
        return inputs.get(self.name) or self.network.model.tensor(self.name)


# The network


def model_of(network: Any) -> OnnxNetwork:
    """Give a network's graph.

    Raises:
        NotImplementedError: nothing was parsed into it.
    """
    if network._fake_state.model is None:
        raise NotImplementedError("the fake's networks come from an ONNX file only")
    model: OnnxNetwork = network._fake_state.model
    return model


@does("INetworkDefinition.num_inputs", required=True)
def network_inputs(network: Any) -> int:
    return len(network._fake_state.model.inputs) if network._fake_state.model else 0


@does("INetworkDefinition.num_outputs", required=True)
def network_outputs(network: Any) -> int:
    return len(network._fake_state.model.proto.graph.output) if network._fake_state.model else 0


@does("INetworkDefinition.num_layers", required=True)
def network_layers(network: Any) -> int:
    return len(network._fake_state.model.proto.graph.node) if network._fake_state.model else 0


@does("INetworkDefinition.get_input", required=True)
def network_input(network: Any, index: int) -> Any:
    return _tensor(network, network._fake_state, model_of(network).inputs[index].name)


@does("INetworkDefinition.get_output", required=True)
def network_output(network: Any, index: int) -> Any:
    return _tensor(network, network._fake_state, model_of(network).proto.graph.output[index].name)


@does("INetworkDefinition.get_layer", required=True)
def network_layer(network: Any, index: int) -> Any:
    node = model_of(network).proto.graph.node[index]
    layer = module_of(network).make("ILayer", (network._fake_state, node, index))
    layer._fake_kept["name"] = layer_name(node)
    return layer


@does("INetworkDefinition.mark_output", required=True)
def mark_output(network: Any, tensor: Any) -> None:
    if tensor._fake_state.name not in [value.name for value in model_of(network).proto.graph.output]:
        model_of(network).mark(tensor._fake_state.name)


@does("INetworkDefinition.unmark_output", required=True)
def unmark_output(network: Any, tensor: Any) -> None:
    model_of(network).unmark(tensor._fake_state.name)


@does("INetworkDefinition.get_flag", required=True)
def network_flag(network: Any, flag: Any) -> bool:
    return bool(network._fake_state.flags >> int(flag) & 1)


does("INetworkDefinition.flags", required=True)(lambda network: network._fake_state.flags)
BEHAVIOURS.keeps("INetworkDefinition", name="")


def layer_name(node: Any) -> str:
    """Name a node as the parser does: by itself, or by what it gives."""
    return str(node.name or f"node_of_{node.output[0]}")


BEHAVIOURS.keeps("ILayer", name="", metadata="")
does("ILayer.num_inputs", required=True)(lambda layer: len(layer._fake_state[1].input))
does("ILayer.num_outputs", required=True)(lambda layer: len(layer._fake_state[1].output))


@does("ILayer.get_input", required=True)
def layer_input(layer: Any, index: int) -> Any:
    state, node, _ = layer._fake_state
    return _tensor(layer, state, node.input[index]) if node.input[index] else None


@does("ILayer.get_output", required=True)
def layer_output(layer: Any, index: int) -> Any:
    state, node, _ = layer._fake_state
    return _tensor(layer, state, node.output[index]) if node.output[index] else None


# Tensors


def _tensor(owner: Any, network: NetworkState, name: str) -> Any:
    return module_of(owner).make("ITensor", TensorState(network, name))


does("ITensor.name", required=True)(lambda tensor: tensor._fake_state.name)


@does("ITensor.shape", required=True)
def tensor_shape(tensor: Any) -> Any:
    return dims(tensor, tensor._fake_state.facts.shape)


@sets("ITensor.shape")
def set_tensor_shape(tensor: Any, value: Any) -> None:
    """Give an input another shape."""
    state: TensorState = tensor._fake_state
    sizes, declared = sizes_of(value), state.facts.shape
    fits = len(sizes) == len(declared) and all(old in (-1, new) for old, new in zip(declared, sizes, strict=True))
    if not tensor.is_network_input or not fits:
        fail(state.network.logger, f"{state.name} of shape {declared} cannot get the shape {sizes}")
        return
    assert state.network.model is not None
    state.network.model.set_shape(state.name, sizes)


@does("ITensor.dtype", required=True)
def tensor_type(tensor: Any) -> Any:
    return module_of(tensor).enum("DataType", tensor._fake_state.facts.dtype)


@does("ITensor.is_network_input", required=True)
def is_network_input(tensor: Any) -> bool:
    return tensor._fake_state.name in [each.name for each in tensor._fake_state.network.model.inputs]


@does("ITensor.is_network_output", required=True)
def is_network_output(tensor: Any) -> bool:
    return tensor._fake_state.name in [each.name for each in tensor._fake_state.network.model.proto.graph.output]


BEHAVIOURS.gives("ITensor", is_shape_tensor=False, is_execution_tensor=True)


@does("ITensor.get_dimension_name", required=True)
def dimension_name(tensor: Any, index: int) -> str | None:
    """Name an axis of an input; other tensors' axes have no names."""
    axes = tensor._fake_state.facts.axes
    return (axes[index] or None) if axes else None
