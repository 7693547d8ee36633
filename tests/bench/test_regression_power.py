"""How often the rule of `foley bench check` is right, by Monte Carlo on the noise of a shared machine.

Noise of wall time, as it was measured: standard deviation of a clip 7 %, correlation of neighbouring clips 0.3, of
processes 2.5 %, one process in 20 odd by some 15 %. What the rule makes of it, 12 processes in a baseline, 6 in a
sample, 12 clips each (1500 runs of each; `python tests/bench/test_regression_power.py` prints it anew):

    noise                             any of ten unchanged  unchanged: cannot tell  10 % seen  15 % seen
    wall time                                         0.6%                    0.2%      95.6%     100.0%
    wall time, processes 3 %                          1.0%                    0.3%      92.0%     100.0%
    wall time, each run off by 1 %                    2.3%                    0.2%      91.6%     100.0%
    processor time                                    0.3%                    0.0%      98.7%     100.0%
    wall time, clips 20 %                             3.9%                   34.7%      25.7%      57.4%
"""

import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from foley_bench.regression.baseline import CLIPS, PROCESSES
from foley_bench.regression.verdict import final_finding, first_finding

CHECKS = 10


@dataclass(frozen=True)
class Noise:
    """Deviations of logarithms."""

    clip: float = 0.07
    correlation: float = 0.3
    process: float = 0.025
    odd: float = 0.05
    """How many processes are odd."""
    odd_by: float = 0.15
    run: float = 0.0
    """What a whole baseline or check is off by."""


NOISES = {
    "wall time": Noise(),
    "wall time, processes 3 %": Noise(process=0.03),
    "wall time, each run off by 1 %": Noise(run=0.01),
    "processor time": Noise(clip=0.025, process=0.02, run=0.01),
    "wall time, clips 20 %": Noise(clip=0.2, process=0.05),
}


def sample(draw: np.random.Generator, noise: Noise, processes: int, slower: float = 1.0) -> list[float]:
    """Draw the figures of processes: medians of their clips."""
    clips: NDArray[np.float64] = draw.standard_normal((processes, CLIPS))
    for number in range(1, CLIPS):
        own = (1 - noise.correlation**2) ** 0.5 * clips[:, number]
        clips[:, number] = noise.correlation * clips[:, number - 1] + own
    odd = (draw.random(processes) < noise.odd) * np.abs(draw.standard_normal(processes)) * noise.odd_by
    shift = noise.process * draw.standard_normal(processes) + odd * draw.choice([1, 1, -1], processes)
    logs = np.median(noise.clip * clips, axis=1) + shift + noise.run * draw.standard_normal()
    return [float(each) for each in slower * np.exp(logs)]


def find(draw: np.random.Generator, noise: Noise, baseline: list[float], slower: float) -> str:
    """Check once, as the command does."""
    first = sample(draw, noise, PROCESSES // 2, slower)
    second = sample(draw, noise, PROCESSES // 2, slower)
    return first_finding(baseline, first) or final_finding(baseline, first, second)


def found(noise: Noise, slower: float, runs: int, checks: int = 1) -> Iterator[list[str]]:
    """Give the findings of some checks against a baseline, run after run."""
    draw = np.random.default_rng(5)
    for _ in range(runs):
        baseline = sample(draw, noise, PROCESSES)
        yield [find(draw, noise, baseline, slower) for _ in range(checks)]


def share(runs: list[list[str]], finding: str) -> float:
    """Give the share of runs in which any check found this."""
    return sum(finding in each for each in runs) / len(runs)


@pytest.mark.parametrize("name", ["wall time", "processor time"])
def test_ten_unchanged_checks_hardly_ever_report_one(name: str) -> None:
    assert share(list(found(NOISES[name], 1.0, 300, CHECKS)), "slower") < 0.04


@pytest.mark.parametrize("name", ["wall time", "processor time"])
def test_ten_per_cent_are_seen(name: str) -> None:
    assert share(list(found(NOISES[name], 1.10, 500)), "slower") > 0.9


def test_more_noise_than_can_be_seen_through_is_told() -> None:
    counted = Counter(each for run in found(NOISES["wall time, clips 20 %"], 1.0, 200) for each in run)
    assert counted["slower"] <= 4
    assert counted["cannot tell"] > 20
    assert share(list(found(NOISES["wall time, clips 20 %"], 1.10, 200)), "no slower") < 0.1


def figures(runs: int) -> Iterator[str]:
    """Give the docstring's table."""
    yield f"{'noise':<32}{'any of ten unchanged':>22}{'unchanged: cannot tell':>24}{'10 % seen':>11}{'15 % seen':>11}"
    for name, noise in NOISES.items():
        ten = list(found(noise, 1.0, runs, CHECKS))
        unsure = sum(each.count("cannot tell") for each in ten) / (len(ten) * CHECKS)
        seen = [share(list(found(noise, slower, runs)), "slower") for slower in (1.10, 1.15)]
        yield f"{name:<32}{share(ten, 'slower'):>22.1%}{unsure:>24.1%}{seen[0]:>11.1%}{seen[1]:>11.1%}"


if __name__ == "__main__":
    sys.stdout.writelines(f"{line}\n" for line in figures(1500))
