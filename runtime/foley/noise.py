"""Gaussian noise that a seed makes equal to `torch.randn` on the CPU, so that a seed gives diffusers' clip.

torch draws from MT19937. For 16 values or more it fills the tensor with 24-bit uniforms and turns each block of 16
into eight cosines and eight sines (Box–Muller); a tail that is no multiple of 16 is drawn afresh as the last 16 values.
Below 16 values it draws 53-bit uniforms one pair at a time and keeps the second value of a pair for the next call
(ATen, `native/cpu/DistributionTemplates.h` and `core/DistributionsHelper.h`).
"""

from math import prod
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foley.errors import RequestError

BLOCK: Final = 16
FLOAT_BITS: Final = 24
DOUBLE_BITS: Final = 53
SEED_LIMIT: Final = 2**63
"""torch takes larger seeds too, as their negative twins; only the low 32 bits reach MT19937."""


class NoiseStream:
    """The draws of one `torch.Generator().manual_seed(seed)`, in order."""

    def __init__(self, seed: int) -> None:
        """Start the stream of a seed.

        Raises:
            RequestError: the seed is no integer in [0, 2^63).
        """
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed < SEED_LIMIT:
            raise RequestError(f"seed is {seed!r}, expected an integer from 0 to 2^63 - 1")
        self._words = np.random.RandomState(int(seed) & 0xFFFFFFFF)
        self._spare: float | None = None

    def normal(self, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Draw standard normal values, float32 of `shape`: what the next `torch.randn(shape)` gives, to 5e-7."""
        size = prod(shape)
        flat = self._blocks(size) if size >= BLOCK else self._singles(size)
        return flat.reshape(shape)

    def _blocks(self, size: int) -> NDArray[np.float32]:
        values = self._float_uniforms(size)
        whole = size - size % BLOCK
        values[:whole] = _box_muller(values[:whole])
        if whole != size:
            values[-BLOCK:] = _box_muller(self._float_uniforms(BLOCK))
        return values

    def _float_uniforms(self, count: int) -> NDArray[np.float32]:
        words = np.frombuffer(self._words.bytes(4 * count), dtype="<u4")
        return ((words & np.uint32((1 << FLOAT_BITS) - 1)) * np.float32(2.0**-FLOAT_BITS)).astype(np.float32)

    def _singles(self, count: int) -> NDArray[np.float32]:
        return np.array([self._single() for _ in range(count)], dtype=np.float32)

    def _single(self) -> float:
        if self._spare is not None:
            value, self._spare = self._spare, None
            return value
        first, second = self._double_uniform(), self._double_uniform()
        radius = np.sqrt(-2.0 * np.log1p(-second))
        self._spare = float(radius * np.sin(2.0 * np.pi * first))
        return float(radius * np.cos(2.0 * np.pi * first))

    def _double_uniform(self) -> float:
        high, low = np.frombuffer(self._words.bytes(8), dtype="<u4")
        word = (int(high) << 32) | int(low)
        return (word & ((1 << DOUBLE_BITS) - 1)) * 2.0**-DOUBLE_BITS


def _box_muller(uniforms: NDArray[np.float32]) -> NDArray[np.float32]:
    """Turn uniforms [16·n] into normals: in each block, the first eight give the radius, the last eight the angle."""
    blocks = uniforms.reshape(-1, 2, BLOCK // 2)
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - blocks[:, 0]))
    angle = np.float32(2.0 * np.pi) * blocks[:, 1]
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
