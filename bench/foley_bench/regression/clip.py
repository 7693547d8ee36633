"""A clip and the yardstick in turns, each clocked apart."""

import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final

from foley.pipeline import Pipeline
from foley.request import Request
from foley_bench.regression.yardstick import Yardstick

SHARE: Final = 0.3
"""Time of the yardsticks to that of the work which they follow."""


@dataclass(frozen=True)
class Turns:
    """How often the yardstick runs each time."""

    step: int = 1
    """After every denoising step."""
    rendering: int = 1
    """After decoder and vocoder."""


@dataclass(frozen=True)
class PacedClip:
    """What a clip, or a batch, and its yardsticks took: seconds of wall time, and of this process's processor time."""

    steps_s: float
    rendering_s: float
    """Decoder and vocoder."""
    yardsticks_s: float
    work_cpu_s: float
    yardsticks_cpu_s: float
    runs: int
    """Runs of the yardstick."""

    @property
    def work_s(self) -> float:
        """Denoising, decoding and vocoding."""
        return self.steps_s + self.rendering_s

    @property
    def ratio(self) -> float:
        """The work in yardsticks, of wall time."""
        return self.work_s / self.yardsticks_s * self.runs

    @property
    def cpu_ratio(self) -> float:
        """The work in yardsticks, of processor time."""
        return self.work_cpu_s / self.yardsticks_cpu_s * self.runs


class Watch:
    """Sums the time of its blocks."""

    def __init__(self) -> None:
        self.wall_s = self.cpu_s = 0.0

    def __enter__(self) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.wall_s += time.perf_counter() - self._begin[0]
        self.cpu_s += time.process_time() - self._begin[1]


def pace_clip(pipeline: Pipeline, request: Request, yardstick: Yardstick, turns: Turns) -> PacedClip:
    """Denoise, decode and vocode a request, with the yardstick after every step and at the end."""
    steps, rendering, paced = Watch(), Watch(), Watch()
    generation = pipeline.start(request)
    going = iter(generation)
    for _ in range(generation.total_steps):
        with steps:
            next(going).latents()  # waits for the device: nothing of the step may fall into the yardstick's time
        with paced:
            yardstick.run(turns.step)
    with rendering:
        generation.clips()
    with paced:
        yardstick.run(turns.rendering)
    return PacedClip(
        steps_s=steps.wall_s,
        rendering_s=rendering.wall_s,
        yardsticks_s=paced.wall_s,
        work_cpu_s=steps.cpu_s + rendering.cpu_s,
        yardsticks_cpu_s=paced.cpu_s,
        runs=generation.total_steps * turns.step + turns.rendering,
    )
