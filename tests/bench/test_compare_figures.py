"""What a comparison's rows say of a pair's rounds, of turns whose figures are known."""

from typing import Any

import pytest

from foley_bench.compare.figures import Scope, pair_figures
from foley_bench.compare.turns import Pair, Task, Turn

STEP, DECODE = Task("step", 2), Task("decode", 2)
FACTS = {"seconds": 1.5, "peak_mib": 100.4, "threads": 2, "versions": {"abacus": "2.5"}, "secret": "kept"}


def turn(wall_s: float, cpu_s: float, evaluations: int, snr_db: float, peak_mib: float) -> Turn:
    return Turn(wall_s, cpu_s, evaluations, snr_db, peak_mib)


def figures(*, on_cpu: bool = True, estimate: tuple[int, int] | None = None) -> dict[str, Any]:
    """Of three rounds: a step of 1 s in Foley and of 2 to 4 s in the peer, decoding of 5 s and of 10 s."""
    warm_up = {STEP: (turn(9.0, 9.0, 2, 80.0, 1.0), turn(99.0, 9.0, 2, 80.0, 1.0))}
    decoded = turn(5.0, 5.0, 0, 95.0, 300.0), turn(10.0, 10.0, 0, 90.0, 700.0)
    rounds = [
        {STEP: (turn(1.0, 1.6, 2, 120.0 + at, 200.0 + at), turn(wall, 4.0, 2, infinite, 500.0 + at)), DECODE: decoded}
        for at, (wall, infinite) in enumerate([(2.0, float("inf")), (3.0, 110.0), (4.0, 112.0)])
    ]
    runs = {**warm_up, DECODE: decoded}
    return pair_figures(Pair(FACTS, FACTS, runs, rounds), Scope(2, on_cpu, estimate))


def test_ratios_are_of_one_round_each_the_peers_time_over_foleys() -> None:
    step = figures()["step"]
    assert [step["wall_ratio"][name] for name in ("repeats", "least", "median", "most")] == [3, 2.0, 3.0, 4.0]
    assert step["processor_ratio"]["median"] == 2.5
    assert (step["foley_ms"]["median"], step["peer_ms"]["median"]) == (1000.0, 3000.0)
    assert figures(on_cpu=False)["step"]["processor_ratio"] is None


def test_of_decibels_the_worst_counts_and_of_memory_the_most() -> None:
    found = figures()
    assert (found["step"]["foley_snr_db"], found["step"]["peer_snr_db"]) == (120.0, 110.0)
    assert (found["step"]["foley_peak_mib"], found["step"]["peer_peak_mib"]) == (202, 502)
    assert found["decode"]["peer_snr_db"] == 90.0


def test_each_sides_share_of_its_cores() -> None:
    step = figures()["step"]
    assert step["foley_busy"] == 0.8  # 4.8 s of 3 s on two cores
    assert step["peer_busy"] == pytest.approx(12 / 18, abs=1e-3)


def test_first_runs_are_told_apart() -> None:
    step = figures()["step"]
    assert (step["foley_first_run_s"], step["peer_first_run_s"]) == (9.0, 99.0)


def test_a_clip_is_estimated_from_evaluations_and_decoding() -> None:
    found = figures(estimate=(25, 26))["estimated"]
    assert (found["steps"], found["evaluations"], found["parts"]) == (25, 26, ["step", "decode"])
    assert found["foley_s"]["median"] == 26 / 2 * 1.0 + 5.0
    assert found["peer_s"]["median"] == 26 / 2 * 3.0 + 10.0
    assert found["wall_ratio"]["median"] == pytest.approx(49 / 18, abs=1e-4)


def test_facts_of_both_are_kept_and_nothing_else() -> None:
    found = figures()
    assert found["peer"] == {"load_s": 1.5, "loaded_mib": 100, "threads": 2, "versions": {"abacus": "2.5"}}
