"""How repeats are taken and described."""

import time

import pytest

from foley_bench.timing import Share, ShareClock, repeated, spread


def test_a_spread_tells_tails_of_enough_repeats_only() -> None:
    few, many = spread([3.0, 1.0, 2.0]), spread([float(number) for number in range(101)])
    assert (few.repeats, few.median, few.least, few.most, few.p5, few.p95) == (3, 2.0, 1.0, 3.0, None, None)
    assert (many.median, many.p5, many.p95) == (50.0, 5.0, 95.0)


def test_the_warm_up_does_not_count() -> None:
    numbers: list[int] = []
    assert repeated(lambda number: numbers.append(number) or number, repeats=4, warm_up=2) == [0, 1, 2, 3]
    assert numbers == [-2, -1, 0, 1, 2, 3]


@pytest.mark.parametrize(("budget_s", "made"), [(0.0, 3), (None, 5), (60.0, 5)])
def test_a_budget_leaves_three_repeats(budget_s: float | None, made: int) -> None:
    assert len(repeated(lambda number: number, repeats=5, budget_s=budget_s, warm_up=0)) == made


def test_a_budget_ends_repeats_that_take_long() -> None:
    made = repeated(lambda _: time.sleep(0.02), repeats=1000, budget_s=0.1, warm_up=0)
    assert 3 <= len(made) <= 6


def test_work_is_busy_and_sleep_is_not() -> None:
    idle = ShareClock(1)
    time.sleep(0.1)
    assert idle.read().busy < 0.5
    clock, end = ShareClock(1), time.process_time() + 0.1
    while time.process_time() < end:
        pass
    read = clock.read()
    assert read.cpu_s >= 0.1
    assert read.busy > idle.read().busy


def test_a_share_is_of_all_cores_that_were_to_compute() -> None:
    assert Share(wall_s=2.0, cpu_s=1.0, cores=2, stolen_s=None, load=0.0).busy == 0.25
