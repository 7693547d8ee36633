"""Check an engine against the outputs that torch gave at export."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foley.bundle import Bundle
from foley.errors import UsageError, VerificationError
from foley.floors import SNR_FLOOR_DB
from foley.graph_files import graph_file
from foley.manifest import Graph, Precision
from foley_engines import Engine, GraphFile, Setup, TensorRtSetup, open_host
from foley_engines.fidelity import run_once, snr_db
from foley_engines.registry import engine_of, setup_of

__all__ = ["SNR_FLOOR_DB", "GraphReport", "compare", "snr_db", "verify"]


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


def verify(bundle: Bundle, *, engine: str | Setup = "cpu", threads: int | None = None) -> Iterator[GraphReport]:
    """Run every graph on its recorded inputs, one after another, and report each as it is done.

    In TensorRT every plan that there is for this machine is run: on the recorded inputs where its sizes admit them,
    else on others, against ONNX Runtime.

    Raises:
        EngineUnavailableError: the engine cannot run here, or not this bundle.
        UsageError: in TensorRT, there is no plan for this machine.
        EngineError: a graph does not load or run.
        BundleError: a recording is unreadable.
    """
    setup = setup_of(engine, threads)
    bundle.check_engine(engine_of(setup).name)
    with open_host(setup) as host:
        for name, graph in bundle.manifest.graphs.items():
            file = graph_file(bundle, name)
            if isinstance(setup, TensorRtSetup):
                yield from _plans(host, name, graph, file)
                continue
            with host.open(file) as opened:
                yield compare(name, graph, opened, bundle.golden(name))


def _plans(host: Any, name: str, graph: Graph, file: GraphFile) -> Iterator[GraphReport]:  # noqa: ANN401
    keeper = host.keeper(file)
    records = keeper.own_records()
    if not records:
        raise UsageError(f"{name}: there is no plan for this machine in {keeper.store.folder}; build it: foley build")
    for record in records:
        figures = keeper.measure(record).figures
        worst = min(figures, key=lambda figure: figure.snr_db)
        errors = max(figure.worst_abs for figure in figures)
        yield GraphReport(f"{name} {record.parts['profile']}", graph.precision, worst.snr_db, errors, file.floor_db)


def compare(
    name: str, graph: Graph, engine: Engine, recorded: dict[str, NDArray[np.float32] | NDArray[np.int64]]
) -> GraphReport:
    """Run an opened graph on recorded inputs and compare its outputs with the recorded ones."""
    outputs = run_once(engine, {tensor.name: recorded[tensor.name] for tensor in graph.inputs})
    ratios, errors = [], []
    for tensor in graph.outputs:
        expected, got = recorded[tensor.name], outputs[tensor.name]
        if expected.shape != got.shape:
            raise VerificationError(f"{name}: {tensor.name} is {list(got.shape)}, recorded {list(expected.shape)}")
        ratios.append(snr_db(expected.astype(np.float32), got.astype(np.float32)))
        errors.append(float(np.max(np.abs(got - expected))))
    return GraphReport(name, graph.precision, min(ratios), max(errors), SNR_FLOOR_DB[graph.precision])
