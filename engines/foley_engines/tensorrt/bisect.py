"""Where a plan goes wrong: the first tensor of a graph that departs from ONNX Runtime's, found by giving tensors out.

A tensor that is given out is not fused away. So each round builds a plan that gives a few out, and narrows the stretch
between the last that holds and the first that does not.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from foley_engines.base import Array, TensorSpec
from foley_engines.errors import EngineError
from foley_engines.fidelity import snr_db
from foley_engines.graph_file import Arrays
from foley_engines.onnx_outputs import run_with_outputs
from foley_engines.profiles import Profile, usual
from foley_engines.tensorrt.builder import build_plan
from foley_engines.tensorrt.library import made, reason
from foley_engines.tensorrt.network import parse

if TYPE_CHECKING:
    from foley_engines.tensorrt.host import TensorRtHost
    from foley_engines.tensorrt.keeper import PlanKeeper

ROUND: Final = 16
"""Tensors that a round gives out: more would keep more from being fused, which may hide what is looked for."""
DTYPES: Final = {"FLOAT": "float32", "HALF": "float16", "INT64": "int64"}

Measure = Callable[[Sequence[str]], Mapping[str, float]]
"""Tensors → signal-to-noise ratio in dB of each."""


@dataclass(frozen=True)
class Departure:
    """The first tensor, in the network's order, below the floor."""

    tensor: str
    snr_db: float
    before: str | None
    """The last one that holds."""
    rounds: int


def find_departure(tensors: Sequence[str], floor_db: float, measure: Measure) -> Departure | None:
    """Find the first tensor below a floor, `ROUND` tensors a round; None: none of the first round's is.

    What departs is taken to stay so: between one that holds and a later one that does not, the first is looked for.
    """
    low, high, rounds, worst = -1, len(tensors) - 1, 0, 0.0
    while high - low > 1 or not rounds:
        places = _spread(low, high)
        ratios = measure([tensors[place] for place in places])
        rounds += 1
        wrong = [place for place in places if ratios[tensors[place]] < floor_db]
        if not wrong and rounds == 1:
            return None
        high = min([*wrong, high])
        worst = ratios.get(tensors[high], worst)
        low = max((place for place in places if place < high), default=low)
    return Departure(tensors[high], worst, tensors[low] if low >= 0 else None, rounds)


def bisect(host: "TensorRtHost", keeper: "PlanKeeper", profile: Profile) -> Departure | None:
    """Find the first tensor of a graph that TensorRT computes otherwise than ONNX Runtime does; None: all hold.

    Raises:
        EngineError: nothing is known to run the graph on, a round's plan does not build or run, or ONNX Runtime has no
            kernel for the graph's precision.
    """
    graph = keeper.graph
    if graph.example is None:
        raise EngineError(f"{graph.name}: there are no recorded inputs to look for a departure with")
    inputs = graph.example(usual(profile))
    builder = made(host.trt.Builder, host.logger)
    network, _parser = parse(host.trt, builder, keeper.spelling.path, host.logger)
    measure = partial(_measure, host, keeper, profile, inputs)
    return find_departure(inner_tensors(host.trt, network), graph.floor_db, measure)


def inner_tensors(trt: Any, network: Any) -> list[str]:  # noqa: ANN401
    """List the floating tensors of a network in its order, its outputs among them."""
    layers = (network.get_layer(index) for index in range(network.num_layers))
    found = (layer.get_output(index) for layer in layers for index in range(layer.num_outputs))
    kinds = (trt.DataType.FLOAT, trt.DataType.HALF)
    return list(dict.fromkeys(tensor.name for tensor in found if tensor is not None and tensor.dtype in kinds))


def _spread(low: int, high: int) -> list[int]:
    """Choose at most `ROUND` places in (low,high], the last among them, evenly."""
    count = min(ROUND, high - low)
    return sorted({low + round((high - low) * (part + 1) / count) for part in range(count)})


def _measure(
    host: "TensorRtHost", keeper: "PlanKeeper", profile: Profile, inputs: Arrays, names: Sequence[str]
) -> dict[str, float]:
    expected = run_with_outputs(keeper.spelling.path, inputs, names)
    got = _run(host, keeper, profile, inputs, names)
    return {name: snr_db(expected[name], got[name]) for name in names}


def _run(
    host: "TensorRtHost", keeper: "PlanKeeper", profile: Profile, inputs: Arrays, names: Sequence[str]
) -> dict[str, Array]:
    """Build a plan that gives tensors out, keep it nowhere, run it, and give them."""
    host.setup.tell(keeper.graph.name, f"looking at {len(names)} tensors up to {names[-1]}", 0.0)
    built = build_plan(
        host.trt, host.logger, keeper.spelling.path, profile, host.setup.options,
        timings=b"", tell=partial(host.setup.tell, keeper.graph.name), outputs=tuple(names),
    )  # fmt: skip
    engine = host.runtime.deserialize_cuda_engine(built.content)
    if engine is None:
        raise EngineError(f"{keeper.graph.name}: TensorRT does not take the plan: {reason(host.logger)}")
    plan = host.loaded(engine, keeper.spelling, ({}, _specs(engine)), profile)
    session = plan.bind({name: array.shape for name, array in inputs.items()})
    try:
        for name, array in inputs.items():
            session[name].write(array)
        session.run()
        return {name: session[name].read() for name in names}
    finally:
        session.close()
        plan.close()


def _specs(engine: Any) -> dict[str, TensorSpec]:  # noqa: ANN401
    names = (engine.get_tensor_name(index) for index in range(engine.num_io_tensors))
    return {name: TensorSpec(name, DTYPES[engine.get_tensor_dtype(name).name], ()) for name in names}
