"""From a checkpoint and its bundle to rows, one a peer."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from foley.bundle import Bundle, load_bundle
from foley.errors import EngineUnavailableError, UsageError
from foley.pipeline import Pipeline
from foley.request import Request
from foley.samplers import sampler_table
from foley_bench.build import Workload, configuration, cores_of, method
from foley_bench.compare.child import prepare
from foley_bench.compare.contestants import (
    FOLEY,
    KINDS,
    PEERS,
    REFERENCE,
    Contestant,
    Unit,
    kind_of,
    make_peer,
    peer_names,
)
from foley_bench.compare.figures import Scope
from foley_bench.compare.outcome import Outcome, compare
from foley_bench.compare.turns import Course, Task, references
from foley_bench.latency.cold import engine_options_of
from foley_bench.rows import row
from foley_bench.timing import WARM_UP
from foley_engines import CpuSetup, Setup

_DPM: Final = {"algorithm_type": "dpmsolver++", "solver_order": 2}
SCHEDULERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "euler": ("EulerDiscreteScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", _DPM),
    "unipc": ("UniPCMultistepScheduler", {}),
}
"""Samplers without fresh noise: diffusers' class, and what it is told beside the checkpoint's config."""


@dataclass(frozen=True)
class Match:
    """What is compared."""

    checkpoint: Path
    bundle: Path
    setup: Setup
    workload: Workload

    @property
    def device(self) -> str:
        """Where torch runs."""
        return "cpu" if isinstance(self.setup, CpuSetup) else "cuda"


@dataclass(frozen=True)
class Wish:
    """With whom, and how."""

    peers: str
    """Names with commas, or `all`."""
    units: tuple[Unit, ...]
    pythons: Mapping[str, str]
    rounds: int
    budget_s: float | None = None
    estimate: int | None = None
    """Steps of a clip to estimate."""


def measure_compare(match: Match, wish: Wish, cache: Path, tell: Callable[[str], None]) -> list[dict[str, Any]]:
    """Run every peer with Foley and give a row of each. Only two models are in memory at once, none in this process.

    Raises:
        UsageError: a peer, a unit, the sampler or the workload is not for this.
        FailureError: Foley or the reference fails, or Foley's output is not the reference's.
    """
    bundle, cores = load_bundle(match.bundle), cores_of(match.setup)
    with Pipeline(bundle, engine=match.setup) as pipeline:  # loads no graph
        request = match.workload.request(pipeline, 0)
    shared = _shared(match, request, cores)
    foley, peers = _foley(match, wish, bundle, shared), _peers(match, wish, shared)
    with tempfile.TemporaryDirectory(prefix="foley-compare-") as folder:
        tell(FOLEY)
        snr_db = prepare(foley, cores, Path(folder))["fidelity"]
        course = _course(match, wish, foley, [*peers], shared, Path(folder) / "inputs.npz", cores)
        scope = Scope(cores, match.device == "cpu", _estimate(wish, bundle, request))
        found = compare(foley, peers, course, scope, cache, tell)
    how = method(bundle, match.setup) | {"reference": next(iter(course.references.values())).name}
    what = configuration(bundle, match.setup, request) | {"checkpoint": match.checkpoint.resolve().name}
    return [_row(each, what, how, snr_db) for each in found]


def _row(found: Outcome, what: dict[str, Any], how: dict[str, Any], snr_db: dict[str, float]) -> dict[str, Any]:
    figures = {"status": found.status, "why": found.why, **found.figures}
    return row("compare", what | {"peer": found.name}, figures, fidelity=snr_db, method=how)


def _shared(match: Match, request: Request, cores: int) -> dict[str, Any]:
    """Give the settings of all peers.

    Raises:
        UsageError: the sampler draws noise on its way, or is otherwise not among `SCHEDULERS`.
    """
    if request.sampler not in SCHEDULERS:
        raise UsageError(f"sampler is {request.sampler!r}, expected one of {', '.join(SCHEDULERS)} for a comparison")
    return {
        "checkpoint": str(match.checkpoint.resolve()),
        "device": match.device,
        "threads": cores,
        "scheduler": SCHEDULERS[request.sampler],
        "guidance": request.guidance,
    }


def _foley(match: Match, wish: Wish, bundle: Bundle, shared: Mapping[str, Any]) -> Contestant:
    own = {"bundle": str(match.bundle.resolve()), "workload": asdict(match.workload)}
    setup = replace(match.setup, threads=shared["threads"]) if isinstance(match.setup, CpuSetup) else match.setup
    settings = {**shared, **own, "engine": engine_options_of(setup)}
    return Contestant(FOLEY, PEERS / "foley_peer.py", bundle.manifest.precision, wish.units, settings)


def _peers(match: Match, wish: Wish, shared: Mapping[str, Any]) -> list[Contestant]:
    """Make the peers; of `all`, those that can compute a unit that is asked for."""
    names = peer_names(wish.peers, match.device)
    if wish.peers == "all":
        names = [name for name in names if set(wish.units) & set(KINDS[kind_of(name)[0]].units)]
    return [make_peer(name, shared, wish.units, wish.pythons) for name in names]


def _course(
    match: Match,
    wish: Wish,
    foley: Contestant,
    peers: list[Contestant],
    shared: Mapping[str, Any],
    inputs: Path,
    cores: int,
) -> Course:
    """Find the right outputs: torch's where there is torch, else Foley's."""
    steps = match.workload.steps or 1
    tasks = tuple(Task(unit, steps) for unit in wish.units)
    single = tuple(Task(unit, 1) for unit in wish.units) if any(peer.precision == "bf16" for peer in peers) else ()
    every = tuple(dict.fromkeys((*tasks, *single)))
    try:
        right = references(make_peer(REFERENCE, shared, wish.units, wish.pythons), every, inputs, cores)
    except EngineUnavailableError:
        right = references(foley, every, inputs, cores)
    warm_up = 1 if match.device == "cpu" else WARM_UP
    return Course(inputs, tasks, right, wish.rounds, cores, wish.budget_s, warm_up)


def _estimate(wish: Wish, bundle: Bundle, request: Request) -> tuple[int, int] | None:
    if wish.estimate is None:
        return None
    table = sampler_table(request.sampler, bundle.manifest.schedule, wish.estimate)
    return wish.estimate, len(table.timesteps)
