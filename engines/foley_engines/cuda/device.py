"""One device and one stream, on which everything of a host runs in order."""

import contextlib
import threading
from collections.abc import Iterator
from types import TracebackType
from typing import Any, Self

from foley_engines.cuda.driver import DeviceFacts, call, find_device, import_runtime


class Device:
    """A CUDA device with a stream of its own, which waits for no other stream."""

    def __init__(self, number: int = 0) -> None:
        """Take a device.

        Raises:
            EngineUnavailableError: there is none of that number.
        """
        self.facts: DeviceFacts = find_device(number)
        self.cudart: Any = import_runtime()
        self.stream: Any = call(self.cudart.cudaStreamCreateWithFlags, self.cudart.cudaStreamNonBlocking)
        self.handle: int = int(self.stream)
        """The stream as a number, as TensorRT and ONNX Runtime take it."""
        self._lock = threading.RLock()

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Hold the stream: what another thread asked of it meanwhile would be captured, or break the capture.

        The device becomes the calling thread's.
        """
        with self._lock:
            self.select()
            yield

    def select(self) -> None:
        """Make this device the calling thread's: CUDA's current device belongs to the thread."""
        call(self.cudart.cudaSetDevice, self.facts.number)

    def wait(self) -> None:
        """Return when all that was asked of the stream is done.

        Raises:
            EngineError: something of it failed.
        """
        with self.used():
            call(self.cudart.cudaStreamSynchronize, self.stream)

    def free_bytes(self) -> int:
        """Give the device memory that is free now."""
        with self.used():
            free, _ = call(self.cudart.cudaMemGetInfo)
        return int(free)

    def close(self) -> None:
        """Wait for the stream and destroy it."""
        if self.stream is not None:
            self.wait()
            call(self.cudart.cudaStreamDestroy, self.stream)
            self.stream = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
