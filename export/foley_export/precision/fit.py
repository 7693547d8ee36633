"""Which nodes measuring keeps in float32, and why."""

from typing import Final, Literal

import onnx_ir as ir

from foley_export.dialect import ATTENTION
from foley_export.precision.measure import Measured
from foley_export.precision.operators import LARGEST, HalfPrecision, computes, is_constant, operands, producers, results
from foley_export.precision.rules import AFFINE_STEPS

Reason = Literal["range", "rounding", "scores"]

RANGE_MARGIN: Final = 4.0
"""An activation may be so many times larger for a prompt or seed that was not measured before half overflows. Weights
are what they are and get no margin."""
ROUNDING_FLOOR_DB: Final[dict[HalfPrecision, float]] = {"fp16": 60.0, "bf16": 40.0}
"""The least ratio of a tensor's power to that of its rounding. Whatever the numbers, half gives 74 dB on average and 66
at the least, bfloat16 56 and 48, unless much of the power lies in numbers below half's normal ones (6e-5)."""
UNIT_ROUNDOFF: Final[dict[HalfPrecision, float]] = {"fp16": 2.0**-11, "bf16": 2.0**-8}
"""The largest relative error of rounding."""
SCORE_ERROR: Final[dict[HalfPrecision, float]] = {"fp16": 2.0**-5, "bf16": 2.0**-3}
"""The largest absolute error of a rounded attention score. Softmax turns it into the same relative error of a weight:
in half 3 % at the worst and 1 to 2 % on average, over errors that differ from key to key and mostly cancel in the sum.
In bfloat16, where everything is eight times coarser, four times that. Reached at scores of 64 and of 32. Kernels that
keep scores in float32 registers do better; decomposed attention rounds them."""


def unfit(typed: list[ir.Node], measured: Measured, precision: HalfPrecision) -> dict[ir.Node, Reason]:
    """Give the nodes that half would spoil: the first reason of range, rounding and scores."""
    reasons = ((node, _reason(_held(node), measured, precision)) for node in typed)
    found = {node: reason for node, reason in reasons if reason is not None}
    return {**dict.fromkeys(_coarse_scores(typed, measured, precision), "scores"), **found}


def _held(node: ir.Node) -> list[ir.Value]:
    """Give what has to fit for a node to be half: what it takes and gives; of what only moves values, its constants."""
    taken = [value for _, value in operands(node)]
    return [*taken, *results(node)] if computes(node) else [value for value in taken if is_constant(value)]


def _reason(values: list[ir.Value], measured: Measured, precision: HalfPrecision) -> Reason | None:
    if any(not _in_range(value, measured, precision) for value in values):
        return "range"
    floor = ROUNDING_FLOOR_DB[precision]
    known = [measured.tensors[str(value.name)] for value in values if value.name in measured.tensors]
    return "rounding" if any(extent.rounding_db < floor for extent in known) else None


def _in_range(value: ir.Value, measured: Measured, precision: HalfPrecision) -> bool:
    extent = measured.tensors.get(str(value.name))
    margin = 1.0 if is_constant(value) else RANGE_MARGIN
    return extent is None or extent.largest * margin <= LARGEST[precision]


def _coarse_scores(typed: list[ir.Node], measured: Measured, precision: HalfPrecision) -> set[ir.Node]:
    """Give attention whose largest scores are too coarse in half, whole or decomposed: from QKᵀ up to its Softmax."""
    limit = SCORE_ERROR[precision] / UNIT_ROUNDOFF[precision]
    whole = {node for node in typed if node.op_type == ATTENTION and measured.scores.get(str(node.name), 0.0) > limit}
    chains = [_score_chain(node) for node in typed if node.op_type == "Softmax"]
    coarse = [chain for chain in chains if _largest_score(chain, measured) > limit]
    return whole.union(*coarse)


def _score_chain(softmax: ir.Node) -> list[ir.Node]:
    """Give the nodes from the product QKᵀ to a Softmax, in order; the Softmax alone where there is none."""
    chain = [softmax]
    while chain[0].op_type != "MatMul":
        sources = [node for node in producers(chain[0]) if node.op_type in {*AFFINE_STEPS, "MatMul"}]
        if len(sources) != 1:
            return [softmax]
        chain.insert(0, sources[0])
    return chain


def _largest_score(chain: list[ir.Node], measured: Measured) -> float:
    """Give the largest score, scaled by constants but not yet masked."""
    scaled = chain[0]
    for node in chain[1:]:
        if not any(is_constant(value) for _, value in operands(node)):
            break
        scaled = node
    extent = measured.tensors.get(str(results(scaled)[0].name))
    return 0.0 if extent is None or len(chain) == 1 else extent.largest
