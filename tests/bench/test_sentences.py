"""What tables of rows say beside their figures."""

import pytest

from foley_bench.sentences import against_torch, disturbance, title

WHAT = {
    "bundle": "demo", "precision": "fp32", "engine": "cpu", "threads": 2, "seconds": 2.56, "steps": 10,
    "sampler": "ddim", "guidance": 2.0, "batch": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({}, "demo (fp32) in cpu, 2 threads: 2.56 s, 10 steps of ddim, guidance 2"),
        ({"batch": 4}, "demo (fp32) in cpu, 2 threads: 2.56 s, 10 steps of ddim, guidance 2, batch 4"),
        ({"batch": [1, 2, 4]}, "demo (fp32) in cpu, 2 threads: 2.56 s, 10 steps of ddim, guidance 2"),
        ({"engine": "cuda", "threads": None}, "demo (fp32) in cuda: 2.56 s, 10 steps of ddim, guidance 2"),
    ],
)
def test_a_title_names_build_and_request(changed, words):
    assert title({**WHAT, **changed}) == words


def test_a_row_without_steps_names_none():
    assert title({name: value for name, value in WHAT.items() if name not in ("steps", "sampler")}).endswith(
        "threads: 2.56 s, guidance 2"
    )


def test_decibels_are_named_by_graph():
    assert (
        against_torch({"vocoder": 105.5, "denoise_step": 126.0})
        == "against torch: vocoder 105.5 dB, denoise_step 126 dB"
    )


@pytest.mark.parametrize(("busy", "engine", "told"), [(0.8, "cpu", 0), (0.79, "cpu", 1), (0.1, "cuda", 0)])
def test_only_a_cpu_that_others_had_disturbs(busy, engine, told):
    found = disturbance(busy, 2, {**WHAT, "engine": engine})
    assert len(found) == told
    assert all(f"had {busy:.0%} of 2 cores" in line for line in found)
