"""Work that is captured once and replayed with one call: a CUDA graph for each set of addresses."""

from collections.abc import Callable, Hashable
from typing import Any

from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import call


class Captures:
    """Runs work plainly the first time, captures it the second, and replays it from then on.

    Libraries set themselves up in a first run, which cannot be captured. A key must change whenever an address does.
    """

    def __init__(self, device: Device, *, enabled: bool = True) -> None:
        self._device = device
        self._enabled = enabled
        self._warm: set[Hashable] = set()
        self._graphs: dict[Hashable, Any] = {}

    def run(self, key: Hashable, work: Callable[[], None]) -> None:
        """Enqueue work, which must ask everything of the device's stream and of nothing else.

        Raises:
            EngineError: the work fails, or does not let itself be captured.
        """
        graph = self._graphs.get(key)
        if graph is None and self._enabled and key in self._warm:
            graph = self._graphs[key] = self._capture(work)
        if graph is None:
            self._warm.add(key)
            work()
        else:
            call(self._device.cudart.cudaGraphLaunch, graph, self._device.stream)

    def __len__(self) -> int:
        return len(self._graphs)

    def clear(self) -> None:
        """Forget everything captured; the stream must be done with it."""
        for graph in self._graphs.values():
            call(self._device.cudart.cudaGraphExecDestroy, graph)
        self._graphs.clear()
        self._warm.clear()

    def _capture(self, work: Callable[[], None]) -> Any:  # noqa: ANN401
        """Capture work and give the executable graph. In thread-local mode: other threads may go on."""
        cudart, stream = self._device.cudart, self._device.stream
        call(cudart.cudaStreamBeginCapture, stream, cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal)
        try:
            work()
        except BaseException:
            self._abandon()
            raise
        captured = call(cudart.cudaStreamEndCapture, stream)
        try:
            return call(cudart.cudaGraphInstantiate, captured, 0)
        finally:
            call(cudart.cudaGraphDestroy, captured)

    def _abandon(self) -> None:
        """End a capture that failed, whatever CUDA says to it: the first error is the one to tell."""
        cudart = self._device.cudart
        status, captured = cudart.cudaStreamEndCapture(self._device.stream)
        if not status:
            cudart.cudaGraphDestroy(captured)
