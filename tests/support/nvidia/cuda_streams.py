"""Streams and events of the fake CUDA runtime."""

from functools import partial

from support.nvidia.cuda_registry import (
    INVALID_HANDLE,
    UNSUPPORTED,
    CudaError,
    Handle,
    behaviour,
    drain,
    event_of,
    forbid_in_capture,
    stream_of,
    submit,
)
from support.nvidia.machine import current
from support.nvidia.streams import Event
from support.nvidia.surface import Surface


@behaviour("cudaStreamCreate")
def stream_create(surface: Surface) -> tuple[Handle]:
    return stream_create_with_flags(surface, 0)


@behaviour("cudaStreamCreateWithFlags")
def stream_create_with_flags(_: Surface, flags: int) -> tuple[Handle]:
    return (Handle("cudaStream_t", current().timeline.open().handle),)


@behaviour("cudaStreamCreateWithPriority")
def stream_create_with_priority(surface: Surface, flags: int, priority: int) -> tuple[Handle]:
    return stream_create_with_flags(surface, flags)


@behaviour("cudaStreamDestroy")
def stream_destroy(_: Surface, stream: int) -> tuple[()]:
    found = stream_of(stream)
    if not stream:
        raise CudaError(INVALID_HANDLE)
    drain(current().timeline.drain, found)
    del current().timeline.streams[stream]
    return ()


@behaviour("cudaStreamSynchronize")
def stream_synchronize(_: Surface, stream: int) -> tuple[()]:
    found = stream_of(stream)
    if found.capture is not None:
        found.capture.broken = True
        raise CudaError(UNSUPPORTED)
    drain(current().timeline.drain, found)
    return ()


@behaviour("cudaStreamQuery")
def stream_query(_: Surface, stream: int) -> tuple[()]:
    found = stream_of(stream)
    if found.capture is not None:
        found.capture.broken = True
        raise CudaError(UNSUPPORTED)
    if found.queue:
        raise CudaError("cudaErrorNotReady")
    return ()


@behaviour("cudaDeviceSynchronize")
def device_synchronize(_: Surface) -> tuple[()]:
    forbid_in_capture()
    drain(current().timeline.drain_all)
    return ()


@behaviour("cudaEventCreate")
def event_create(surface: Surface) -> tuple[Handle]:
    return event_create_with_flags(surface, 0)


@behaviour("cudaEventCreateWithFlags")
def event_create_with_flags(_: Surface, flags: int) -> tuple[Handle]:
    event = Event(current().timeline.handle(), flags)
    current().events[event.handle] = event
    return (Handle("cudaEvent_t", event.handle),)


@behaviour("cudaEventDestroy")
def event_destroy(_: Surface, event: int) -> tuple[()]:
    del current().events[event_of(event).handle]
    return ()


@behaviour("cudaEventRecord")
def event_record(_: Surface, event: int, stream: int) -> tuple[()]:
    drain(current().timeline.record, event_of(event), stream_of(stream))
    return ()


@behaviour("cudaEventSynchronize")
def event_synchronize(_: Surface, event: int) -> tuple[()]:
    drain(current().timeline.reach, _outside_capture(event))
    return ()


@behaviour("cudaEventQuery")
def event_query(_: Surface, event: int) -> tuple[()]:
    if _outside_capture(event).pending:
        raise CudaError("cudaErrorNotReady")
    return ()


@behaviour("cudaStreamWaitEvent")
def stream_wait_event(_: Surface, stream: int, event: int, flags: int) -> tuple[()]:
    awaited = event_of(event)
    if awaited.captured or stream_of(stream).capture is not None:
        raise NotImplementedError("the fake does not capture work that forks to other streams")
    submit(stream_of(stream), partial(current().timeline.reach, awaited))
    return ()


@behaviour("cudaEventElapsedTime")
def event_elapsed_time(_: Surface, start: int, end: int) -> tuple[float]:
    """Count pieces of work as milliseconds."""
    both = _outside_capture(start), _outside_capture(end)
    if not all(event.recorded for event in both) or any(event.flags & 2 for event in both):
        raise CudaError(INVALID_HANDLE)
    if any(event.pending for event in both):
        raise CudaError("cudaErrorNotReady")
    return (float(both[1].moment - both[0].moment),)


def _outside_capture(event: int) -> Event:
    """Find an event that can be asked; asking while this thread captures breaks the capture."""
    forbid_in_capture()
    found = event_of(event)
    if found.captured:
        raise CudaError("cudaErrorCapturedEvent")
    return found
