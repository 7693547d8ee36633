"""A folder with a graph and its plans, a fake TensorRT that works on it, and what was told meanwhile."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foley_engines import BuildOptions, GraphFile, TensorRtSetup
from foley_engines.plans.record import Record, decode
from foley_engines.tensorrt.engine import TensorRtEngine
from foley_engines.tensorrt.host import TensorRtHost
from foley_engines.tensorrt.keeper import PlanKeeper
from support.nvidia import plan_file
from support.nvidia.install import Fakes
from support.sum_graph import SHAPES, sum_graph, write_inputs, write_sum_graph


@dataclass
class Bench:
    """A folder with a graph and its plans, and the fakes that work on it."""

    folder: Path
    fakes: Fakes
    told: list[str] = field(default_factory=list)
    hosts: list[TensorRtHost] = field(default_factory=list)

    @property
    def plans(self) -> Path:
        """The plans' folder."""
        return self.folder / "engines" / "tensorrt"

    @property
    def counts(self) -> Any:
        """How often what was done."""
        return self.fakes.machine.counts

    def graph(self, **more: object) -> GraphFile:
        """Describe the graph, whose files are read anew."""
        return sum_graph(self.folder / "graphs" / "sum.onnx", **{"folder": self.folder, **more})

    def host(self, *, options: BuildOptions | None = None, **setup: Any) -> TensorRtHost:
        """Open TensorRT."""
        chosen = TensorRtSetup(options=options or BuildOptions(), tell=self._tell, **setup)
        self.hosts.append(TensorRtHost(chosen))
        return self.hosts[-1]

    def engine(self, graph: GraphFile | None = None, **setup: Any) -> TensorRtEngine:
        """Open the graph on a host of its own."""
        return self.host(**setup).open(graph or self.graph())

    def keeper(self, graph: GraphFile | None = None, **setup: Any) -> PlanKeeper:
        """Give who keeps the graph's plans."""
        return self.host(**setup).keeper(graph or self.graph())

    def run(self, graph: GraphFile | None = None, **setup: Any) -> np.ndarray:
        """Run the graph once, on a host of its own; gives `flat`."""
        session = self.engine(graph, **setup).bind(**SHAPES)
        write_inputs(session)
        session.run()
        return session["flat"].read()

    def records(self) -> list[Record]:
        """Read the records."""
        return [decode(place.read_bytes()) for place in sorted(self.plans.glob("*.json"))]

    def headers(self) -> list[plan_file.Header]:
        """Read what the plans say of themselves."""
        return [plan_file.read(place.read_bytes()).header for place in sorted(self.plans.glob("*.plan"))]

    def close(self) -> None:
        """Close all hosts, and check that nothing was leaked or misused."""
        for host in self.hosts:
            host.close()
        self.hosts.clear()
        self.fakes.machine.check()

    def _tell(self, _graph: str, what: str, fraction: float) -> None:
        if not fraction:
            self.told.append(what)


def make_bench(folder: Path, fakes: Fakes) -> Bench:
    write_sum_graph(folder)
    return Bench(folder, fakes)
