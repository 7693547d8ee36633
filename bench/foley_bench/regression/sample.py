"""A sample: fresh processes, some clips each. Processes of one build differ from each other: each counts once."""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

import click

from foley.errors import EngineError
from foley_bench.regression.clip import SHARE, PacedClip, Turns
from foley_bench.regression.orders import Order

CHILD = ["-m", "foley_bench.regression.child"]
"""What Python is started with; an order follows."""


@dataclass(frozen=True)
class Sample:
    """Processes, and the clips of each."""

    processes: tuple[tuple[PacedClip, ...], ...]

    @property
    def ratios(self) -> list[float]:
        """The median clip of each process, in yardsticks, of wall time."""
        return [median(clip.ratio for clip in clips) for clips in self.processes]

    @property
    def cpu_ratios(self) -> list[float]:
        """The same of processor time."""
        return [median(clip.cpu_ratio for clip in clips) for clips in self.processes]

    def joined(self, other: "Sample") -> "Sample":
        """Put two samples together."""
        return Sample(self.processes + other.processes)

    def figures(self, cores: int) -> dict[str, Any]:
        """Give the figures for a row; `cores` are the threads that were to compute, the share is the yardstick's."""
        clips = [clip for each in self.processes for clip in each]
        wall_s = sum(clip.yardsticks_s for clip in clips)  # a build that waits is not a machine that is busy
        cpu_s = sum(clip.yardsticks_cpu_s for clip in clips)
        return {
            "ratios": [round(ratio, 4) for ratio in self.ratios],
            "cpu_ratios": [round(ratio, 4) for ratio in self.cpu_ratios],
            "work_ms": round(1e3 * median(clip.work_s for clip in clips), 3),
            "yardstick_ms": round(1e3 * median(clip.yardsticks_s / clip.runs for clip in clips), 3),
            "share": {"busy": round(cpu_s / (wall_s * cores), 3), "cores": cores},
        }


def take_sample(order: Order, processes: int) -> Sample:
    """Start processes one after another, with the same order.

    Raises:
        EngineError: one failed; its last line follows.
    """
    return Sample(tuple(_started(order, number, processes) for number in range(processes)))


def find_turns(order: Order) -> Turns:
    """Measure how often the yardstick is to run, so that it takes `SHARE` of the time of what it follows, or more.

    Raises:
        EngineError: the process failed; its last line follows.
    """
    clips = run_child(replace(order, turns=Turns(), clips=3))
    run_s = median(clip.yardsticks_s / clip.runs for clip in clips)
    step_s = median(clip.steps_s / (clip.runs - 1) for clip in clips)
    rendering_s = median(clip.rendering_s for clip in clips)
    return Turns(*(max(1, round(SHARE * work_s / run_s)) for work_s in (step_s, rendering_s)))


def run_child(order: Order) -> Sequence[PacedClip]:
    """Start one process and read its clips.

    Raises:
        EngineError: it failed; its last line follows.
    """
    command = [sys.executable, *CHILD, order.text()]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 — this Python, our module
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["without a word"])[-1]
        raise EngineError(f"a process that measures failed: {reason}")
    return [PacedClip(**clip) for clip in json.loads(done.stdout.splitlines()[-1])]


def _started(order: Order, number: int, processes: int) -> tuple[PacedClip, ...]:
    if sys.stderr.isatty():
        click.echo(f"\rprocess {number + 1} of {processes}   ", nl=number + 1 == processes, err=True)
    return tuple(run_child(order))
