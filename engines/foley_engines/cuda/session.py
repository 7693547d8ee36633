"""One set of shapes at work on a device: its tensors, and the runs over them."""

from collections.abc import Callable
from typing import Protocol

from foley_engines.cuda.device import Device
from foley_engines.cuda.memory import CudaBuffer
from foley_engines.cuda.tensors import DeviceTensors


class Runs(Protocol):
    """How a library runs its graph over tensors on the device."""

    def enqueue(self, tensors: DeviceTensors) -> None:
        """Ask the device's stream for one run over the tensors where they lie now."""
        ...

    def forget(self) -> None:
        """Drop what was captured or bound of the tensors; the stream is done with it."""
        ...


class DeviceSession:
    """A graph with its shapes fixed and its tensors on a device; see `Session`."""

    def __init__(
        self, device: Device, tensors: DeviceTensors, runs: Runs, give_back: Callable[["DeviceSession"], None]
    ) -> None:
        """Take `tensors`, which are freed with the session, and `give_back`, which lends it to the next user."""
        self._device, self._tensors, self._runs, self._give_back = device, tensors, runs, give_back

    def __getitem__(self, name: str) -> CudaBuffer:
        """Give the buffer of an input or output."""
        return self._tensors[name]

    def run(self) -> None:
        """Enqueue one run; what was captured for where the tensors lie now is replayed.

        Raises:
            EngineError: the library refuses or fails; its own message follows the graph's name.
        """
        with self._device.used():
            self._runs.enqueue(self._tensors)
            self._tensors.turns.end()

    def wait(self) -> None:
        """Return when all that was asked is done.

        Raises:
            EngineError: something of it failed.
        """
        self._device.wait()

    def feed(self, input_name: str, output_name: str) -> None:
        """Swap two buffers of the same shape, so that the last output is the next input."""
        self._tensors.feed(input_name, output_name)

    def close(self) -> None:
        """Give the session back to its engine, which may lend it again; it must not be used any more."""
        self._give_back(self)

    def dispose(self) -> None:
        """Free the session's memory."""
        with self._device.used():
            self._device.wait()
            self._runs.forget()
            self._tensors.close()
