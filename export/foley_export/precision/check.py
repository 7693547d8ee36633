"""A strongly typed graph is one in which nothing has to be converted on the way into a node."""

from collections.abc import Iterator

import onnx
import onnx_ir as ir

from foley_export.precision.operators import FLOATING, OWN_TYPE, UNTYPED, operands, results


class MixedTypesError(Exception):
    """A graph is not strongly typed; the message names the first node at fault. It is a mistake of the exporter."""


def check_types(model: ir.Model) -> None:
    """Assert that every node's floating operands and outputs have one type, one that ONNX has the operator for.

    Types are followed from the graph's inputs and weights, whose numbers have the type that is declared.

    Raises:
        MixedTypesError: they have not.
    """
    faults = [*_weight_faults(model.graph)]
    for node in model.graph:
        faults += _faults(node, model.opset_imports.get(node.domain, 1))
    if faults:
        raise MixedTypesError(f"{model.graph.name}: {faults[0]} ({len(faults)} in all)")


def _weight_faults(graph: ir.Graph) -> Iterator[str]:
    for name, value in graph.initializers.items():
        if value.const_value is not None and value.const_value.dtype != value.dtype:
            yield f"{name} is declared {value.dtype}, its numbers are {value.const_value.dtype}"


def _faults(node: ir.Node, opset: int) -> Iterator[str]:
    what = f"{node.op_type} {node.name}"
    untyped = [value.name for value in node.outputs if value.dtype is None]
    if untyped:
        yield f"{what}: {untyped[0]} has no type"
    if node.op_type == "Cast":
        if results(node) and node.attributes["to"].as_int() != node.outputs[0].dtype:
            yield f"{what} gives another type than {node.outputs[0].name} is declared"
        return
    types = {value.dtype for _, value in operands(node)} if node.op_type not in UNTYPED else set()
    types |= {value.dtype for value in results(node)}
    if len(types) > 1:
        yield f"{what} mixes {', '.join(sorted(str(kind) for kind in types))}"
    elif types and not _allowed(node, opset):
        yield f"{what} takes no {next(iter(types))} in opset {opset}"


def _allowed(node: ir.Node, opset: int) -> bool:
    """Say whether ONNX has an operator for the types of a node's inputs; operators of other domains are not known."""
    if node.domain or not onnx.defs.has(node.op_type, node.domain):
        return True
    schema = onnx.defs.get_schema(node.op_type, opset, node.domain)
    own = OWN_TYPE.get(node.op_type, ())
    for place, value in enumerate(node.inputs):
        formal = schema.inputs[min(place, len(schema.inputs) - 1)]
        if value is None or value.dtype not in FLOATING or place in own:
            continue
        if f"tensor({_spelt(value)})" not in {*formal.types}:
            return False
    return True


def _spelt(value: ir.Value) -> str:
    return {ir.DataType.FLOAT: "float", ir.DataType.FLOAT16: "float16"}.get(
        value.dtype or ir.DataType.FLOAT, "bfloat16"
    )
