"""Graphs without their weights, and weights files that several graphs share."""

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self
from zlib import crc32

import numpy as np
import onnx_ir as ir

INLINE_BYTES: Final = 1024
"""Smaller tensors stay in the graph, where shape inference can read them."""
ALIGNMENT: Final = 4096
"""Offsets are multiples of a page, so that a runtime may map the file."""
PROBE_BYTES: Final = 1 << 16
"""How much of a tensor's beginning and end says that it may equal another."""


class WeightsFile:
    """A file of raw tensors in which each distinct content is stored once."""

    def __init__(self, path: Path) -> None:
        """Create the file; close it to end."""
        self.path = path
        self._file: BinaryIO = path.open("w+b")
        self._places: dict[tuple[int, int, int], list[int]] = {}
        """(length, checksum of the beginning, checksum of the end) → offsets."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def store(self, model: ir.Model) -> None:
        """Move a graph's large tensors into the file; the graph then refers to them by offset."""
        for value in model.graph.initializers.values():
            tensor = value.const_value
            if tensor is None or tensor.nbytes < INLINE_BYTES or isinstance(tensor, ir.ExternalTensor):
                continue
            offset, length = self._place(tensor)
            shape = ir.Shape(tensor.numpy().shape)
            value.const_value = ir.ExternalTensor(
                self.path.name, offset, length, tensor.dtype, shape=shape, name=str(value.name),
                base_dir=self.path.parent,
            )  # fmt: skip

    def _place(self, tensor: ir.TensorProtocol) -> tuple[int, int]:
        """Give the offset and length of a tensor's content, written where no equal one was."""
        content = np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data
        alike = self._places.setdefault((len(content), crc32(content[:PROBE_BYTES]), crc32(content[-PROBE_BYTES:])), [])
        for offset in alike:
            if self._read(offset, len(content)) == content:
                return offset, len(content)
        alike.append(self._append(content))
        return alike[-1], len(content)

    def _read(self, offset: int, length: int) -> bytes:
        self._file.seek(offset)
        return self._file.read(length)

    def _append(self, content: memoryview) -> int:
        end = self._file.seek(0, os.SEEK_END)
        self._file.write(b"\0" * (-end % ALIGNMENT))
        offset = self._file.tell()
        self._file.write(content)
        return offset


def save_graph(model: ir.Model, path: Path) -> None:
    """Write a graph whose large tensors are in a weights file beside it."""
    _forget_tracing(model)
    ir.save(model, path)


def _forget_tracing(model: ir.Model) -> None:
    """Drop the tracer's notes: source lines and paths of the exporting machine, most of a graph's size."""
    for part in (model, model.graph, *model.graph):
        part.metadata_props.clear()
        part.doc_string = None
    for node in model.graph:
        for value in node.outputs:
            value.metadata_props.clear()
    for value in (*model.graph.inputs, *model.graph.initializers.values()):
        value.metadata_props.clear()
