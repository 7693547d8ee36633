"""A graph in TensorRT: plans for the sizes that are asked for, and sessions on them."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from foley_engines.base import Shape, TensorSpec, check_shapes
from foley_engines.cuda.device import Device
from foley_engines.cuda.scratch import Scratch
from foley_engines.cuda.session import DeviceSession
from foley_engines.cuda.tensors import DeviceTensors
from foley_engines.errors import EngineError
from foley_engines.pool import SessionPool
from foley_engines.profiles import Profile, admits, breadth, exactly, sizes_in, smallest_fit, span
from foley_engines.tensorrt.session import Context, PlanRuns

Tensors = tuple[dict[str, TensorSpec], dict[str, TensorSpec]]
"""Inputs and outputs by name."""


class LoadedPlan:
    """A deserialised plan and its sessions."""

    def __init__(
        self,
        trt: Any,  # noqa: ANN401
        engine: Any,  # noqa: ANN401
        logger: Any,  # noqa: ANN401
        *,
        device: Device,
        scratch: Scratch,
        graph: Path,
        specs: dict[str, TensorSpec],
        profile: Profile,
        captured: bool,
    ) -> None:
        self.profile = profile
        self.engine = engine
        self._device = device
        self._make_context = partial(Context, trt, engine, logger, device=device, scratch=scratch, graph=graph)
        self._make_tensors = partial(DeviceTensors, device, graph.name, specs)
        self._make_runs = partial(PlanRuns, device=device, captured=captured)
        self._pool: SessionPool[DeviceSession] = SessionPool()

    def bind(self, shapes: dict[str, Shape]) -> DeviceSession:
        """Give a session for the inputs' shapes, which the profile admits.

        Raises:
            EngineError: the device has too little memory, or TensorRT refuses.
        """
        return self._pool.take(shapes, lambda: self._session(shapes))

    def close(self) -> None:
        """Free the sessions and the engine."""
        self._pool.close()
        self.engine = None

    def _session(self, shapes: dict[str, Shape]) -> DeviceSession:
        with self._device.used():
            context: Context = self._make_context(shapes=shapes)
            tensors, runs = self._make_tensors(context.shapes), self._make_runs(context)
            return DeviceSession(self._device, tensors, runs, partial(self._pool.give, shapes))


Find = Callable[[dict[str, int]], LoadedPlan]


class TensorRtEngine:
    """A graph whose plans are loaded, or made, for the sizes that are bound."""

    def __init__(self, graph: Path, tensors: Tensors, find: Find, profiles: Callable[[], list[Profile]]) -> None:
        """Take `find`, which loads or makes a plan that admits sizes, and `profiles`, which lists what there is."""
        self.graph = graph
        self.inputs, self.outputs = tensors
        self._find, self._profiles = find, profiles
        self._plans: list[LoadedPlan] = []
        self._finding = threading.Lock()

    @property
    def specs(self) -> dict[str, TensorSpec]:
        """All tensors by name."""
        return {**self.inputs, **self.outputs}

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:
        """Give shapes that a plan admits: the same where one does, else the smallest larger ones in growable symbols.

        Where no plan admits those either, they stay as they are, and binding them makes one.
        """
        sizes = self._sizes(shapes)
        grown = smallest_fit(self._profiles(), sizes, growable)
        if grown is None or grown == sizes:
            return shapes
        return {name: span(self.specs[name], exactly(grown))[0] for name in shapes}

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Load, or make, the plans for these shapes now: not in the middle of a run.

        Raises:
            UsageError: there is no plan, and building is not allowed.
            EngineError: a plan does not load or build.
        """
        for shapes in wanted:
            self._plan(self._sizes(shapes))

    def bind(self, **shapes: Shape) -> DeviceSession:
        """Give a session of these shapes; outputs' shapes follow from the inputs'.

        Raises:
            UsageError: there is no plan for them, and building is not allowed.
            EngineError: an input's shape is missing, or a shape is not the graph's; or as `prepare`.
        """
        sizes = self._sizes(shapes)
        inputs = {name: shape for name, shape in shapes.items() if name in self.inputs}
        session = self._plan(sizes).bind(inputs)
        wrong = [name for name, shape in shapes.items() if session[name].shape != shape]
        if wrong:
            got = session[wrong[0]].shape
            session.close()
            raise EngineError(f"{self.graph.name}: {wrong[0]} is {list(got)}, asked for {list(shapes[wrong[0]])}")
        return session

    def close(self) -> None:
        """Free all plans; sessions must not be used any more."""
        for plan in self._plans:
            plan.close()
        self._plans.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _sizes(self, shapes: dict[str, Shape]) -> dict[str, int]:
        check_shapes(self.graph, self.inputs, self.outputs, shapes)
        return sizes_in(self.inputs, {name: shapes[name] for name in self.inputs})

    def _plan(self, sizes: dict[str, int]) -> LoadedPlan:
        """Give the loaded plan that admits sizes, the narrowest first, or load one."""
        with self._finding:
            fitting = [plan for plan in self._plans if admits(plan.profile, sizes)]
            if not fitting:
                self._plans.append(self._find(sizes))
                fitting = self._plans[-1:]
            return min(fitting, key=lambda plan: breadth(plan.profile))
