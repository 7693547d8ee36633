"""Check an engine against the outputs that torch gave at export."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

import foley_engines
from foley.bundle import Bundle
from foley.errors import VerificationError
from foley.manifest import Graph, Precision
from foley_engines import Engine

SNR_FLOOR_DB: Final[dict[Precision, float]] = {"fp32": 80.0, "fp16": 35.0}
"""The least signal-to-noise ratio of a graph against torch in float32; README.md shows what was measured."""


@dataclass(frozen=True)
class GraphReport:
    """One graph's outputs against the recorded ones; the worst of its outputs."""

    graph: str
    precision: Precision
    snr_db: float
    worst_error: float
    """Largest absolute difference."""
    floor_db: float

    @property
    def passed(self) -> bool:
        """Whether the graph is at or above the floor of its precision."""
        return self.snr_db >= self.floor_db


def snr_db(signal: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Give the ratio of `signal`'s power to that of `other - signal`, in dB; inf where they are equal, -inf at NaN."""
    reference = signal.astype(np.float64)
    error = float(np.sum((other.astype(np.float64) - reference) ** 2))
    if error == 0:
        return float("inf")
    power = float(np.sum(reference**2))
    return 10 * float(np.log10(power / error)) if np.isfinite(error) and power > 0 else float("-inf")


def verify(bundle: Bundle, *, engine: str = "cpu", threads: int | None = None) -> Iterator[GraphReport]:
    """Run every graph on its recorded inputs, one after another, and report each as it is done.

    Raises:
        EngineUnavailableError: the engine cannot run here.
        EngineError: a graph does not load or run.
        BundleError: a recording is unreadable.
    """
    for name in bundle.manifest.graphs:
        with foley_engines.open(bundle.graph_file(name, engine), engine=engine, threads=threads) as opened:
            yield compare(name, bundle.graph(name), opened, bundle.golden(name))


def compare(
    name: str, graph: Graph, engine: Engine, recorded: dict[str, NDArray[np.float32] | NDArray[np.int64]]
) -> GraphReport:
    """Run an opened graph on recorded inputs and compare its outputs with the recorded ones."""
    session = engine.bind(**{tensor.name: recorded[tensor.name].shape for tensor in graph.inputs})
    for tensor in graph.inputs:
        session[tensor.name].write(recorded[tensor.name])
    session.run()
    ratios, errors = [], []
    for tensor in graph.outputs:
        expected, got = recorded[tensor.name], session[tensor.name].read()
        if expected.shape != got.shape:
            raise VerificationError(f"{name}: {tensor.name} is {list(got.shape)}, recorded {list(expected.shape)}")
        ratios.append(snr_db(expected.astype(np.float32), got.astype(np.float32)))
        errors.append(float(np.max(np.abs(got - expected))))
    return GraphReport(name, graph.precision, min(ratios), max(errors), SNR_FLOOR_DB[graph.precision])
