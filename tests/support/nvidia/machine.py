"""The machine that both fakes run on: a device, its memory, its streams, and what a test wants to know or to break."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from support.nvidia.memory import Memory, MemoryFaultError
from support.nvidia.streams import Timeline

GIB = 1 << 30


@dataclass(frozen=True)
class FakeDevice:
    """What the device is."""

    name: str = "NVIDIA H100 80GB HBM3"
    compute_capability: tuple[int, int] = (9, 0)
    memory_bytes: int = 80 * GIB


@dataclass
class Machine:
    """One machine; `installed` makes a fresh one for every test."""

    device: FakeDevice = field(default_factory=FakeDevice)
    devices: int = 1
    """How many devices there are; 0: a driver without a device."""
    driver: bool = True
    """Whether there is a driver."""
    memory: Memory = field(default_factory=Memory)
    timeline: Timeline = field(default_factory=Timeline)
    graphs: dict[int, list[Any]] = field(default_factory=dict)
    """Captured graphs by handle: their work, in order."""
    executables: dict[int, list[Any]] = field(default_factory=dict)
    """Instantiated graphs by handle."""
    events: dict[int, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    """What a program must not do, in words: double frees, ranges beyond an allocation, use after free."""
    sticky: str | None = None
    """The error that every later call of CUDA gives, after a fault in enqueued work."""
    counts: Counter[str] = field(default_factory=Counter)
    """How often what was done: build, deserialize, refit, enqueue, capture, launch."""
    failures: dict[str, Any] = field(default_factory=dict)
    """A member that is to fail, and what it then gives: None, or the name of CUDA's error."""
    refused_operators: dict[str, str] = field(default_factory=dict)
    """Operators that TensorRT's parser refuses, and why."""

    @property
    def lazy(self) -> bool:
        """Whether enqueued work waits for a synchronisation."""
        return self.timeline.lazy

    @lazy.setter
    def lazy(self, value: bool) -> None:
        self.timeline.lazy = value

    def fault(self, words: str) -> None:
        """Note what a program must not do."""
        self.faults.append(words)

    def guard(self, step: Callable[..., None], *arguments: Any) -> bool:
        """Run what may run; a fault in it stays as an error of CUDA, and gives False."""
        try:
            step(*arguments)
        except MemoryFaultError as fault:
            self.fault(str(fault))
            self.sticky = "cudaErrorIllegalAddress"
        return self.sticky is None

    def live(self) -> list[str]:
        """List what was made and not given back."""
        streams = [f"stream {handle}" for handle in self.timeline.streams if handle]
        graphs = [f"graph {handle}" for handle in self.graphs]
        executables = [f"executable graph {handle}" for handle in self.executables]
        return [*self.memory.live(), *streams, *[f"event {handle}" for handle in self.events], *graphs, *executables]

    def check(self) -> None:
        """Raise where something leaked or was misused.

        Raises:
            AssertionError: the message lists faults and what is still live.
        """
        wrong = [*self.faults, *(f"leaked: {each}" for each in self.live())]
        if self.sticky or wrong:
            raise AssertionError("; ".join([*([f"CUDA is in {self.sticky}"] if self.sticky else []), *wrong]))


CURRENT = Machine()


def current() -> Machine:
    """Give the machine of this test."""
    return CURRENT


def fake_device(
    name: str = "NVIDIA H100 80GB HBM3", compute_capability: tuple[int, int] = (9, 0), memory_bytes: int = 80 * GIB
) -> FakeDevice:
    """Put another device into the machine, for both fakes."""
    current().device = FakeDevice(name, compute_capability, memory_bytes)
    return current().device
