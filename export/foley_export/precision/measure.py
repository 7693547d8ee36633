"""What a graph's tensors hold while it runs in float32: how large they get, and what rounding them to half would cost.

The graph is run in ONNX Runtime with three numbers computed behind each tensor, so that a run's output is a short
vector and not the tensors, of which a large U-Net has gigabytes.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx_ir as ir
import onnxruntime
from numpy.typing import NDArray

from foley.errors import EngineError
from foley_engines import Array
from foley_export.dialect import attention_nodes
from foley_export.precision.operators import FLOAT, HALF_TYPES, HalfPrecision, array, is_constant
from foley_export.precision.probe import NUMBERS, STATISTICS, extent_probe, float_values, score_probe, size_probe

Sample = Mapping[str, Array]
"""A graph's inputs by name."""
CHUNK_BYTES: Final = 1 << 31
"""What the tensors of one run may hold together."""


@dataclass(frozen=True)
class Extent:
    """What a tensor held, over all samples."""

    largest: float
    """Largest magnitude; inf where there was one, or no number at all."""
    rounding_db: float
    """Ratio of its power to that of the error of rounding it to half; inf where all was exact."""


@dataclass(frozen=True)
class Measured:
    """The extents of a graph's tensors by name, weights included, and of its attention scores by node."""

    tensors: dict[str, Extent]
    scores: dict[str, float]
    """The largest |scale·q·k| of each `MultiHeadAttention` node, which no tensor of the graph shows."""


def measure(
    model: ir.Model, precision: HalfPrecision, samples: Sequence[Sample], place: Path, asked: set[str]
) -> Measured:
    """Run a float32 graph on samples and measure the floating tensors named by `asked`, and every weight.

    Tensors of `model` that are external must lie in the folder `place`, where probes are written, and removed.

    Raises:
        EngineError: the graph does not load or run.
    """
    half = HALF_TYPES[precision]
    tensors = [value.name for value in float_values(model) if value.name in asked]
    nodes = [str(node.name) for node in attention_nodes(model)]
    extents: dict[str, Extent] = {}
    for names in _chunks(model, [str(name) for name in tensors], samples[0], place):
        rows = _run(extent_probe(model, names, half), samples, place)
        found = rows.reshape(len(samples), len(names), NUMBERS)
        extents |= {name: _over_samples(found[:, index]) for index, name in enumerate(names)}
    scores = _run(score_probe(model), samples, place).max(axis=0).tolist() if nodes else []
    return Measured(extents | _weights(model, half), dict(zip(nodes, scores, strict=True)))


def _chunks(model: ir.Model, names: list[str], sample: Sample, place: Path) -> Iterator[list[str]]:
    """Divide tensors so that a run, which may hold all that it measures at once, holds about `CHUNK_BYTES`."""
    (sizes,) = _run(size_probe(model, names), [sample], place) if names else [np.zeros(0)]
    held, chunk = 0.0, list[str]()
    for name, size in zip(names, sizes, strict=True):
        if chunk and held + 4 * size > CHUNK_BYTES:
            yield chunk
            held, chunk = 0.0, []
        held, chunk = held + 4 * float(size), [*chunk, name]
    if chunk:
        yield chunk


def _run(probe: ir.Model, samples: Sequence[Sample], place: Path) -> NDArray[np.float32]:
    """Give a probe's statistics of every sample, float32 [samples,numbers]."""
    file = place / "probe.onnx"
    try:
        ir.save(probe, file)
        return np.stack(_statistics(file, samples))
    finally:
        file.unlink(missing_ok=True)


def _statistics(file: Path, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
    try:
        session = onnxruntime.InferenceSession(str(file), _options(), providers=["CPUExecutionProvider"])
        inputs = [node.name for node in session.get_inputs()]
        feeds = ({name: sample[name] for name in inputs} for sample in samples)
        return [session.run([STATISTICS], feed)[0] for feed in feeds]
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise EngineError(f"a graph cannot be measured: {' '.join(str(error).split())}") from error


def _options() -> Any:  # noqa: ANN401 — a library without types
    """Load a graph as it is: planning to reuse memory takes half a minute on ten thousand nodes, else a second."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_mem_pattern = options.enable_mem_reuse = False
    options.log_severity_level = 3  # errors; they reach the caller as exceptions
    return options


def _over_samples(rows: NDArray[np.float32]) -> Extent:
    """Put a tensor's numbers [samples,3] together: powers add up, so that a silent sample does not decide."""
    return _extent(float(rows[:, 0].max()), float(rows[:, 1].sum()), float(rows[:, 2].sum()))


def _extent(largest: float, power: float, error: float) -> Extent:
    if math.isnan(largest) or math.isnan(power):
        return Extent(math.inf, -math.inf)
    if largest > 0 and power == 0:  # so small that their squares are none
        return Extent(largest, -math.inf)
    return Extent(largest, _ratio_db(power, error))


def _ratio_db(power: float, error: float) -> float:
    if error == 0:
        return math.inf
    return 10 * math.log10(power / error) if 0 < power < math.inf and error < math.inf else -math.inf


def _weights(model: ir.Model, half: ir.DataType) -> dict[str, Extent]:
    values = [value for value in model.graph.initializers.values() if value.dtype == FLOAT and is_constant(value)]
    return {str(value.name): _weight(array(value).astype(np.float32), half) for value in values}


def _weight(numbers: NDArray[np.float32], half: ir.DataType) -> Extent:
    if numbers.size == 0:
        return Extent(0.0, math.inf)
    flat = numbers.reshape(-1)
    with np.errstate(over="ignore", invalid="ignore"):
        error = flat - flat.astype(half.numpy()).astype(np.float32)
        return _extent(float(np.abs(flat).max()), float(np.vdot(flat, flat)), float(np.vdot(error, error)))
