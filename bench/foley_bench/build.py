"""What is measured: a bundle in an engine with a request's settings, and how a row names it."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foley.bundle import MANIFEST, Bundle
from foley.pipeline import Pipeline
from foley.request import Request
from foley.verify import verify
from foley_engines import CpuSetup, Setup
from foley_engines.registry import engine_of, status

PROMPTS: Final = ("a rising siren, then two knocks", "a loud bell")
"""Prompts take turns: a pipeline remembers the last call's, and would not encode the same one again."""

EXACT_DB: Final = 300.0
"""What a row says of outputs without any error; JSON has no infinity."""


@dataclass(frozen=True)
class Workload:
    """What a clip is to be; None: the bundle's own."""

    seconds: float | None = None
    steps: int | None = None
    sampler: str | None = None
    guidance: float | None = None
    batch: int = 1

    def request(self, pipeline: Pipeline, number: int) -> Request:
        """Fill and check the request of a round.

        Raises:
            RequestError: a knob is out of range.
        """
        return pipeline.request(
            PROMPTS[number % len(PROMPTS)], seconds=self.seconds, steps=self.steps, sampler=self.sampler,
            guidance=self.guidance, count=self.batch, max_batch=self.batch,
        )  # fmt: skip


def configuration(bundle: Bundle, setup: Setup, request: Request) -> dict[str, Any]:
    """Say what was measured: rows of one configuration, machine and versions are of the same thing."""
    manifest = bundle.manifest
    return {
        "bundle": bundle.folder.resolve().name,
        "system": manifest.system,
        "precision": manifest.precision,
        "engine": engine_of(setup).name,
        "threads": cores_of(setup) if isinstance(setup, CpuSetup) else None,
        "cuda_graphs": None if isinstance(setup, CpuSetup) else setup.captured,
        "seconds": request.seconds,
        "steps": request.steps,
        "sampler": request.sampler,
        "guidance": request.guidance,
        "batch": request.max_batch,
    }


def method(bundle: Bundle, setup: Setup) -> dict[str, Any]:
    """Say with what it was measured: the bundle's digest, the engine's library and its device."""
    digest = hashlib.sha256((bundle.folder / MANIFEST).read_bytes()).hexdigest()
    return {"bundle_sha256": digest, "library": status(engine_of(setup).name).detail}


def fidelity(bundle: Bundle, setup: Setup) -> dict[str, float]:
    """Compare every graph in this engine with torch's recorded outputs; give the decibels by graph.

    Raises:
        EngineError: a graph does not load or run.
    """
    return {report.graph: round(min(report.snr_db, EXACT_DB), 1) for report in verify(bundle, engine=setup)}


def cores_of(setup: Setup) -> int:
    """Give the threads that compute on the CPU; one launches work for a GPU."""
    if isinstance(setup, CpuSetup):
        return setup.threads or os.cpu_count() or 1
    return 1


def bundle_bytes(folder: Path) -> int:
    """Sum a bundle's files, without what engines built beside them."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sum(path.stat().st_size for path in files if path.relative_to(folder).parts[0] != "engines")
