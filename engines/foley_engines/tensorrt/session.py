"""A plan at work: one execution context for each set of shapes, and its runs."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from foley_engines.base import Shape
from foley_engines.cuda.device import Device
from foley_engines.cuda.graphs import Captures
from foley_engines.cuda.scratch import Scratch
from foley_engines.cuda.tensors import DeviceTensors
from foley_engines.errors import EngineError
from foley_engines.tensorrt.library import reason


class Context:
    """An execution context whose shapes are fixed and whose activations lie in the host's scratch memory."""

    def __init__(
        self,
        trt: Any,  # noqa: ANN401
        engine: Any,  # noqa: ANN401
        logger: Any,  # noqa: ANN401
        *,
        device: Device,
        scratch: Scratch,
        graph: Path,
        shapes: dict[str, Shape],
    ) -> None:
        """Make a context for the inputs' shapes, which the engine's profile admits.

        Raises:
            EngineError: TensorRT makes no context, or takes no such shape.
        """
        self._device, self._scratch, self._graph, self._logger = device, scratch, graph, logger
        self._context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if self._context is None:
            raise EngineError(f"{graph.name}: TensorRT makes no execution context: {reason(logger)}")
        self._needed = int(engine.device_memory_size_v2)
        self._generation = -1
        self.shapes = self._shaped(trt, engine, shapes)

    def settle(self, moved: Callable[[], None]) -> None:
        """Take the scratch memory where it lies now; `moved` is called first where that has changed."""
        self._scratch.grow(self._needed, f"{self._graph.name}: activations")
        if self._generation == self._scratch.generation:
            return
        moved()
        self._context.set_device_memory(self._scratch.address, self._scratch.bytes)
        self._generation = self._scratch.generation

    def enqueue(self, addresses: dict[str, int]) -> None:
        """Ask for one run over tensors at these device addresses.

        Raises:
            EngineError: TensorRT refuses; its own message follows the graph's name.
        """
        for name, address in addresses.items():
            self._ask(self._context.set_tensor_address(name, address), f"cannot take {name}")
        self._ask(self._context.execute_async_v3(self._device.handle), "does not run")

    def _shaped(self, trt: Any, engine: Any, shapes: dict[str, Shape]) -> dict[str, Shape]:  # noqa: ANN401
        """Set the inputs' shapes and give those of all tensors."""
        if engine.num_optimization_profiles:
            self._ask(self._context.set_optimization_profile_async(0, self._device.handle), "cannot take its profile")
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        for name in names:
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._ask(self._context.set_input_shape(name, shapes[name]), f"cannot take {name} {list(shapes[name])}")
        missing = self._context.infer_shapes()
        if missing:
            raise EngineError(f"{self._graph.name}: no shape follows for {', '.join(missing)}")
        return {name: tuple(self._context.get_tensor_shape(name)) for name in names}

    def _ask(self, done: bool, complaint: str) -> None:
        if not done:
            raise EngineError(f"{self._graph.name} {complaint}: {reason(self._logger)}")


class PlanRuns:
    """Runs of a context: the first with some addresses is plain, the second captured, later ones replay it."""

    def __init__(self, context: Context, device: Device, *, captured: bool) -> None:
        self._context = context
        self._captures = Captures(device, enabled=captured)

    def enqueue(self, tensors: DeviceTensors) -> None:
        """Enqueue one run.

        Raises:
            EngineError: TensorRT refuses; its own message follows the graph's name.
        """
        self._context.settle(self._captures.clear)
        self._captures.run(tensors.key, lambda: self._context.enqueue(tensors.addresses()))

    def forget(self) -> None:
        """Forget everything captured."""
        self._captures.clear()
