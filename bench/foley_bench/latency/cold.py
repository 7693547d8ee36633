"""A cold start: a new process up to its first clip, and the memory that it takes."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from foley.errors import EngineError
from foley_bench.build import Workload
from foley_bench.timing import spread
from foley_engines import CpuSetup, Setup, TensorRtSetup
from foley_engines.registry import engine_of

MIB_IN_KIB: Final = 1024
STARTS: Final = 5
SHELL: Final = ("/bin/sh", "-c", '"$@"; exit "$?"', "sh")
"""Starts a command from a small process: Linux counts the peak of the process that starts another as the other's."""


@dataclass(frozen=True)
class ColdStart:
    """A process's seconds since it was asked for, and its memory in MiB."""

    imported_s: float
    """Until `foley` was imported."""
    loaded_s: float
    """Until the bundle was checked and loaded; graphs load when they are first needed."""
    first_clip_s: float
    """Until the first clip's samples were there."""
    second_clip_s: float
    """What the second clip took by itself."""
    loaded_mib: float
    """Most memory held until then."""
    peak_mib: float


def cold_starts(bundle: Path, setup: Setup, workload: Workload, starts: int = STARTS) -> dict[str, float]:
    """Start processes one after another, the first one uncounted; give the median of each figure.

    So the files are in the system's page cache, as they are in a service that restarts.

    Raises:
        EngineError: a process failed; its last line follows.
    """
    return medians([cold_start(bundle, setup, workload) for _ in range(starts + 1)][1:])


def medians(found: Sequence[ColdStart]) -> dict[str, float]:
    """Give the median of each figure of some starts."""
    return {name: round(spread([getattr(each, name) for each in found]).median, 3) for name in vars(found[0])}


def cold_start(bundle: Path, setup: Setup, workload: Workload, python: Sequence[str] = (sys.executable,)) -> ColdStart:
    """Start a process that loads a bundle and makes two clips; `python` is the command of a Python that has Foley.

    Raises:
        EngineError: it failed; its last line follows.
    """
    child = [*python, "-m", "foley_bench.latency.cold_child", str(bundle)]
    return start([*child, json.dumps(engine_options_of(setup)), json.dumps(asdict(workload))])


def start(command: Sequence[str]) -> ColdStart:
    """Start a process that prints its marks, as `cold_child` does.

    Raises:
        EngineError: it failed; its last line follows.
    """
    begin = time.monotonic()
    done = subprocess.run([*SHELL, *command], capture_output=True, text=True, check=False)  # noqa: S603 — ours
    if done.returncode:
        raise EngineError(f"a cold start failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return _read(json.loads(done.stdout.splitlines()[-1]), begin)


def _read(marks: Mapping[str, float], begin: float) -> ColdStart:
    """Read a child's marks: times on the system's monotonic clock, and peaks in KiB."""
    return ColdStart(
        imported_s=marks["imported"] - begin,
        loaded_s=marks["loaded"] - begin,
        first_clip_s=marks["first_clip"] - begin,
        second_clip_s=marks["second_clip"] - marks["first_clip"],
        loaded_mib=marks["loaded_kib"] / MIB_IN_KIB,
        peak_mib=marks["peak_kib"] / MIB_IN_KIB,
    )


def engine_options_of(setup: Setup) -> dict[str, Any]:
    """Give the options of the command line that make a setup again."""
    if isinstance(setup, CpuSetup):
        return _options(setup, threads=setup.threads)
    if isinstance(setup, TensorRtSetup):
        plans = None if setup.plans is None else str(setup.plans)
        return _options(setup, device=setup.device, plans=plans, no_build=True, host_code=setup.host_code)
    return _options(setup, device=setup.device)


def _options(
    setup: Setup,
    *,
    threads: int | None = None,
    device: int | None = None,
    plans: str | None = None,
    no_build: bool = False,
    host_code: bool = False,
) -> dict[str, Any]:
    captured = isinstance(setup, CpuSetup) or setup.captured
    return {
        "engine": engine_of(setup).name,
        "threads": threads,
        "device": device,
        "plans": plans,
        "no_build": no_build,
        "host_code": host_code,
        "no_cuda_graph": not captured,
    }
