"""The weights of a model's layers: their names in a traced graph, and where a LoRA finds them in its weights file."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import onnx_ir as ir

from foley.parameters import Parameter, encode
from foley_export.half_weights import STORED_IN_HALF

WEIGHT: Final = ".weight"
TRANSPOSED: Final = ".weight.T"
LAYERS: Final = frozenset({"Conv", "Gemm", "MatMul"})
"""What a linear layer or a convolution is traced to."""
DTYPES: Final[dict[ir.DataType, Literal["float32", "float16", "bfloat16"]]] = {
    ir.DataType.FLOAT: "float32",
    ir.DataType.FLOAT16: "float16",
    ir.DataType.BFLOAT16: "bfloat16",
}


def name_transposed(graph: ir.Graph) -> int:
    """Name every layer's transposed weight after it, `LAYER.weight.T`; give the number of names.

    The tracer writes a linear layer as a product with Transpose(`LAYER.weight`). Once that is folded, nothing says any
    more whose weight it is; a name given before stays.
    """
    named = 0
    for name, value in graph.initializers.items():
        reader = _only_reader(value)
        if name.endswith(WEIGHT) and reader is not None and _swaps_axes(reader):
            reader.outputs[0].name = f"{name.removesuffix(WEIGHT)}{TRANSPOSED}"
            named += 1
    return named


def _swaps_axes(node: ir.Node) -> bool:
    return node.op_type == "Transpose" and list(node.attributes["perm"].as_ints()) == [1, 0]


def _only_reader(value: ir.Value) -> ir.Node | None:
    readers = [use.node for use in value.uses()]
    return readers[0] if len(readers) == 1 else None


def write_parameters(model: ir.Model, prefixes: Mapping[str, str], file: Path) -> None:
    """Write `find_parameters` of a stored graph to a file."""
    file.write_bytes(encode(find_parameters(model, prefixes)))


def find_parameters(model: ir.Model, prefixes: Mapping[str, str]) -> dict[str, Parameter]:
    """Give the places of the layers that a LoRA may change, by their names in LoRA files, from a stored graph.

    `prefixes` are those of `GraphPlan.lora_prefixes`. A matrix that lies in the graph itself (below
    `storage.INLINE_BYTES`) has no place, nor has one whose bytes another tensor or layer shares: changing it would
    change both.
    """
    stored = {
        value: value.const_value
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor)
    }
    sharers = Counter(tensor.offset for tensor in stored.values())
    alone = {value: tensor for value, tensor in stored.items() if sharers[tensor.offset] == 1 and _of_layer(value)}
    names = {value: _lora_name(str(value.name), prefixes) for value in alone}
    return {name: _parameter(value, alone[value]) for value, name in names.items() if name is not None}


def _of_layer(value: ir.Value) -> bool:
    """Say whether one layer alone reads an initializer, directly or widened."""
    reader = _only_reader(value)
    if reader is not None and reader.op_type == "Cast":
        return _of_layer(reader.outputs[0])
    return reader is not None and reader.op_type in LAYERS


def _lora_name(name: str, prefixes: Mapping[str, str]) -> str | None:
    """Give what LoRA files call the layer of an initializer; None where no LoRA changes it."""
    layer, mark, rest = name.removesuffix(STORED_IN_HALF).rpartition(WEIGHT)
    prefix = next((prefix for prefix in prefixes if layer.startswith(prefix)), None)
    if not mark or f"{mark}{rest}" not in (WEIGHT, TRANSPOSED) or prefix is None:
        return None
    return f"{prefixes[prefix]}{layer.removeprefix(prefix)}"


def _parameter(value: ir.Value, tensor: ir.ExternalTensor) -> Parameter:
    return Parameter(
        offset=int(tensor.offset or 0),
        dtype=DTYPES[tensor.dtype],
        shape=tensor.shape.numpy(),
        transposed=str(value.name).removesuffix(STORED_IN_HALF).endswith(TRANSPOSED),
    )
