"""TensorRT on one device."""

from functools import partial
from types import TracebackType
from typing import Any, Self

from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import find_device
from foley_engines.cuda.scratch import Scratch
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.profiles import Profile
from foley_engines.setups import TensorRtSetup
from foley_engines.tensorrt.builder import describe_graph
from foley_engines.tensorrt.engine import LoadedPlan, TensorRtEngine, Tensors
from foley_engines.tensorrt.keeper import PlanKeeper
from foley_engines.tensorrt.library import import_library, make_logger, make_runtime, takes_attention


class TensorRtHost:
    """TensorRT and a device, whose stream and scratch memory all engines share."""

    def __init__(self, setup: TensorRtSetup) -> None:
        """Take a device.

        Raises:
            EngineUnavailableError: TensorRT, the CUDA bindings or the device is not here.
        """
        self.trt: Any = import_library()
        self.setup = setup
        self.device = Device(setup.device)
        self.logger = make_logger(self.trt)
        self.runtime = make_runtime(self.trt, self.logger, host_code=setup.host_code)
        self.scratch = Scratch(self.device)
        self._engines: list[TensorRtEngine] = []

    def open(self, graph: GraphFile) -> TensorRtEngine:
        """Open a graph; its plans are loaded, or made, when shapes are bound.

        Raises:
            EngineError: TensorRT's parser refuses the graph.
        """
        keeper = self.keeper(graph)
        engine = TensorRtEngine(keeper.spelling.path, keeper.tensors, keeper.plan_for, keeper.profiles)
        self._engines.append(engine)
        return engine

    def keeper(self, graph: GraphFile) -> PlanKeeper:
        """Give who keeps a graph's plans.

        Raises:
            EngineError: TensorRT's parser refuses the graph.
        """
        self.device.select()
        spelling = self.spelling(graph)
        inputs, outputs = graph.tensors or describe_graph(self.trt, spelling.path, self.logger)
        tensors = ({spec.name: spec for spec in inputs}, {spec.name: spec for spec in outputs})
        return PlanKeeper(self, graph, spelling, tensors)

    def spelling(self, graph: GraphFile) -> Spelling:
        """Choose the spelling that this TensorRT reads."""
        return graph.spellings.get("tensorrt", graph.standard) if takes_attention(self.trt) else graph.standard

    def loaded(self, engine: Any, spelling: Spelling, tensors: Tensors, profile: Profile) -> LoadedPlan:  # noqa: ANN401
        """Make a deserialised engine ready to be bound."""
        return partial(LoadedPlan, self.trt, engine, self.logger)(
            device=self.device,
            scratch=self.scratch,
            graph=spelling.path,
            specs={**tensors[0], **tensors[1]},
            profile=profile,
            captured=self.setup.captured,
        )

    def close(self) -> None:
        """Free everything in order: sessions, engines, memory, the stream."""
        for engine in self._engines:
            engine.close()
        self._engines.clear()
        self.scratch.close()
        self.device.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def open_host(setup: TensorRtSetup) -> TensorRtHost:
    """Open TensorRT; see `TensorRtHost`."""
    return TensorRtHost(setup)


def find_library() -> str:
    """Name the library, its version and the device.

    Raises:
        EngineUnavailableError: TensorRT, the CUDA bindings or a device is not here.
    """
    trt = import_library()
    return f"tensorrt {trt.__version__} on {find_device(0).name}"
