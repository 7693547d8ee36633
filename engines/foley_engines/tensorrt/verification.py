"""A new plan's outputs against torch's, or against ONNX Runtime's where the plan cannot take the recorded inputs."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

import numpy as np

from foley_engines.base import Array, TensorSpec
from foley_engines.errors import EngineError
from foley_engines.fidelity import Comparison, compare_outputs, run_once
from foley_engines.graph_file import Arrays, GraphFile
from foley_engines.onnxruntime_cpu import CpuEngine
from foley_engines.plans.record import Figure, Verified
from foley_engines.profiles import admits, describe, exactly, sizes_in, span, usual
from foley_engines.tensorrt.engine import LoadedPlan, Tensors

NOISE_SEED: Final = 20240518
RUNS: Final = 3
"""One plain, one captured, one replayed: what is compared is what will be used."""
Against = Literal["torch", "onnxruntime-cpu"]
MOST_DB: Final = 300.0
"""What a record says of outputs without any error; JSON has no infinity."""


def measure_plan(plan: LoadedPlan, graph: GraphFile, tensors: Tensors) -> Verified:
    """Compare a plan's outputs with a reference's."""
    inputs, expected, against = _reference(plan, graph, tensors)
    comparisons = compare_outputs(expected, _outputs(plan, inputs, list(expected)))
    return Verified(against=against, floor_db=graph.floor_db, figures=tuple(map(_figure, comparisons)))


def verify_plan(plan: LoadedPlan, graph: GraphFile, tensors: Tensors) -> Verified:
    """Compare a plan's outputs with a reference's, and refuse the plan below the graph's floor.

    Raises:
        EngineError: an output is below it.
    """
    verified = measure_plan(plan, graph, tensors)
    worst = min(verified.figures, key=lambda figure: figure.snr_db)
    if worst.snr_db < graph.floor_db:
        raise EngineError(
            f"{graph.name}: the plan for {describe(plan.profile)} gives {worst.snr_db:.1f} dB at {worst.output} "
            f"against {verified.against}, expected {graph.floor_db:g} or more; it was not kept. "
            "Find the tensor with: foley build --bisect"
        )
    return verified


def _reference(plan: LoadedPlan, graph: GraphFile, tensors: Tensors) -> tuple[Arrays, Arrays, Against]:
    """Give inputs that the plan's profile admits, the outputs to expect of them, and whose these are."""
    recorded = graph.golden() if graph.golden is not None else None
    if recorded is not None:
        inputs, outputs = recorded
        if admits(plan.profile, sizes_in(tensors[0], {name: array.shape for name, array in inputs.items()})):
            return inputs, outputs, "torch"
    sizes = usual(plan.profile)
    inputs = graph.example(sizes) if graph.example is not None else _noise(tensors[0], sizes)
    with CpuEngine(graph.spellings.get("reference", graph.standard).path, optimise=False) as engine:
        return inputs, run_once(engine, inputs), "onnxruntime-cpu"


def _noise(specs: Mapping[str, TensorSpec], sizes: Mapping[str, int]) -> Arrays:
    """Give inputs for a graph of which nothing is known: floats of unit variance, and zeros, which any index may be."""
    shapes = {name: span(spec, exactly(sizes))[0] for name, spec in specs.items()}
    rng = np.random.default_rng(NOISE_SEED)
    return {
        name: np.zeros(shape, np.int64) if specs[name].dtype == "int64" else rng.standard_normal(shape, np.float32)
        for name, shape in shapes.items()
    }


def _outputs(plan: LoadedPlan, inputs: Arrays, names: Sequence[str]) -> dict[str, Array]:
    session = plan.bind({name: array.shape for name, array in inputs.items()})
    try:
        for name, array in inputs.items():
            session[name].write(array)
        for _ in range(RUNS):
            session.run()
        return {name: session[name].read() for name in names}
    finally:
        session.close()


def _figure(comparison: Comparison) -> Figure:
    snr_db = round(min(comparison.snr_db, MOST_DB), 2)
    return Figure(output=comparison.output, snr_db=snr_db, worst_abs=comparison.worst_abs)
