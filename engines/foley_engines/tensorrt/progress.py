"""TensorRT's build phases as one fraction, and a way to interrupt a build."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

Tell = Callable[[str, float], None]
"""(phase, fraction of it that is done)"""


@dataclass
class Phases:
    """The phases under way, by name, the outermost first. TensorRT tells of them from several threads."""

    steps: dict[str, int] = field(default_factory=dict)
    done: dict[str, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def start(self, name: str, steps: int) -> None:
        """Begin a phase of so many steps."""
        with self._lock:
            self.steps[name], self.done[name] = steps, 0

    def finish(self, name: str) -> None:
        """End a phase."""
        with self._lock:
            self.steps.pop(name, None)
            self.done.pop(name, None)

    def step(self, name: str, number: int) -> tuple[str, float]:
        """Note a step that is done, counted from 0; give the outermost phase and how much of it is done."""
        with self._lock:
            if name in self.done:
                self.done[name] = number + 1
            return next(iter(self.steps), name), self._fraction()

    def _fraction(self) -> float:
        """Count the phases inside as parts of one step."""
        share, unit = 0.0, 1.0
        for name, steps in self.steps.items():
            share += unit * self.done[name] / max(steps, 1)
            unit /= max(steps, 1)
        return min(share, 1.0)


def make_monitor(trt: Any, tell: Tell) -> Any:  # noqa: ANN401 — the library has no types
    """Make a progress monitor that tells phases; an exception of `tell`, an interrupt too, cancels the build.

    What was raised is kept in the monitor's `raised`, for the builder to raise again outside TensorRT.
    """

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self.raised: BaseException | None = None
            self._phases = Phases()

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:  # noqa: ARG002
            self._guarded(lambda: self._phases.start(phase_name, num_steps))

        def phase_finish(self, phase_name: str) -> None:
            self._guarded(lambda: self._phases.finish(phase_name))

        def step_complete(self, phase_name: str, step: int) -> bool:
            self._guarded(lambda: tell(*self._phases.step(phase_name, step)))
            return self.raised is None

        def _guarded(self, work: Callable[[], None]) -> None:
            try:
                if self.raised is None:
                    work()
            except BaseException as error:  # a callback must not throw through TensorRT
                self.raised = error

    return Monitor()
