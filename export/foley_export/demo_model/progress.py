"""A line of progress on stderr, and every loss as a line of JSON."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, SupportsFloat

LINE_EVERY_S: Final = 10.0
"""Between lines, where stderr is no terminal."""


@dataclass
class Progress:
    """Tells how far one stage is, with its losses averaged since the last line."""

    stage: str
    log: Path | None = None
    """Losses are appended here as JSON lines."""
    done_before: int = 0
    """What an earlier run had done: it says nothing of this one's speed."""
    started: float = field(default_factory=time.monotonic)
    _shown: float = 0.0
    _losses: dict[str, list[SupportsFloat]] = field(default_factory=dict)

    def show(self, done: int, total: int, losses: Mapping[str, SupportsFloat]) -> None:
        """Take the losses of one step; write a line, and only then read them, when it is time for one."""
        for name, loss in losses.items():
            self._losses.setdefault(name, []).append(loss)
        if done == total or time.monotonic() - self._shown > LINE_EVERY_S:
            self._write(done, total)

    def _write(self, done: int, total: int) -> None:
        self._shown = time.monotonic()
        elapsed_s = self._shown - self.started
        left_s = elapsed_s / (done - self.done_before) * (total - done)
        means = {name: sum(map(float, losses)) / len(losses) for name, losses in self._losses.items()}
        words = [self.stage, f"{done}/{total}", *(f"{name} {mean:.4f}" for name, mean in means.items())]
        print(*words, f"({left_s / 60:.1f} min left)", file=sys.stderr, flush=True)  # noqa: T201
        if self.log is not None and means:
            row = {"stage": self.stage, "step": done, "elapsed_s": round(elapsed_s, 1), **means}
            with self.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        self._losses.clear()
