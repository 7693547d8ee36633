"""Captures and graphs of the fake CUDA runtime."""

from typing import Any

from support.nvidia.cuda_registry import INVALID_VALUE, INVALIDATED, CudaError, Handle, behaviour, stream_of, submit
from support.nvidia.machine import current
from support.nvidia.streams import Capture
from support.nvidia.surface import Surface


@behaviour("cudaStreamBeginCapture")
def stream_begin_capture(_: Surface, stream: int, mode: str) -> tuple[()]:
    found = stream_of(stream)
    if not stream or found.capture is not None:
        raise CudaError("cudaErrorStreamCaptureUnsupported" if not stream else "cudaErrorIllegalState")
    found.capture = Capture(mode)
    current().counts["capture"] += 1
    return ()


@behaviour("cudaStreamEndCapture")
def stream_end_capture(_: Surface, stream: int) -> tuple[Handle]:
    found = stream_of(stream)
    capture, found.capture = found.capture, None
    if capture is None:
        raise CudaError("cudaErrorIllegalState")
    if capture.broken:
        raise CudaError(INVALIDATED)
    handle = current().timeline.handle()
    current().graphs[handle] = capture.nodes
    return (Handle("cudaGraph_t", handle),)


@behaviour("cudaStreamIsCapturing")
def stream_is_capturing(_: Surface, stream: int) -> tuple[Handle]:
    capture = stream_of(stream).capture
    state = "None" if capture is None else "Invalidated" if capture.broken else "Active"
    return (Handle("cudaStreamCaptureStatus", member=f"cudaStreamCaptureStatus{state}"),)


@behaviour("cudaGraphInstantiate")
def graph_instantiate(_: Surface, graph: int, flags: int) -> tuple[Handle]:
    handle = current().timeline.handle()
    current().executables[handle] = list(_kept(current().graphs, graph))
    return (Handle("cudaGraphExec_t", handle),)


@behaviour("cudaGraphUpload")
def graph_upload(_: Surface, graph: int, stream: int) -> tuple[()]:
    _kept(current().executables, graph)
    return ()


@behaviour("cudaGraphLaunch")
def graph_launch(_: Surface, graph: int, stream: int) -> tuple[()]:
    nodes = list(_kept(current().executables, graph))
    current().counts["launch"] += 1
    for node in nodes:
        submit(stream_of(stream), node)
    return ()


@behaviour("cudaGraphDestroy")
def graph_destroy(_: Surface, graph: int) -> tuple[()]:
    _kept(current().graphs, graph)
    del current().graphs[graph]
    return ()


@behaviour("cudaGraphExecDestroy")
def graph_exec_destroy(_: Surface, graph: int) -> tuple[()]:
    _kept(current().executables, graph)
    del current().executables[graph]
    return ()


def _kept(handles: dict[int, list[Any]], handle: int) -> list[Any]:
    if handle not in handles:
        current().fault(f"graph {handle} is used, but was destroyed or never made")
        raise CudaError(INVALID_VALUE)
    return handles[handle]
