"""The parts of the suite, in order: each a command of its own, so that one that fails or hangs spoils no other."""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from foley_engines.registry import status

Size = Literal["tiny", "full"]
FOLEY: Final = (sys.executable, "-m", "foley")
MODULE: Final = (sys.executable, "-m")
ROWS: Final = "rows.jsonl"
TINY: Final = ("--seconds", "0.64", "--steps", "2", "--repeats", "3")
"""How little is asked of a tiny model, which shows that the suite works and nothing else."""


@dataclass(frozen=True)
class Part:
    """One command."""

    name: str
    command: tuple[str, ...]
    most_s: float
    """Seconds after which it is ended."""
    needs: tuple[str, ...] = ()
    """Parts without which it has nothing to work on."""
    missing: str = ""
    """Why it cannot run here, where that is known beforehand."""


@dataclass(frozen=True)
class Subject:
    """What the suite works on and with."""

    folder: Path
    """Where everything goes."""
    size: Size = "full"
    engines: tuple[str, ...] = ("cuda", "tensorrt")
    checkpoint: Path | None = None
    """None: one of random weights is written."""
    bundle: Path | None = None
    """None: the checkpoint is exported."""
    batches: tuple[int, ...] = (1, 4, 16)

    @property
    def source(self) -> Path:
        """The checkpoint's folder."""
        return self.checkpoint or self.folder / "checkpoint"

    @property
    def model(self) -> Path:
        """The bundle's folder."""
        return self.bundle or self.folder / "bundle"

    @property
    def rows(self) -> Path:
        """The file of JSON lines that parts add to."""
        return self.folder / ROWS


def parts(subject: Subject) -> list[Part]:
    """List the parts: what is quick to tell comes first."""
    found = [*_preparation(subject)]
    for engine in subject.engines:
        found += _of_engine(subject, engine)
    return found


def _preparation(subject: Subject) -> Iterator[Part]:
    if subject.checkpoint is None and (subject.bundle is None or subject.size == "full"):
        command = (*MODULE, "foley_bench.checkpoints", str(subject.source), "--layout", "no-adapter")
        yield Part("checkpoint", (*command, "--size", subject.size), 120)
    if subject.bundle is None:
        precision = "fp32" if subject.engines == ("cpu",) else "fp16"
        write = (*FOLEY, "export", str(subject.source), "-o", str(subject.model), "--precision", precision)
        yield Part("export", write, 240, () if subject.checkpoint else ("checkpoint",))


def _of_engine(subject: Subject, engine: str) -> Iterator[Part]:
    """Give an engine's parts: verification, speeds beside torch, latency by stages, throughput, roofline."""
    missing = "" if (found := status(engine)).usable else found.detail
    before = () if subject.bundle else ("export",)
    model, own = str(subject.model), ("--engine", engine)
    results = ("--results", str(subject.rows))
    if engine == "tensorrt":
        slots = ",".join(map(str, subject.batches))
        yield Part("tensorrt: build", (*FOLEY, "build", model, "--slots", slots), 300, before, missing)
        before = ("tensorrt: build",)
    yield Part(f"{engine}: verify", (*FOLEY, "verify", model, *own, "--json"), 120, before, missing)
    clips = [word for batch in subject.batches for word in ("--clips", str(batch))]
    race = (*MODULE, "foley_bench.step_rate", model, *own, "--checkpoint", str(subject.source), *clips, *results)
    raced = (*before, *_written(subject))
    yield Part(f"{engine}: steps beside torch", (*race, *_race_options(subject)), 240, raced, missing)
    bench, tiny = (*FOLEY, "bench"), subject.size == "tiny"
    latency = (*bench, "latency", model, *own, *(TINY if tiny else ("--budget", "20")), *results)
    yield Part(f"{engine}: latency", (*latency, "--no-cold") if tiny else latency, 90, before, missing)
    most = ("--most", str(max(subject.batches)), "--budget", "30")
    throughput = (*bench, "throughput", model, *own, *most, *(TINY[:4] if tiny else ()), *results)
    yield Part(f"{engine}: throughput", throughput, 120, before, missing)
    roofline = (*bench, "roofline", model, *own, *(TINY[:2] if tiny else ()), *results)
    yield Part(f"{engine}: roofline", roofline, 60, before, missing)


def _race_options(subject: Subject) -> Sequence[str]:
    """Keep a race on a small model short, and without a compiler."""
    return ("--no-compile", *TINY[:4], "--rounds", "2") if subject.size == "tiny" else ("--rounds", "3")


def _written(subject: Subject) -> tuple[str, ...]:
    return () if subject.checkpoint else ("checkpoint",)
