"""Steps a second of a bundle beside diffusers, at toy size on the CPU."""

import pytest
import torch
from support.commands import ROOT

import foley
from foley_bench import step_rate
from foley_bench.step_rate import (
    Task,
    clip_timings,
    context_of,
    foley_loop,
    load_unet,
    race,
    row_flops,
    shape_of,
    torch_loop,
)

CHECKPOINT = ROOT / "export/foley_export/demo_model/checkpoint"
TASK = Task("dpmpp-2m", 3, 2, 2.56)

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning:diffusers")]


@pytest.fixture(scope="module")
def demo():
    with foley.load(threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="module")
def unet():
    return load_unet(CHECKPOINT, torch.device("cpu"))


def test_both_loops_evaluate_the_same(demo, unet, monkeypatch):
    """As many U-Net rows, at the same timesteps, with the same guidance."""
    seen = []
    forward = unet.forward

    def watched(latents, timestep, *rest):
        seen.append((tuple(latents.shape), float(timestep)))
        return forward(latents, timestep, *rest)

    monkeypatch.setattr(unet, "forward", watched)
    for sampler in step_rate.SCHEDULERS:
        seen.clear()
        task = Task(sampler, 3, 2, 2.56)
        torch_loop(unet, CHECKPOINT, context_of(demo, unet), shape_of(demo, 2.56))(task)
        generation = demo.start(demo.request("a bell", count=2, steps=3, sampler=sampler))
        assert [time for _, time in seen] == generation._table.timesteps.tolist()
        assert {shape for shape, _ in seen} == {(4, 4, 32, 32)}


def test_they_take_turns(demo):
    order = []

    def runner(name):
        return lambda task: order.append(name) or 0.5 * task.steps

    rates = race({"one": runner("one"), "other": runner("other")}, Task("pndm", 4, 1, 2.56), rounds=2)
    assert order == ["one", "other"] * 3
    assert rates == {"one": [2.5, 2.5], "other": [2.5, 2.5]}  # PNDM evaluates once more than it has steps


def test_a_loop_takes_its_time(demo):
    assert foley_loop(demo)(TASK) > 0
    timings = clip_timings(demo, TASK)
    assert timings["batch_ms"] > timings["denoise_ms"] > 0


def test_operations_are_counted(unet, demo):
    """They grow with the latents."""
    context = context_of(demo, unet)
    assert 1.9 < row_flops(unet, context, (4, 32, 64)) / row_flops(unet, context, (4, 32, 32)) < 3
