"""The runtime's own work per denoising step, over an engine that computes nothing.

    python -m foley_bench.host_cost --results bench/results/cpu.jsonl

Latents of 10.24 s, guidance on. What a step costs in an engine's own binding (copies into staging memory, one launch)
comes on top; so does fresh noise where a sampler draws it, which is told apart.
"""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Final, Self

import click
import numpy as np

from foley.denoise import Batch, Latents, Slot
from foley.guidance import Row, guide
from foley.noise import NoiseStream
from foley.samplers import sampler_table
from foley.schedule import NoiseSchedule
from foley_bench.rows import append, row
from foley_engines import Array, Buffer, Session, Shape, TensorSpec

GOAL_US: Final = 30.0
SHAPE: Final = (4, 32, 128)  # latents of 10.24 s
CONTEXT: Final = (77, 768)
STEPS: Final = 100
SCHEDULE: Final = NoiseSchedule(
    num_train_timesteps=1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
    prediction_type="epsilon", steps_offset=1,
)  # fmt: skip


class NullBuffer:
    """An array that is written and read as an engine's would be."""

    def __init__(self, shape: Shape) -> None:
        self.shape: Shape = shape
        self._array: Array = np.zeros(shape, np.float32)

    def write(self, value: Array) -> None:
        """Copy the values, as into staging memory."""
        np.copyto(self._array, value, casting="unsafe")

    def read(self) -> Array:
        """Give a copy."""
        return self._array.copy()

    def take(self, source: Buffer, *index: int) -> None:
        """Copy nothing."""


class NullSession:
    """A session whose runs do nothing."""

    def __init__(self, shapes: dict[str, Shape]) -> None:
        self._buffers = {name: NullBuffer(shape) for name, shape in shapes.items()}

    def __getitem__(self, name: str) -> NullBuffer:
        """Give a buffer."""
        return self._buffers[name]

    def run(self) -> None:
        """Do nothing."""

    def wait(self) -> None:
        """Do nothing."""

    def feed(self, input_name: str, output_name: str) -> None:
        """Swap two buffers."""
        buffers = self._buffers
        buffers[input_name], buffers[output_name] = buffers[output_name], buffers[input_name]

    def close(self) -> None:
        """Do nothing."""


class NullEngine:
    """An engine that computes nothing."""

    def __init__(self) -> None:
        self.inputs: dict[str, TensorSpec] = {}
        self.outputs: dict[str, TensorSpec] = {}

    def fit(self, shapes: dict[str, Shape], growable: Sequence[str] = ()) -> dict[str, Shape]:  # noqa: ARG002
        """Give the same shapes."""
        return shapes

    def prepare(self, wanted: Sequence[dict[str, Shape]]) -> None:
        """Do nothing."""

    def bind(self, **shapes: Shape) -> Session:
        """Give a session that computes nothing."""
        return NullSession(shapes)

    def close(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def host_cost_us(sampler: str, clips: int, rounds: int = 7) -> float:
    """Measure the processor time of a step in µs, the median over a loop's steps but its first; the best of rounds."""
    return min(median(_steps_us(sampler, clips)) for _ in range(rounds))


def _steps_us(sampler: str, clips: int) -> Iterator[float]:
    """Give each step's processor time; the first, which lays everything out, and the last, which reads, left out."""
    steps = iter(Batch(NullEngine(), _slots(sampler, clips)))
    next(steps)
    for _ in range(STEPS - 2):
        begin = time.process_time_ns()
        next(steps)
        yield (time.process_time_ns() - begin) / 1e3


def _slots(sampler: str, clips: int) -> list[Slot]:
    table = sampler_table(sampler, SCHEDULE, STEPS)
    prompt, none = ({"context": np.full(CONTEXT, value, np.float32)} for value in (1, 0))
    guidance = guide([Row(prompt, 1.0)], none, scale=7.5)
    latents: Latents = np.zeros(SHAPE, np.float32)
    return [Slot(table, guidance, NoiseStream(seed), latents) for seed in range(clips)]


@click.command()
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), help="File of JSON lines to add rows to.")
def main(results: Path | None) -> None:
    """Measure the runtime's own work per step for 1, 4 and 16 clips."""
    for sampler in ("pndm", "dpmpp-2m", "euler-a"):
        figures: dict[str, Any] = {f"{clips} clips, µs": round(host_cost_us(sampler, clips), 1) for clips in (1, 4, 16)}
        print(sampler, figures)
        if results is not None:
            append(results, row("host cost of a step", {"sampler": sampler, "latents": SHAPE, "guided": True}, figures))


if __name__ == "__main__":
    main()
