"""A line on stderr that says how far the work is and how long it will still take."""

import sys
import time
from dataclasses import dataclass, field
from typing import Final

LINE_EVERY_S: Final = 10.0


@dataclass
class Progress:
    """Counts work of any unit, done and left, from when it was made."""

    total: float
    what: str = ""
    """What is being done now."""
    _done: float = 0.0
    _started: float = field(default_factory=time.monotonic)
    _shown: float = field(default_factory=time.monotonic)

    def advance(self, work: float) -> None:
        """Count work as done; write a line when it is time for one."""
        self._done += work
        now = time.monotonic()
        if now - self._shown > LINE_EVERY_S or self._done >= self.total:
            self._shown = now
            print(self._line(now - self._started), file=sys.stderr, flush=True)

    def _line(self, elapsed_s: float) -> str:
        left_s = elapsed_s * (self.total - self._done) / max(self._done, 1e-9)
        return f"{self.what}: {self._done / self.total:.0%} of all, {left_s / 60:.1f} min left"
