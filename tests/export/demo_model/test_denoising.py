"""Which clips the denoiser learns from, and that some of their captions are left out."""

from collections import Counter

import numpy as np
import pytest
import torch

from foley_export.demo_model.corpus import training_scene
from foley_export.demo_model.denoising import DROPPED, DenoisingTask, emphasis
from foley_export.demo_model.latents import SHAPE, Latents
from foley_export.demo_model.reading import new_text_encoder
from foley_export.demo_model.scenes import Event, Scene

CLIPS = 24


@pytest.fixture(scope="module")
def task(vocabulary):
    """Latents whose values are the clips' numbers."""
    values = np.broadcast_to(np.arange(CLIPS, dtype=np.float16)[:, None, None, None], (CLIPS, *SHAPE))
    return DenoisingTask(Latents(values, 0.5), new_text_encoder(vocabulary), vocabulary, 1)


@pytest.fixture(scope="module")
def drawn(task):
    return [task._batch(np.random.default_rng(seed)) for seed in range(250)]


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (Scene((Event("hum"),)), 1.6),
        (Scene((Event("beeps"),)), 4.8),
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
