"""Steps of many threads, or one change of what they work with."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Lets any number pass at a time, or one alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0

    @contextmanager
    def passing(self) -> Iterator[None]:
        """Hold off who wants to be alone while the block runs."""
        with self._changed:
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Wait until nobody is inside, and let nobody in while the block runs; the block must not pass itself."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside)
            yield
