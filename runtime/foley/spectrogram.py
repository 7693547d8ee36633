"""A mel spectrogram as a PNG picture: time to the right, pitch upwards, brighter is louder."""

import struct
import zlib
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foley.files import new_file

VIRIDIS: Final = (
    (68, 1, 84), (71, 44, 122), (59, 81, 139), (44, 113, 142), (33, 144, 141), (39, 173, 129), (92, 200, 99),
    (170, 220, 50), (253, 231, 37),
)  # fmt: skip
"""Nine anchors of matplotlib's viridis, red, green and blue from 0 to 255."""


def save_spectrogram(mel: NDArray[np.float32], path: Path) -> None:
    """Write log-mel [M,T] as an indexed PNG of T×M pixels, its own range spread over the colours.

    Raises:
        UsageError: the file cannot be written.
    """
    with new_file(path) as working:
        working.write_bytes(png(_levels(mel)))


def png(levels: NDArray[np.uint8]) -> bytes:
    """Encode colour indices [rows, columns] as a PNG with the viridis palette (ISO/IEC 15948)."""
    rows, columns = levels.shape
    header = struct.pack(">IIBBBBB", columns, rows, 8, 3, 0, 0, 0)  # 8 bits a pixel, palette
    lines = np.concatenate([np.zeros((rows, 1), np.uint8), levels], axis=1)  # filter 0 before each row
    return b"".join(
        (
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", header),
            _chunk(b"PLTE", _palette()),
            _chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)),
            _chunk(b"IEND", b""),
        )
    )


def _levels(mel: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = float(mel.min()), float(mel.max())
    scaled = (mel - low) / max(high - low, 1e-6) * 255
    return np.flipud(np.rint(scaled).astype(np.uint8))


def _palette() -> bytes:
    places = np.linspace(0, len(VIRIDIS) - 1, 256)
    anchors = np.array(VIRIDIS, np.float64)
    colours = [np.interp(places, np.arange(len(VIRIDIS)), anchors[:, channel]) for channel in range(3)]
    return np.rint(np.stack(colours, axis=1)).astype(np.uint8).tobytes()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
