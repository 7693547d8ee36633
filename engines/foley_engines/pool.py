"""Bound sessions that wait to be used again: binding costs memory, and on GPUs a captured graph."""

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, Generic, Protocol, TypeVar

from foley_engines.base import Shape

IDLE: Final = 4
"""Sessions that are kept though nobody uses them."""

Key = tuple[tuple[str, Shape], ...]


class Disposable(Protocol):
    """Something that holds memory."""

    def dispose(self) -> None:
        """Free it for good."""
        ...


S = TypeVar("S", bound=Disposable)


class SessionPool(Generic[S]):
    """The sessions of one engine, by the shapes they were bound with; each is lent to one user at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[tuple[Key, S]] = []
        self._all: list[S] = []
        self._given: SimpleQueue[tuple[Key, S]] = SimpleQueue()

    def take(self, shapes: dict[str, Shape], make: Callable[[], S]) -> S:
        """Give an idle session of these shapes, or a new one; of the others too many idle ones are disposed of."""
        self._sort_in()
        idle = self._take_idle(key_of(shapes))
        self._dispose_of_oldest()
        if idle is not None:
            return idle
        session = make()
        with self._lock:
            self._all.append(session)
        return session

    def give(self, shapes: dict[str, Shape], session: S) -> None:
        """Take a session back. It frees nothing and takes no lock: garbage collection may call it anywhere."""
        self._given.put((key_of(shapes), session))

    def close(self) -> None:
        """Dispose of all sessions, those in use as well."""
        with self._lock:
            sessions, self._all, self._idle = self._all, [], []
        for session in sessions:
            session.dispose()

    def _sort_in(self) -> None:
        """List what was given back as idle: once, though it may have been given twice."""
        with self._lock:
            for key, session in [self._given.get() for _ in range(self._given.qsize())]:
                if session in self._all and session not in [idle for _, idle in self._idle]:
                    self._idle.append((key, session))

    def _take_idle(self, key: Key) -> S | None:
        with self._lock:
            found = next((entry for entry in self._idle if entry[0] == key), None)
            if found is not None:
                self._idle.remove(found)
        return found[1] if found is not None else None

    def _dispose_of_oldest(self) -> None:
        with self._lock:
            many = len(self._idle) - IDLE
            excess, self._idle = self._idle[: max(many, 0)], self._idle[max(many, 0) :]
            gone = [session for _, session in excess]
            self._all = [session for session in self._all if session not in gone]
        for session in gone:
            session.dispose()


def key_of(shapes: dict[str, Shape]) -> Key:
    """Give what tells sessions apart."""
    return tuple(sorted(shapes.items()))
