"""Which nodes compute in float32 whatever was measured."""

from collections.abc import Iterator
from typing import Final

import numpy as np
import onnx_ir as ir

from foley_export.precision.operators import (
    FLOATING,
    FOLLOWERS,
    LARGEST,
    HalfPrecision,
    array,
    consumers,
    following,
    is_constant,
    is_layer,
    moves_weights,
    operands,
    producers,
    reach,
    typed_nodes,
)

NORMALISATIONS: Final = frozenset(
    {"BatchNormalization", "GroupNormalization", "InstanceNormalization", "LayerNormalization", "RMSNormalization"}
)
REDUCTIONS: Final = frozenset({"ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceSum", "ReduceSumSquare", "CumSum"})
RESHAPES: Final = frozenset({"Reshape", "Squeeze", "Transpose", "Unsqueeze"})
STATISTIC_STEPS: Final = frozenset({"Add", "Clip", "Div", "Max", "Mul", "Pow", "Reciprocal", "Sqrt", "Sub"})
AFFINE_STEPS: Final = frozenset({"Add", "Div", "Mul", "Sub"})
MASK_STEPS: Final = FOLLOWERS | {"Add", "Max", "Min", "Mul", "Sub"}
PERIODIC: Final = frozenset({"Cos", "Sin"})
"""A large argument rounded to half is another angle."""
WITHOUT_BFLOAT16: Final = frozenset({"Resize"})
"""TensorRT's Resize takes no bfloat16 (its own demo casts around it)."""


def float32_by_rule(graph: ir.Graph, precision: HalfPrecision) -> set[ir.Node]:
    """Give the nodes that stay float32 by what they are."""
    typed = typed_nodes(graph)
    fixed = PERIODIC | (WITHOUT_BFLOAT16 if precision == "bf16" else set())
    return {
        *(node for node in typed if node.op_type in fixed),
        *_outside_layers(typed),
        *_indices(graph),
        *_normalisations(typed),
        *_masked_scores(typed, LARGEST[precision]),
    }


def _outside_layers(typed: list[ir.Node]) -> set[ir.Node]:
    """Give what stands before the first weights or behind the last ones, as graph inputs and outputs are float32.

    So the timestep's sine and cosine, and guidance, sampler, repainting and the log-mel's scale, which cost nothing.
    """
    layers = [node for node in typed if is_layer(node)]
    within = reach(layers, following) & reach(layers, producers)
    return {node for node in typed if node not in within and not moves_weights(node)}


def _indices(graph: ir.Graph) -> set[ir.Node]:
    """Give what becomes an integer or a truth value, back to the nearest weights: a rounded index is another row."""
    seeds = [node for node in graph if node.op_type == "Cast" and node.outputs[0].dtype not in FLOATING]
    sources = [source for seed in seeds for source in producers(seed) if not is_layer(source)]
    return reach(sources, lambda node: (source for source in producers(node) if not is_layer(source)))


def _normalisations(typed: list[ir.Node]) -> set[ir.Node]:
    """Give sums over many values, what is made of them, and reshapes and affine step around a normalisation.

    The reshapes too, so that casts stand around a group normalisation and engines find its pattern whole.
    """
    whole = [node for node in typed if node.op_type in NORMALISATIONS]
    affine = [step for node in whole for step in (*_reshapes_before(node), *_affine_steps(node))]
    statistics = [step for node in typed if node.op_type in REDUCTIONS for step in _statistic(node)]
    return {*whole, *affine, *statistics}


def _reshapes_before(node: ir.Node) -> Iterator[ir.Node]:
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    while source is not None and source.op_type in RESHAPES and _only_reader(source) is not None:
        yield source
        source = source.inputs[0].producer() if source.inputs[0] is not None else None


def _affine_steps(node: ir.Node) -> Iterator[ir.Node]:
    """Give the scale and shift by constants that follow a normalisation alone, reshapes between them included."""
    step = _only_reader(node)
    while step is not None and (step.op_type in FOLLOWERS or _by_constant(step)):
        yield step
        step = _only_reader(step)


def _only_reader(node: ir.Node) -> ir.Node | None:
    readers = consumers(node.outputs[0])
    return readers[0] if len(readers) == 1 and len(readers[0].outputs) == 1 else None


def _by_constant(node: ir.Node) -> bool:
    return node.op_type in AFFINE_STEPS and any(is_constant(value) for _, value in operands(node))


def _statistic(reduction: ir.Node) -> set[ir.Node]:
    """Give a reduction, the squares that it sums, and the chain up to the tensor that its outcome scales or shifts."""
    found = {reduction, *(source for source in producers(reduction) if _squares(source))}
    waiting = [*following(reduction)]
    while waiting:
        step = waiting.pop()
        if step in found or step.op_type not in STATISTIC_STEPS:
            continue
        found.add(step)
        if _meets_tensor(step, found):
            found.update(_affine_steps(step))
        else:
            waiting.extend(following(step))
    return found


def _squares(node: ir.Node) -> bool:
    return node.op_type == "Pow" or (node.op_type == "Mul" and node.inputs[0] is node.inputs[1])


def _meets_tensor(step: ir.Node, statistic: set[ir.Node]) -> bool:
    """Say whether a step has an operand that is neither a constant nor of the statistic itself."""
    others = [value for _, value in operands(step) if not is_constant(value)]
    return any(value.producer() not in statistic for value in others)


def _masked_scores(typed: list[ir.Node], largest: float) -> set[ir.Node]:
    """From a mask of numbers that half has not (float32's lowest, -inf) to the Softmax that it is for."""
    seeds = [node for node in typed if node.op_type in MASK_STEPS and _has_constant_beyond(node, largest)]
    found: set[ir.Node] = set()
    for seed in seeds:
        found |= _way_to_softmax(seed, {})
    return found


def _has_constant_beyond(node: ir.Node, largest: float) -> bool:
    constants = [array(value) for _, value in operands(node) if is_constant(value)]
    return any(numbers.size and float(np.abs(numbers).max()) > largest for numbers in constants)


def _way_to_softmax(node: ir.Node, known: dict[ir.Node, set[ir.Node]]) -> set[ir.Node]:
    """Give the nodes from here to every Softmax that is reached by steps that a mask survives; none if none is."""
    if node.op_type == "Softmax":
        return {node}
    if node.op_type not in MASK_STEPS:
        return set()
    if node not in known:
        onward = [_way_to_softmax(reader, known) for reader in following(node)]
        reached = set().union(*onward)
        known[node] = {node, *reached} if reached else set()
    return known[node]
