"""The runtime's own work per step stays far below an engine's."""

import pytest

from foley_bench.host_cost import GOAL_US, host_cost_us


@pytest.mark.parametrize("clips", [1, 4, 16])
@pytest.mark.parametrize("sampler", ["pndm", "dpmpp-2m"])
def test_a_step_costs_the_host_less_than_the_goal(sampler: str, clips: int):
    assert host_cost_us(sampler, clips) <= GOAL_US  # measured 5 µs


def test_noise_costs_what_it_costs():
    """The measure sees work: a sampler that draws 16,384 numbers a step takes far longer."""
    assert host_cost_us("euler-a", 1, rounds=2) > host_cost_us("dpmpp-2m", 1, rounds=2) + 20
