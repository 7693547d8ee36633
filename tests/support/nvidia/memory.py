"""Memory of the fake machine: host memory in which every range is checked."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

ALIGNMENT = 256
FRESH, DEAD = 0xCD, 0xDD
"""What memory holds before it is written, and after it was freed: float32 -4.3e8 and -2e18."""
KEPT_BYTES = 1 << 28
"""How much freed memory is kept, so that its addresses are known when they are used again."""


class MemoryFaultError(Exception):
    """A range that no live allocation holds, or a pointer that cannot be freed."""


@dataclass
class Allocation:
    """A piece of memory."""

    kind: str
    """device or pinned."""
    address: int
    size: int
    bytes: Any
    """uint8 [size]"""
    freed: bool = False

    def __str__(self) -> str:
        return f"{self.kind} memory 0x{self.address:x} of {self.size} bytes"


class Memory:
    """Every allocation, the freed ones too for a while."""

    def __init__(self) -> None:
        self._allocations: dict[int, Allocation] = {}
        self._reserved: dict[int, int] = {}

    def allocate(self, kind: str, size: int) -> int:
        """Take memory filled with garbage; gives its address, a multiple of 256."""
        whole = np.full(max(size, 1) + ALIGNMENT, FRESH, np.uint8)
        address = math.ceil(whole.ctypes.data / ALIGNMENT) * ALIGNMENT
        begin = address - whole.ctypes.data
        self._allocations[address] = Allocation(kind, address, size, whole[begin : begin + size])
        return address

    def free(self, kind: str, address: int) -> None:
        """Give memory back.

        Raises:
            MemoryFaultError: nothing of that kind begins at the address, or it was freed before.
        """
        found = self._allocations.get(address)
        if found is None or found.kind != kind:
            raise MemoryFaultError(
                f"0x{address:x} is freed as {kind} memory, but is {found or 'none that was allocated'}"
            )
        if found.freed:
            raise MemoryFaultError(f"{found} is freed twice")
        found.freed = True
        found.bytes.fill(DEAD)
        self._forget()

    def view(self, address: int, size: int, kind: str | None = None) -> Any:
        """Give a range as an array uint8 [size] that shares the memory.

        Raises:
            MemoryFaultError: the range is not inside one live allocation, or that is of another kind.
        """
        found = self.find(address)
        if found is None or (kind is not None and found.kind != kind):
            raise MemoryFaultError(
                f"0x{address:x} is {found or 'no memory that was allocated'}, expected {kind or 'some'}"
            )
        if found.freed:
            raise MemoryFaultError(f"{found} is used after it was freed")
        begin = address - found.address
        if begin + size > found.size:
            raise MemoryFaultError(f"bytes {begin} to {begin + size} are beyond {found}")
        return found.bytes[begin : begin + size]

    def find(self, address: int) -> Allocation | None:
        """Find the allocation, live or freed, that an address is in."""
        inside = (each for each in list(self._allocations.values()) if 0 <= address - each.address < max(each.size, 1))
        return next(inside, None)

    def reserve(self, size: int) -> int:
        """Count device memory that a library holds for itself; gives a number to give it back by."""
        number = len(self._reserved) + 1
        self._reserved[number] = size
        return number

    def unreserve(self, number: int) -> None:
        """Give back what a library held."""
        self._reserved[number] = 0

    def used(self) -> int:
        """Give the bytes of device memory that are taken."""
        live = (each.size for each in list(self._allocations.values()) if each.kind == "device" and not each.freed)
        return sum(live) + sum(self._reserved.values())

    def live(self) -> list[str]:
        """Name every live allocation."""
        return [str(each) for each in list(self._allocations.values()) if not each.freed]

    def _forget(self) -> None:
        """Drop the oldest freed memory beyond what is kept."""
        freed = [each for each in list(self._allocations.values()) if each.freed]
        while sum(each.size for each in freed) > KEPT_BYTES:
            del self._allocations[freed.pop(0).address]
