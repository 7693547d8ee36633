"""The bound tensors of one session on a device."""

from collections.abc import ItemsView, Mapping

from foley_engines.base import Shape, TensorSpec
from foley_engines.cuda.device import Device
from foley_engines.cuda.memory import CudaBuffer, Turns
from foley_engines.errors import EngineError


class DeviceTensors:
    """Device buffers by name, two of which may change places."""

    def __init__(
        self, device: Device, graph: str, specs: Mapping[str, TensorSpec], shapes: Mapping[str, Shape]
    ) -> None:
        """Allocate zeros.

        Raises:
            EngineError: the device's memory does not hold them.
        """
        self._graph = graph
        self.device = device
        self.turns = Turns(device)
        self._buffers: dict[str, CudaBuffer] = {}
        try:
            for name, shape in shapes.items():
                self._buffers[name] = CudaBuffer(device, self.turns, specs[name], shape)
        except BaseException:
            device.wait()  # buffers are being cleared
            self.close()
            raise
        self.key = self._key()

    def __getitem__(self, name: str) -> CudaBuffer:
        if name not in self._buffers:
            raise EngineError(f"{self._graph}: tensor {name!r} is unknown; there are {', '.join(self._buffers)}")
        return self._buffers[name]

    def items(self) -> ItemsView[str, CudaBuffer]:
        """Give all buffers by name."""
        return self._buffers.items()

    def addresses(self) -> dict[str, int]:
        """Give where each tensor lies now."""
        return {name: buffer.address for name, buffer in self._buffers.items()}

    def feed(self, input_name: str, output_name: str) -> None:
        """Swap two buffers of the same shape and dtype.

        Raises:
            EngineError: they differ.
        """
        taken, given = self[input_name], self[output_name]
        if taken.shape != given.shape or taken.dtype != given.dtype:
            raise EngineError(f"{self._graph}: {output_name} cannot feed {input_name}: shapes or types differ")
        self._buffers[input_name], self._buffers[output_name] = given, taken
        self.key = self._key()

    def close(self) -> None:
        """Free all; the stream must be done with them."""
        for buffer in self._buffers.values():
            buffer.close()
        self._buffers.clear()
        self.turns.close()

    def _key(self) -> tuple[int, ...]:
        return tuple(buffer.address for buffer in self._buffers.values())
