"""Two contestants take turns: A B A B. One computes while the other waits, and only two models are in memory."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foley.errors import EngineError, VerificationError
from foley_bench.compare.agreement import Array, Reference, heard
from foley_bench.compare.child import Child
from foley_bench.compare.contestants import Contestant, Unit
from foley_bench.timing import repeated


@dataclass(frozen=True)
class Task:
    """What both compute."""

    unit: Unit
    steps: int
    """Of the sampler; PNDM evaluates the U-Net once more."""


@dataclass(frozen=True)
class Course:
    """What a pair runs over."""

    inputs: Path
    """`latents` [n,C,H,W], `negative` and `positive` [n,L,D], float32."""
    tasks: tuple[Task, ...]
    references: Mapping[Task, Reference]
    rounds: int
    threads: int
    budget_s: float | None = None
    warm_up: int = 1


@dataclass(frozen=True)
class Turn:
    """One contestant's run of a task."""

    wall_s: float
    cpu_s: float
    """Processor time of all its threads."""
    evaluations: int
    """Of the U-Net."""
    snr_db: float
    """Its output against the reference's."""
    peak_mib: float


@dataclass(frozen=True)
class Loaded:
    """A contestant that is ready."""

    contestant: Contestant
    child: Child
    facts: Mapping[str, Any]
    """threads, versions, seconds to load, peak MiB."""

    def compute(self, task: Task, inputs: Path) -> tuple[dict[str, Any], Array]:
        """Run a task; give the clock's answer and the output.

        Raises:
            EngineError: it failed.
        """
        with tempfile.TemporaryDirectory(prefix="foley-compare-") as folder:
            output = Path(folder) / "output.npy"
            answer = self.child.ask(
                {"do": "run", "task": asdict(task), "inputs": str(inputs), "output": str(output)}
            )  # fmt: skip
            return answer, heard(task.unit, np.load(output))

    def turn(self, task: Task, course: Course) -> Turn:
        """Run a task and compare its output.

        Raises:
            EngineError: it failed.
            VerificationError: its output is not the reference's.
        """
        answer, output = self.compute(task, course.inputs)
        found = course.references[task].compare(output, self.contestant.precision)
        return Turn(snr_db=found, **{name: answer[name] for name in ("wall_s", "cpu_s", "evaluations", "peak_mib")})


@dataclass(frozen=True)
class Pair:
    """Rounds of two contestants."""

    first: Mapping[str, Any]
    """What the first told when it was loaded."""
    second: Mapping[str, Any]
    first_runs: Mapping[Task, tuple[Turn, Turn]]
    """Uncounted: libraries set themselves up, compilers compile."""
    rounds: list[dict[Task, tuple[Turn, Turn]]]


@contextlib.contextmanager
def loaded(contestant: Contestant, threads: int) -> Iterator[Loaded]:
    """Start a contestant and load its model.

    Raises:
        EngineUnavailableError: a library is missing.
        EngineError: it failed, or computes on other than `threads` threads.
    """
    with Child(contestant, threads) as child:
        facts = child.ask({"do": "load", "settings": dict(contestant.settings)})
        if facts["threads"] != threads:
            raise EngineError(
                f"{contestant.name}: computes on {facts['threads']} threads, expected {threads}; times would differ"
            )
        yield Loaded(contestant, child, facts)


class HomeDisagreesError(VerificationError):
    """The first of a pair, which all are measured against, is itself not the reference's."""


def run_pair(first: Contestant, second: Contestant, course: Course) -> Pair:
    """Let two contestants compute the tasks that the second can, in turns.

    A contestant whose precision the processor emulates gets a single step: it is slow beyond use.

    Raises:
        EngineUnavailableError: a library is missing.
        EngineError: one failed, or their threads or evaluations differ.
        VerificationError: an output is not the reference's; of the first, `HomeDisagreesError`.
    """
    with loaded(first, course.threads) as home, loaded(second, course.threads) as guest:
        tasks = [task for task in course.tasks if task.unit in second.units]
        if guest.facts.get("emulated"):
            tasks = [Task(task.unit, 1) for task in tasks]
        done = _rounds(home, guest, tasks, course)
    return Pair(home.facts, guest.facts, done[0], done[-(len(done) - course.warm_up) :])


def _rounds(
    home: Loaded, guest: Loaded, tasks: list[Task], course: Course
) -> list[dict[Task, tuple[Turn, Turn]]]:  # fmt: skip
    """Give all rounds, those of the warm-up first."""
    done: list[dict[Task, tuple[Turn, Turn]]] = []

    def one(_number: int) -> None:
        done.append({task: _both(home, guest, task, course) for task in tasks})

    repeated(one, course.rounds, course.budget_s, course.warm_up)
    return done


def _both(home: Loaded, guest: Loaded, task: Task, course: Course) -> tuple[Turn, Turn]:
    try:
        first = home.turn(task, course)
    except VerificationError as error:
        raise HomeDisagreesError(f"{home.contestant.name}'s {task.unit}: {error}") from error
    second = guest.turn(task, course)
    if first.evaluations != second.evaluations:
        counts = f"{second.evaluations} times, {home.contestant.name} {first.evaluations}"
        raise EngineError(f"{guest.contestant.name}: evaluated the U-Net {counts}: not the same work")
    return first, second


def references(contestant: Contestant, tasks: tuple[Task, ...], inputs: Path, threads: int) -> dict[Task, Reference]:
    """Compute the right outputs, in a process that ends before others begin.

    Raises:
        EngineUnavailableError: a library is missing.
        EngineError: it failed, or an output is not finite.
    """
    with loaded(contestant, threads) as ready:
        found = {task: ready.compute(task, inputs)[1] for task in tasks}
    for task, output in found.items():
        if not np.isfinite(output).all():
            raise EngineError(f"{contestant.name} gave NaN or infinity after {task.steps} steps; try fewer --steps")
    return {task: Reference(contestant.name, output) for task, output in found.items()}
