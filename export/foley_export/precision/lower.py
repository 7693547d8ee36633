"""A traced float32 graph to half precision: measured, decided, converted, checked."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import onnx_ir as ir
from onnx_ir.passes.common import LiftConstantsToInitializersPass

from foley.errors import CheckpointError
from foley_export.precision.check import check_types
from foley_export.precision.convert import convert
from foley_export.precision.fit import Reason, unfit
from foley_export.precision.measure import Sample, measure
from foley_export.precision.node_types import node_types
from foley_export.precision.operators import FLOAT, HalfPrecision, computes, operands, results, typed_nodes
from foley_export.precision.rules import float32_by_rule

BFLOAT16_OPSET: Final = 22
"""The first in which ONNX has convolutions of bfloat16; what Foley's graphs use means what it means in opset 20."""


@dataclass(frozen=True)
class Lowered:
    """What became of a graph."""

    lowered: bool
    """False where every node would be float32: the graph is as it was."""
    measured: dict[str, Reason] = field(default_factory=dict)
    """Nodes that measuring keeps in float32, by name, in order, and why."""
    nodes: int = 0
    """Nodes that compute."""

    def __str__(self) -> str:
        """Say how many nodes stay and why."""
        if not self.lowered:
            return "stays float32 as a whole: no node that computes fits half"
        reasons = ", ".join(f"{reason} {count}" for reason, count in Counter(self.measured.values()).items())
        return f"{len(self.measured)} of {self.nodes} nodes stay in float32{f' ({reasons})' if reasons else ''}"


def lower(model: ir.Model, precision: HalfPrecision, samples: Sequence[Sample], place: Path) -> Lowered:
    """Convert a float32 graph in place; `place` is the folder of its external tensors.

    Raises:
        CheckpointError: the graph has branches or loops, whose types nobody follows.
        EngineError: ONNX Runtime does not run the graph.
    """
    if any(attribute.type == ir.AttributeType.GRAPH for node in model.graph for attribute in node.attributes.values()):
        raise CheckpointError(f"{model.graph.name} has branches or loops; export it with --precision fp32")
    LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)
    typed = typed_nodes(model.graph)
    ruled = float32_by_rule(model.graph, precision)
    asked = {str(value.name) for node in typed if node not in ruled for value in _touched(node)}
    reasons = unfit(typed, measure(model, precision, samples, place, asked), precision)
    kept = {node: reasons[node] for node in typed if node in reasons and node not in ruled}
    return _lower(model, precision, ruled, kept)


def _touched(node: ir.Node) -> list[ir.Value]:
    return [*(value for _, value in operands(node)), *results(node)]


def _lower(model: ir.Model, precision: HalfPrecision, ruled: set[ir.Node], kept: dict[ir.Node, Reason]) -> Lowered:
    types = node_types(model.graph, {*ruled, *kept}, precision)
    computing = [node for node in types if computes(node)]
    if all(types[node] == FLOAT for node in computing):
        return Lowered(lowered=False)
    convert(model, types)
    if precision == "bf16":
        model.opset_imports[""] = max(model.opset_imports[""], BFLOAT16_OPSET)
    check_types(model)
    return Lowered(True, {str(node.name): reason for node, reason in kept.items()}, len(computing))
