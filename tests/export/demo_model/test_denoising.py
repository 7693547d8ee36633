"""Which clips the denoiser learns from, and that some of their captions are left out."""

from collections import Counter

import numpy as np
import pytest
import torch

from foley_export.demo_model.corpus import training_scene
from foley_export.demo_model.denoising import DROPPED, DenoisingTask, NoiseLevels, emphasis
from foley_export.demo_model.latents import SHAPE, Latents
from foley_export.demo_model.reading import new_text_encoder
from foley_export.demo_model.scenes import Event, Scene

CLIPS = 24


def new_task(vocabulary) -> DenoisingTask:
    """Latents whose values are the clips' numbers."""
    torch.manual_seed(0)
    values = np.broadcast_to(np.arange(CLIPS, dtype=np.float16)[:, None, None, None], (CLIPS, *SHAPE))
    return DenoisingTask(Latents(values, 0.5), new_text_encoder(vocabulary), vocabulary, 1, torch.device("cpu"))


@pytest.fixture(scope="module")
def task(vocabulary):
    return new_task(vocabulary)


@pytest.fixture(scope="module")
def drawn(task):
    return [task._batch(np.random.default_rng(seed)) for seed in range(250)]


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (Scene((Event("hum"),)), 2.0),
        (Scene((Event("beeps"),)), 6.0),
        (Scene((Event("beeps"), Event("hum")), "then"), 2.0),
        (Scene((Event("bell"), Event("wind")), "over"), 1.5),
    ],
)
def test_what_is_hard_is_emphasised(scene, expected):
    assert emphasis(scene) == pytest.approx(expected)


def test_clips_are_drawn_as_they_are_emphasised(drawn):
    counts = Counter(round(float(clip[0, 0, 0]) / 0.5) for clean, _ in drawn for clip in clean)
    emphases = np.array([emphasis(training_scene(index)) for index in range(CLIPS)])
    expected = 250 * 16 * emphases / emphases.sum()
    assert expected.max() > 2 * expected.min()
    for index in range(CLIPS):
        assert abs(counts[index] - expected[index]) < 5 * expected[index] ** 0.5


def test_one_caption_in_ten_is_left_out(drawn):
    left_out = np.mean([caption == "" for _, captions in drawn for caption in captions])
    assert left_out == pytest.approx(DROPPED, abs=0.02)


def test_batches_depend_on_the_generator_only(task):
    first, again, other = (task._batch(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(first[0], again[0])
    assert first[1] == again[1] != other[1]


def test_levels_of_noise_count_alike_once_their_errors_are_known():
    levels, timesteps = NoiseLevels(), torch.arange(16).flip(0) * 62.5 + 30
    usual = torch.logspace(-2, 0, 16)
    for _ in range(1000):
        levels(usual, timesteps.long())
    errors = usual.clone().requires_grad_()
    loss = levels(errors, timesteps.long())
    loss.backward()
    assert loss.item() == pytest.approx(usual.mean().item(), rel=1e-3)
    assert torch.allclose(errors.grad * usual, usual.mean() / 16, rtol=1e-2)


def test_errors_of_a_level_are_remembered_for_that_level():
    levels = NoiseLevels()
    errors = torch.ones(16)
    errors[3] = 2.0
    levels(errors, (torch.arange(16) * 62 + 31).flip(0))
    assert levels.usual[12] == pytest.approx(1.01)
    assert levels.usual[[0, 3, 11, 13, 15]].tolist() == [1.0] * 5


def test_a_step_weighs_errors_by_what_is_usual_at_their_level(vocabulary):
    tasks = [new_task(vocabulary) for _ in range(2)]
    tasks[1].modules["levels"].usual[8:] = 1e4
    losses = [task.advance(0) for task in tasks]
    assert losses[0] == losses[1]
    plain, weighed = (task.modules["unet"].conv_out.weight.grad.flatten() for task in tasks)
    assert torch.cosine_similarity(plain, weighed, dim=0) < 0.999
    assert (tasks[0].modules["levels"].usual != 1).all()
