"""Device memory with the shape of a tensor, written and read through page-locked staging memory."""

import ctypes
import math
from typing import Any, Final, cast

import numpy as np
from numpy.typing import NDArray

from foley_engines.base import DTYPES, Array, Buffer, Shape, TensorSpec
from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import call, explain
from foley_engines.errors import EngineError

MIB: Final = 1 << 20
HELD: Final[dict[str, type[np.generic]]] = {**DTYPES, "float16": np.float16}
"""The types of tensors on the device; half ones are inner tensors that somebody looks at."""
TURNS: Final = 2
"""Runs that the host may be ahead of the device: what is staged for one is not touched before it has read it."""


class Turns:
    """Counts a session's runs, and waits until the device has done the one `TURNS` before."""

    def __init__(self, device: Device) -> None:
        self._device = device
        cudart = device.cudart
        self._record, self._await = cudart.cudaEventRecord, cudart.cudaEventSynchronize
        flags = cudart.cudaEventDisableTiming
        self._events = [call(cudart.cudaEventCreateWithFlags, flags) for _ in range(TURNS)]
        self.number = 0

    @property
    def slot(self) -> int:
        """The staging slot of this turn."""
        return self.number % TURNS

    def end(self) -> None:
        """Mark the end of a run, and wait for the run whose slot the next turn takes."""
        call(self._record, self._events[self.slot], self._device.stream)
        self.number += 1
        if self.number >= TURNS:
            call(self._await, self._events[self.slot])

    def close(self) -> None:
        """Destroy the events."""
        for event in self._events:
            call(self._device.cudart.cudaEventDestroy, event)
        self._events = []


class Pinned:
    """Page-locked host memory, seen as an array."""

    def __init__(self, device: Device, shape: Shape, dtype: type[np.generic]) -> None:
        bytes_ = max(1, math.prod(shape) * np.dtype(dtype).itemsize)
        self._device = device
        self.address = int(call(device.cudart.cudaMallocHost, bytes_))
        memory = (ctypes.c_byte * bytes_).from_address(self.address)
        self.array: NDArray[Any] = np.frombuffer(memoryview(memory), dtype, math.prod(shape)).reshape(shape)

    def close(self) -> None:
        """Free it; nothing may be in flight."""
        call(self._device.cudart.cudaFreeHost, self.address)


def allocate(device: Device, size: int, what: str) -> int:
    """Take device memory and give its address.

    Raises:
        EngineError: there is not so much; the message says how much there is.
    """
    status, address = device.cudart.cudaMalloc(max(1, size))
    if status == device.cudart.cudaError_t.cudaErrorMemoryAllocation:
        free, name = device.free_bytes() / MIB, device.facts.name
        raise EngineError(
            f"{what} takes {size / MIB:.0f} MiB of device memory, {free:.0f} MiB of {name} are free; "
            "use fewer slots or seconds, or end what else runs there"
        )
    if status:
        raise EngineError(f"CUDA: cudaMalloc failed: {explain(status)}")
    return int(address)


class CudaBuffer:
    """One bound tensor on the device. Writes and copies are enqueued; reads wait."""

    def __init__(self, device: Device, turns: Turns, spec: TensorSpec, shape: Shape) -> None:
        self.spec, self._shape, self.dtype = spec, shape, HELD[spec.dtype]
        self.bytes = math.prod(shape) * np.dtype(self.dtype).itemsize
        self._device, self._turns = device, turns
        self._staged: dict[int, Pinned] = {}
        self._written = -1
        with device.used():
            self.address = allocate(device, self.bytes, str(spec))
            try:
                call(device.cudart.cudaMemsetAsync, self.address, 0, self.bytes, device.stream)
            except EngineError:
                self.close()
                raise

    @property
    def shape(self) -> Shape:
        """The bound shape."""
        return self._shape

    def write(self, value: Array) -> None:
        """Stage an array of the bound shape and dtype, and enqueue its upload.

        Raises:
            EngineError: the array is of another shape or dtype.
        """
        if value.shape != self.shape or value.dtype != self.dtype:
            raise EngineError(
                f"{self.spec.name}: got {value.dtype} {list(value.shape)}, "
                f"bound as {np.dtype(self.dtype)} {list(self.shape)}"
            )
        if self._written == self._turns.number:
            self._device.wait()  # this turn's slot may still be being read
        self._written = self._turns.number
        staged = self._stage(self._turns.slot)
        np.copyto(staged.array, value)
        self._copy(self.address, staged.address, self._device.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice)

    def take(self, source: Buffer, *index: int) -> None:
        """Enqueue a copy of `source[index]`, which lies in one piece, on the device.

        Raises:
            EngineError: it is of another size or dtype, or the buffers are of different devices.
        """
        if not isinstance(source, CudaBuffer) or source._device is not self._device:
            raise EngineError(f"{self.spec.name} cannot take a tensor of another host")
        part = _part(source, index)
        if source.dtype != self.dtype or math.prod(part) != math.prod(self.shape):
            raise EngineError(
                f"{self.spec.name} {list(self.shape)} cannot take {list(part)} of "
                f"{source.spec.name} {list(source.shape)}"
            )
        address = source.address + _offset(source.shape, index) * np.dtype(source.dtype).itemsize
        self._copy(self.address, address, self._device.cudart.cudaMemcpyKind.cudaMemcpyDeviceToDevice)

    def read(self) -> Array:
        """Wait for all that was enqueued, and give a copy of what the buffer holds then."""
        staged = self._stage(TURNS)
        self._copy(staged.address, self.address, self._device.cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost)
        self._device.wait()
        return cast("Array", staged.array.copy())

    def close(self) -> None:
        """Free it; the stream must be done with it."""
        call(self._device.cudart.cudaFree, self.address)
        for staged in self._staged.values():
            staged.close()
        self._staged.clear()

    def _copy(self, target: int, source: int, kind: Any) -> None:  # noqa: ANN401
        with self._device.used():
            call(self._device.cudart.cudaMemcpyAsync, target, source, self.bytes, kind, self._device.stream)

    def _stage(self, slot: int) -> Pinned:
        if slot not in self._staged:
            with self._device.used():
                self._staged[slot] = Pinned(self._device, self.shape, self.dtype)
        return self._staged[slot]


def _part(source: CudaBuffer, index: tuple[int, ...]) -> Shape:
    """Give the shape of a part."""
    inside = len(index) <= len(source.shape) and all(
        0 <= place < size for place, size in zip(index, source.shape, strict=False)
    )
    if not inside:
        raise EngineError(f"{source.spec.name} {list(source.shape)} has no part {list(index)}")
    return source.shape[len(index) :]


def _offset(shape: Shape, index: tuple[int, ...]) -> int:
    """Give the first element of a part in a tensor that lies row by row."""
    return sum(place * math.prod(shape[axis + 1 :]) for axis, place in enumerate(index))
