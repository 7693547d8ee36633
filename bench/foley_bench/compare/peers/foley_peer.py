"""Foley itself, through its public API. It also makes the inputs that all contestants get."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

import foley
from foley.cli.engine import Given, make_setup
from foley.noise import NoiseStream
from foley_bench.build import PROMPTS, Workload, fidelity
from foley_engines import Setup


class Peer:
    """A bundle in an engine."""

    LIBRARIES = ("numpy",)

    def prepare(self, settings: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Write `inputs.npz` (noise [n,C,H,W], conditioning [n,L,D] twice); give the decibels of every graph."""
        setup = _setup(settings)
        with foley.load(settings["bundle"], engine=setup) as pipeline:
            request = Workload(**settings["workload"]).request(pipeline, 0)
            manifest = pipeline.bundle.manifest
            shape = manifest.latents.shape(request.columns(manifest.latents, manifest.audio))
            none, encoded = pipeline.prompts.unconditional, pipeline.prompts.encode(PROMPTS[:1])[PROMPTS[0]]
            noise = np.stack([NoiseStream(seed).normal(shape) for seed in request.seeds])
            negative, positive = (_rows(each, len(noise)) for each in (none, encoded))
            np.savez(folder / "inputs.npz", latents=noise, negative=negative, positive=positive)
            return {"fidelity": fidelity(pipeline.bundle, setup)}

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the bundle."""
        self._workload = settings["workload"]
        self._pipeline = foley.load(settings["bundle"], engine=_setup(settings), verify_files=False)
        return {"threads": settings["engine"]["threads"] or settings["threads"]}

    def run(self, task: dict[str, Any], inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
        """Do a task; the prompt is remembered, so that its encoder runs in the first turn only."""
        if task["unit"] == "decode":
            return np.stack([self._pipeline.decode(each) for each in inputs["latents"]]), 0
        latents, evaluations = self._denoise(task, inputs["latents"])
        if task["unit"] == "step":
            return latents, evaluations
        return np.stack([self._pipeline.render(each).samples for each in latents]), evaluations

    def _denoise(self, task: dict[str, Any], noise: NDArray[np.float32]) -> tuple[NDArray[np.float32], int]:
        request = Workload(**{**self._workload, "steps": task["steps"]}).request(self._pipeline, 0)
        generation = self._pipeline.start(request, latents=noise)
        for step in generation:
            last = step
        return np.stack(last.latents()), generation.total_steps


def _setup(settings: dict[str, Any]) -> Setup:
    options = settings["engine"]
    plans = None if options["plans"] is None else Path(options["plans"])
    return make_setup(cast("Given", {**options, "plans": plans}))


def _rows(conditioning: Mapping[str, NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """Repeat a prompt's one array for each clip."""
    [context] = conditioning.values()
    return np.repeat(context[None], count, axis=0)
