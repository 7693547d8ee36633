"""A half graph as float32 arithmetic that rounds where half would, for machines that do not compute in half.

ONNX Runtime's CPU provider has no bfloat16 convolution or matrix product. Float16 ones it computes in float32, and
where one feeds another it leaves out the rounding between them, overflow included: such a run says little of a GPU. But
it can cast. Here every node computes in float32 on rounded operands and its outcome is rounded: what hardware does that
multiplies halves and sums in float32. A kernel that fuses several nodes rounds less often, one that sums in half more.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import onnx_ir as ir

from foley_export.precision.operators import FLOAT, FOLLOWERS, HALF_TYPES, results

HALVES: Final = frozenset(HALF_TYPES.values())


def emulate(model: ir.Model) -> int:
    """Turn a strongly typed half graph into its emulation in place; give the number of values that it rounds.

    Weights stay stored in half, behind casts.
    """
    graph = model.graph
    stored = [value for value in graph.initializers.values() if value.dtype in HALVES]
    casts = [_widened(value) for value in stored]
    rounded = 0
    for node in [*graph]:
        for value in results(node):
            if value.dtype in HALVES:
                rounded += _round(graph, node, value)
    if casts:
        graph.insert_before(graph[0], casts)
    return rounded


def _widened(value: ir.Value) -> ir.Node:
    """Give a cast to float32, not yet in the graph, from which everything reads that read a weight."""
    cast = ir.node("Cast", [value], {"to": FLOAT}, name=f"{value.name}/fp32")
    users = [use for use in value.uses() if use.node is not cast]
    for node, place in users:
        node.replace_input_with(place, cast.outputs[0])
    cast.outputs[0].name, cast.outputs[0].shape, cast.outputs[0].type = cast.name, value.shape, ir.TensorType(FLOAT)
    return cast


def _round(graph: ir.Graph, node: ir.Node, value: ir.Value) -> int:
    """Let a node give float32 and round it behind; what only moves rounded values needs no rounding."""
    if node.op_type == "Cast":
        graph.insert_after(node, _widened(value))
        return 1
    half, value.type = value.type, ir.TensorType(FLOAT)
    if node.op_type in FOLLOWERS or half is None:
        return 0
    users = list(value.uses())
    down = ir.node("Cast", [value], {"to": half.dtype}, name=f"{value.name}/round")
    down.outputs[0].name, down.outputs[0].shape, down.outputs[0].type = down.name, value.shape, half
    up = _widened(down.outputs[0])
    for user, place in users:
        user.replace_input_with(place, up.outputs[0])
    graph.insert_after(node, [down, up])
    return 1


@contextmanager
def emulated(file: Path) -> Iterator[Path]:
    """Give the emulation of a half graph's file, beside it, where its weights are; it is gone afterwards."""
    model = ir.load(file)
    emulate(model)
    place = file.with_name(f"{file.stem}.emulated.onnx")
    try:
        ir.save(model, place)
        yield place
    finally:
        place.unlink(missing_ok=True)
