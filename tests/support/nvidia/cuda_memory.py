"""Memory and copies of the fake CUDA runtime."""

import ctypes
from functools import partial
from typing import Any

import numpy as np

from support.nvidia.cuda_registry import (
    UNSUPPORTED,
    CudaError,
    behaviour,
    checked,
    drain,
    forbid_in_capture,
    stream_of,
    submit,
)
from support.nvidia.machine import current
from support.nvidia.memory import MemoryFaultError
from support.nvidia.streams import Stream
from support.nvidia.surface import Surface


@behaviour("cudaMalloc")
def malloc(_: Surface, size: int) -> tuple[int]:
    forbid_in_capture()
    machine = current()
    if size < 0 or machine.memory.used() + size > machine.device.memory_bytes:
        raise CudaError("cudaErrorMemoryAllocation")
    return (machine.memory.allocate("device", size) if size else 0,)


@behaviour("cudaMallocHost")
def malloc_host(_: Surface, size: int) -> tuple[int]:
    forbid_in_capture()
    return (current().memory.allocate("pinned", size),)


@behaviour("cudaHostAlloc")
def host_alloc(surface: Surface, size: int, flags: int) -> tuple[int]:
    return malloc_host(surface, size)


@behaviour("cudaFree")
def free(_: Surface, address: int) -> tuple[()]:
    return _free("device", address)


@behaviour("cudaFreeHost")
def free_host(_: Surface, address: int) -> tuple[()]:
    return _free("pinned", address)


def _free(kind: str, address: int) -> tuple[()]:
    forbid_in_capture()
    if address:
        checked(partial(current().memory.free, kind, address))
    return ()


@behaviour("cudaMallocAsync")
def malloc_async(surface: Surface, size: int, stream: int) -> tuple[int]:
    if stream_of(stream).capture is not None:
        raise NotImplementedError("the fake does not capture cudaMallocAsync")
    return malloc(surface, size)


@behaviour("cudaFreeAsync")
def free_async(_: Surface, address: int, stream: int) -> tuple[()]:
    submit(stream_of(stream), partial(current().memory.free, "device", address))
    return ()


@behaviour("cudaMemcpyAsync")
def memcpy_async(_: Surface, to: int, source: int, size: int, kind: str, stream: int) -> tuple[()]:
    _copy(to, source, size, kind, stream_of(stream))
    return ()


@behaviour("cudaMemcpy")
def memcpy(_: Surface, to: int, source: int, size: int, kind: str) -> tuple[()]:
    forbid_in_capture()
    stream = stream_of(0)
    _copy(to, source, size, kind, stream)
    drain(current().timeline.drain, stream)
    return ()


@behaviour("cudaMemsetAsync")
def memset_async(_: Surface, address: int, value: int, size: int, stream: int) -> tuple[()]:
    view = partial(current().memory.view, address, size, "device")
    checked(view)
    submit(stream_of(stream), lambda: view().fill(value & 0xFF))
    return ()


@behaviour("cudaMemset")
def memset(surface: Surface, address: int, value: int, size: int) -> tuple[()]:
    memset_async(surface, address, value, size, 0)
    drain(current().timeline.drain, stream_of(0))
    return ()


def _copy(to: int, source: int, size: int, kind: str, stream: Stream) -> None:
    """Enqueue a copy. Host memory that is not pinned is read, or written, before the call ends, as CUDA does."""
    machine, pageable = current(), _pageable(to, source, kind)
    if pageable and stream.capture is not None:
        stream.capture.broken = True
        raise CudaError(UNSUPPORTED)
    sides = _sides(kind)
    write = partial(_view, to, size, sides[0])
    read = partial(_view, source, size, sides[1])
    checked(write)
    first = checked(read)
    staged = first.copy() if pageable else None
    submit(stream, lambda: _write(write(), read() if staged is None or "ToHost" in kind else staged))
    if pageable and "ToHost" in kind:
        drain(machine.timeline.drain, stream)


def _write(to: Any, source: Any) -> None:
    to[:] = source


def _sides(kind: str) -> tuple[str | None, str | None]:
    """Give what the destination and the source must be: device, host, or either."""
    table: dict[str, tuple[str | None, str | None]] = {
        "cudaMemcpyHostToDevice": ("device", "host"),
        "cudaMemcpyDeviceToHost": ("host", "device"),
        "cudaMemcpyDeviceToDevice": ("device", "device"),
        "cudaMemcpyHostToHost": ("host", "host"),
        "cudaMemcpyDefault": (None, None),
    }
    return table[kind]


def _pageable(to: int, source: int, kind: str) -> bool:
    memory = current().memory
    return memory.find(to) is None or memory.find(source) is None


def _view(address: int, size: int, side: str | None) -> Any:
    """Give a range as bytes: of an allocation, or of the program's own memory where a host side is one."""
    found = current().memory.find(address)
    if found is None and side != "device" and address:
        return np.frombuffer((ctypes.c_ubyte * size).from_address(address), np.uint8)
    if found is not None and side == "host" and found.kind == "device":
        raise MemoryFaultError(f"{found} is taken for host memory")
    return current().memory.view(address, size, "device" if side == "device" else None)
