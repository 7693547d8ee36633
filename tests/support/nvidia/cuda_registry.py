"""Where what the CUDA runtime's functions do is registered, and what all of them need."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.nvidia.machine import current
from support.nvidia.memory import MemoryFaultError
from support.nvidia.streams import Event, Stream
from support.nvidia.surface import CUDA, load

BEHAVIOURS: dict[str, Callable[..., tuple[Any, ...]]] = {}
UNSUPPORTED, INVALIDATED = "cudaErrorStreamCaptureUnsupported", "cudaErrorStreamCaptureInvalidated"
INVALID_VALUE, INVALID_HANDLE = "cudaErrorInvalidValue", "cudaErrorInvalidResourceHandle"


class CudaError(Exception):
    """A status other than success; `name` is its name in cudaError_t."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Handle:
    """A value that becomes an object of one of the module's own classes."""

    type: str
    number: int = 0
    values: dict[str, Any] = field(default_factory=dict)
    member: str = ""


def behaviour(name: str) -> Callable[[Callable[..., tuple[Any, ...]]], Callable[..., tuple[Any, ...]]]:
    """Register what a function does; it takes the surface and the arguments and gives what follows the status.

    Raises:
        LookupError: no recorded release has a function of that name.
    """
    if not any(load(f"cuda-{version}").has(name) for version in CUDA):
        raise LookupError(f"no recorded cuda.bindings.runtime has {name}")

    def register(function: Callable[..., tuple[Any, ...]]) -> Callable[..., tuple[Any, ...]]:
        BEHAVIOURS[name] = function
        return function

    return register


def stream_of(handle: int) -> Stream:
    """Find a stream.

    Raises:
        CudaError: there is none of that handle.
    """
    found = current().timeline.streams.get(handle)
    if found is None:
        current().fault(f"stream {handle} is used, but was destroyed or never made")
        raise CudaError(INVALID_HANDLE)
    return found


def event_of(handle: int) -> Event:
    """Find an event.

    Raises:
        CudaError: there is none of that handle.
    """
    found = current().events.get(handle)
    if found is None:
        current().fault(f"event {handle} is used, but was destroyed or never made")
        raise CudaError(INVALID_HANDLE)
    return found


def forbid_in_capture() -> None:
    """Refuse what may not be called while this thread captures, unless relaxed; it breaks the capture."""
    for stream in current().timeline.streams.values():
        capture = stream.capture
        if capture is None or capture.mode == "cudaStreamCaptureModeRelaxed":
            continue
        if capture.mode == "cudaStreamCaptureModeGlobal" or capture.thread == threading.get_ident():
            capture.broken = True
            raise CudaError(UNSUPPORTED)


def checked(access: Callable[[], Any]) -> Any:
    """Refuse at the call what the arguments alone show to be wrong."""
    try:
        return access()
    except MemoryFaultError as fault:
        current().fault(str(fault))
        raise CudaError(INVALID_VALUE) from fault


def submit(stream: Stream, work: Callable[[], None]) -> None:
    """Capture, queue or run a piece of work.

    Raises:
        CudaError: it ran, and failed.
    """
    drain(current().timeline.submit, stream, work)


def drain(step: Callable[..., None], *arguments: Any) -> None:
    """Run what may run; a fault inside stays, and every later call gives it."""
    if not current().guard(step, *arguments):
        raise CudaError(current().sticky or "")
