"""Activation memory that every engine of a host uses in turn: on one stream only one runs at a time."""

from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import call
from foley_engines.cuda.memory import allocate


class Scratch:
    """One piece of device memory that grows to what the largest engine takes.

    Who has it in a captured graph compares `generation`: growing moves it.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self.address = 0
        self.bytes = 0
        self.generation = 0

    def grow(self, size: int, what: str) -> None:
        """Make room for `size` bytes; nothing that uses the old ones may be captured any more.

        Raises:
            EngineError: the device has not so much memory.
        """
        if size <= self.bytes:
            return
        self.close()
        self.address, self.bytes = allocate(self._device, size, what), size

    def close(self) -> None:
        """Free it, after all that runs in it is done."""
        if self.address:
            self._device.wait()
            call(self._device.cudart.cudaFree, self.address)
        self.address, self.bytes = 0, 0
        self.generation += 1
