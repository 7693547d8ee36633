"""What a pair's rounds say: ratios of one round each, so that what disturbs both cancels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from foley_bench.compare.contestants import Unit
from foley_bench.compare.turns import Pair, Task, Turn
from foley_bench.timing import spread

Turns = Sequence[tuple[Turn, Turn]]
PARTS: Final[tuple[Unit, ...]] = ("step", "decode")
"""What an estimate is made of."""


@dataclass(frozen=True)
class Scope:
    """How a pair's figures are read."""

    cores: int
    on_cpu: bool
    """Whether processor time is the work's."""
    estimate: tuple[int, int] | None = None
    """Steps of a clip that is not measured, and its evaluations of the U-Net."""


def pair_figures(pair: Pair, scope: Scope) -> dict[str, Any]:
    """Give a row's figures: by unit, and of the whole pair."""
    tasks = list(pair.first_runs)
    by_task = {task: [turns[task] for turns in pair.rounds] for task in tasks}
    figures: dict[str, Any] = {task.unit: _unit(task, turns, pair, scope) for task, turns in by_task.items()}
    if scope.estimate is not None:
        figures |= _estimated({task.unit: turns for task, turns in by_task.items()}, scope.estimate)
    return {**figures, "foley": _facts(pair.first), "peer": _facts(pair.second)}


def _unit(task: Task, turns: Turns, pair: Pair, scope: Scope) -> dict[str, Any]:
    walls = [(first.wall_s, second.wall_s) for first, second in turns]
    processor = [second.cpu_s / first.cpu_s for first, second in turns] if scope.on_cpu else None
    first_run = pair.first_runs[task]
    return {
        "steps": task.steps,
        "evaluations": turns[0][0].evaluations,
        "wall_ratio": spread([second / first for first, second in walls]).rounded(4),
        "processor_ratio": None if processor is None else spread(processor).rounded(4),
        "foley_ms": spread([first * 1e3 for first, _ in walls]).rounded(),
        "peer_ms": spread([second * 1e3 for _, second in walls]).rounded(),
        "foley_first_run_s": round(first_run[0].wall_s, 3),
        "peer_first_run_s": round(first_run[1].wall_s, 3),
        "foley_snr_db": _decibels([first for first, _ in turns]),
        "peer_snr_db": _decibels([second for _, second in turns]),
        "foley_busy": _busy([first for first, _ in turns], scope.cores),
        "peer_busy": _busy([second for _, second in turns], scope.cores),
        "foley_peak_mib": round(max(first.peak_mib for first, _ in turns)),
        "peer_peak_mib": round(max(second.peak_mib for _, second in turns)),
    }


def _decibels(turns: Sequence[Turn]) -> float | None:
    """Give the worst; None where all are equal to the reference, since JSON has no infinity."""
    worst = min(turn.snr_db for turn in turns)
    return None if worst == float("inf") else round(worst, 1)


def _busy(turns: Sequence[Turn], cores: int) -> float:
    """Give the share of its cores that a contestant had."""
    return round(sum(turn.cpu_s for turn in turns) / (cores * sum(turn.wall_s for turn in turns)), 3)


def _facts(told: Mapping[str, Any]) -> dict[str, Any]:
    load = {"load_s": round(told["seconds"], 2), "loaded_mib": round(told["peak_mib"])}
    rest = {name: told[name] for name in ("threads", "versions", "emulated", "providers") if name in told}
    return {**load, **rest}


def _estimated(turns: Mapping[Unit, Turns], wanted: tuple[int, int]) -> dict[str, Any]:
    """Estimate a clip of more steps from a round's steps and decoding; text encoder and vocoder are not in it."""
    if any(part not in turns for part in PARTS):
        return {}
    steps, evaluations = wanted
    both = [
        [_clip_s(step, decode, evaluations) for step, decode in zip(*round_, strict=True)]
        for round_ in zip(*(turns[part] for part in PARTS), strict=True)
    ]
    ratios = spread([peer / home for home, peer in both]).rounded(4)
    told = {"steps": steps, "evaluations": evaluations, "parts": list(PARTS), "wall_ratio": ratios}
    seconds = {name: spread([each[at] for each in both]).rounded() for at, name in enumerate(("foley_s", "peer_s"))}
    return {"estimated": {**told, **seconds}}


def _clip_s(step: Turn, decode: Turn, evaluations: int) -> float:
    return step.wall_s / step.evaluations * evaluations + decode.wall_s
