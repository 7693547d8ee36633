"""Inputs on which a graph's activations are measured: the recorded ones, and others as they come up in use."""

from collections.abc import Mapping

import numpy as np

from foley_engines import Array
from foley_export.golden import Recording
from foley_export.model import Axes, GraphPlan


class Rehearsal:
    """What the graphs exported so far gave for their examples: what the next ones will be given."""

    def __init__(self) -> None:
        self._outputs: dict[str, Array] = {}

    def learn(self, plan: GraphPlan, recording: Recording) -> None:
        """Remember a graph's recorded outputs; those of one name are joined along the token axis, as in use."""
        for name in plan.outputs:
            given = recording[name]
            known = self._outputs.get(name)
            self._outputs[name] = given if known is None else np.concatenate([known, given], axis=1)

    def samples(self, plan: GraphPlan, recording: Recording) -> list[Mapping[str, Array]]:
        """Give a graph's inputs by name: the recorded ones, then its plan's, with real contexts and mels put in."""
        own = [{name: tensor.numpy() for name, tensor in sample.items()} for sample in plan.calibration()]
        return [
            {name: recording[name] for name in plan.inputs},
            *({**given, **self._real(plan, given)} for given in own),
        ]

    def _real(self, plan: GraphPlan, given: Mapping[str, Array]) -> dict[str, Array]:
        """Give inputs that an earlier graph gave under the same name, as many rows of them as the sample has."""
        known = {name: self._outputs[name] for name in plan.inputs if name in self._outputs}
        fitting = {name: array for name, array in known.items() if _fits(array, plan.inputs[name])}
        return {name: array[np.arange(len(given[name])) % len(array)] for name, array in fitting.items()}


def _fits(array: Array, axes: Axes) -> bool:
    sizes = zip(array.shape, axes, strict=False)
    return array.ndim == len(axes) and all(isinstance(axis, str) or size == axis for size, axis in sizes)
