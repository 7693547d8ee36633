"""Streams, events and captures: work in order, run at once or, where the timeline is lazy, at a synchronisation."""

import itertools
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

Work = Callable[[], None]


@dataclass
class Capture:
    """What a stream records instead of running it."""

    mode: str
    nodes: list[Work] = field(default_factory=list)
    thread: int = field(default_factory=threading.get_ident)
    broken: bool = False


@dataclass
class Stream:
    """A queue of work."""

    handle: int
    queue: deque[Work] = field(default_factory=deque)
    capture: Capture | None = None


@dataclass
class Event:
    """A mark in a stream."""

    handle: int
    flags: int = 0
    stream: Stream | None = None
    pending: int = 0
    """Records of it that are still queued."""
    recorded: bool = False
    captured: bool = False
    moment: float = 0.0
    """When it was reached, counted in pieces of work."""


@dataclass
class Timeline:
    """All streams of the machine."""

    lazy: bool = False
    streams: dict[int, Stream] = field(default_factory=lambda: {0: Stream(0)})
    done: int = 0
    """How many pieces of work have run."""

    def __post_init__(self) -> None:
        self._handles = itertools.count(1001)

    def handle(self) -> int:
        """Give a number that nothing else has."""
        return next(self._handles)

    def open(self) -> Stream:
        """Make a stream."""
        stream = Stream(self.handle())
        self.streams[stream.handle] = stream
        return stream

    def submit(self, stream: Stream, work: Work) -> None:
        """Capture, queue or run a piece of work."""
        if stream.capture is not None:
            stream.capture.nodes.append(work)
        elif self.lazy or stream.queue:
            stream.queue.append(work)
        else:
            self._run(work)

    def drain(self, stream: Stream) -> None:
        """Run all that a stream has queued."""
        while stream.queue:
            self._run(stream.queue.popleft())

    def drain_all(self) -> None:
        """Run all that is queued, stream by stream."""
        for stream in list(self.streams.values()):
            self.drain(stream)

    def record(self, event: Event, stream: Stream) -> None:
        """Put an event's mark into a stream."""
        event.stream, event.recorded = stream, True
        event.captured = stream.capture is not None
        if not event.captured:
            event.pending += 1
            self.submit(stream, lambda: self._reach(event))

    def reach(self, event: Event) -> None:
        """Run what lies before an event's last mark."""
        while event.pending and event.stream is not None and event.stream.queue:
            self._run(event.stream.queue.popleft())

    def _reach(self, event: Event) -> None:
        event.pending -= 1
        event.moment = self.done

    def _run(self, work: Work) -> None:
        self.done += 1
        work()
