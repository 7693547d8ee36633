"""New processes: how long an import takes, and a cold start; contestants take turns."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from foley.bundle import Bundle
from foley.errors import UsageError
from foley.request import Request
from foley_bench.build import EXACT_DB, Workload
from foley_bench.footprint.environment import run
from foley_bench.latency.cold import ColdStart, cold_start, medians, start
from foley_bench.timing import Spread, repeated, spread
from foley_engines import CpuSetup

CLOCKED: Final = "import time; begin = time.perf_counter(); {}; print(time.perf_counter() - begin)"
PEER: Final = Path(__file__).with_name("peer_child.py")
SCHEDULERS: Final = {"ddim": "DDIMScheduler", "dpmpp-2m": "DPMSolverMultistepScheduler", "pndm": "PNDMScheduler"}
"""Sampler → what diffusers calls it, where its defaults are the same."""


@dataclass(frozen=True)
class Contestant:
    """Something that is installed, imported and started."""

    python: Path
    """The interpreter of its environment."""
    importing: str
    """What a script begins with."""
    start: Callable[[], ColdStart]


def foley_contestant(python: Path, bundle: Path, threads: int | None) -> Contestant:
    """Give Foley, in an environment, with a bundle."""
    begun = partial(cold_start, bundle, CpuSetup(threads), Workload(), (str(python), "-I"))
    return Contestant(python, "import foley", begun)


def diffusers_contestant(
    python: Path, checkpoint: Path, bundle: Bundle, request: Request, threads: int | None
) -> Contestant:
    """Give diffusers, in an environment, with a checkpoint, asked for the latents of a request.

    Raises:
        UsageError: the sampler is not one that diffusers has by these defaults.
    """
    if request.sampler not in SCHEDULERS:
        raise UsageError(f"diffusers is started with {', '.join(SCHEDULERS)}; {request.sampler} is the bundle's own")
    latents = bundle.manifest.latents
    task = {
        "threads": threads,
        "scheduler": SCHEDULERS[request.sampler],
        "steps": request.steps,
        "guidance": request.guidance,
        "bins": latents.bins,
        "columns": request.columns(latents, bundle.manifest.audio),
    }
    command = [str(python), "-I", str(PEER), str(checkpoint), json.dumps(task)]
    return Contestant(
        python, "import diffusers; from diffusers import StableDiffusionPipeline", partial(start, command)
    )


def clock_imports(contestants: Mapping[str, Contestant], repeats: int) -> dict[str, Spread]:
    """Import each contestant in new processes, the first one uncounted; give the seconds of the import alone.

    Raises:
        FailureError: an import failed.
    """
    rounds = repeated(lambda _: {name: _import_s(each) for name, each in contestants.items()}, repeats, warm_up=1)
    return {name: spread([found[name] for found in rounds]) for name in contestants}


def _import_s(contestant: Contestant) -> float:
    return float(run([str(contestant.python), "-I", "-c", CLOCKED.format(contestant.importing)]))


def clock_starts(contestants: Mapping[str, Contestant], repeats: int) -> dict[str, dict[str, Any]]:
    """Start each contestant in new processes, the first one uncounted; give the median of each figure.

    Raises:
        EngineError: a process failed.
    """
    rounds = repeated(lambda _: {name: each.start() for name, each in contestants.items()}, repeats, warm_up=1)
    return {name: medians([found[name] for found in rounds]) for name in contestants}


def verified(python: Path, bundle: Path, threads: int | None) -> dict[str, float]:
    """Verify a bundle in an environment; give the decibels by graph.

    Raises:
        FailureError: a graph does not run, or is below its floor.
    """
    given = [] if threads is None else ["--threads", str(threads)]
    lines = run([str(python), "-I", "-m", "foley", "verify", str(bundle), *given, "--json"]).splitlines()
    reports = [json.loads(line) for line in lines]
    return {report["graph"]: _decibels(report["snr_db"]) for report in reports}


def _decibels(snr_db: float | None) -> float:
    """Read a figure of `foley verify`, whose JSON has null for outputs without any error."""
    return EXACT_DB if snr_db is None else round(snr_db, 1)
