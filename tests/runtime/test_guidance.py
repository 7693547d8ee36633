"""Guidance as rows: the algebra, and which steps are guided."""

import math

import numpy as np
import pytest

from foley.errors import RequestError
from foley.guidance import Guidance, Row, guide

NONE, DOG, CAT = ({"context": np.full((2, 3), value, np.float32)} for value in (0.0, 1.0, 2.0))


def weights(rows: tuple[Row, ...]) -> list[tuple[int, float]]:
    return [(int(row.conditioning["context"][0, 0]), pytest.approx(row.weight)) for row in rows]


@pytest.mark.parametrize("scale", [1.5, 3.0, 7.5, 30.0])
@pytest.mark.parametrize("prompts", [[1.0], [1.0, 0.5], [1.0, -0.5], [0.2, 0.3, 0.5], [1.0, -1.0]], ids=str)
def test_weights_sum_to_one(scale: float, prompts: list[float]):
    guidance = guide([Row(DOG, weight) for weight in prompts], NONE, scale=scale)
    for rows in (guidance.guided, guidance.unguided):
        assert sum(row.weight for row in rows) == pytest.approx(1.0)


def test_plain_guidance_is_two_rows_the_unconditional_first():
    guidance = guide([Row(DOG, 1.0)], NONE, scale=7.5)
    assert weights(guidance.guided) == [(0, -6.5), (1, 7.5)]
    assert weights(guidance.unguided) == [(1, 1.0)]


@pytest.mark.parametrize("scale", [0, 0.5, 1, 1.0])
def test_a_scale_up_to_one_is_off(scale: float):
    guidance = guide([Row(DOG, 1.0)], NONE, scale=scale)
    assert weights(guidance.guided) == [(1, 1.0)]
    assert guidance.guided is guidance.unguided  # so that the loop sees no change of rows


def test_several_prompts_each_have_a_row():
    guidance = guide([Row(DOG, 1.0), Row(CAT, 0.5)], NONE, scale=4.0)
    assert weights(guidance.guided) == [(0, -5.0), (1, 4.0), (2, 2.0)]
    assert weights(guidance.unguided) == [(0, -0.5), (1, 1.0), (2, 0.5)]


def test_a_negative_weight_pushes_away():
    assert weights(guide([Row(DOG, 1.0), Row(CAT, -0.5)], NONE, scale=4.0).guided) == [(0, -1.0), (1, 4.0), (2, -2.0)]


def test_rows_without_weight_are_dropped():
    guidance = guide([Row(DOG, 0.5), Row(CAT, -0.25)], NONE, scale=4.0)
    assert weights(guidance.guided) == [(1, 2.0), (2, -1.0)]  # 4 · (0.5 − 0.25) = 1 leaves nothing for no prompt


@pytest.mark.parametrize(
    ("stop", "steps", "guided"),
    [
        (0, 10, 0),
        (0.8, 10, 8),
        (1, 10, 10),
        (0.5, 5, 3),
        (0.01, 10, 1),
        (0.07, 100, 7),
        (0.55, 100, 55),
        (0.29, 100, 29),
    ],
)
def test_guided_steps_come_first(stop: float, steps: int, guided: int):
    """A fraction of a step counts as one; 0.07 · 100 is 7, whatever binary floating point makes of it."""
    guidance = guide([Row(DOG, 1.0)], NONE, scale=3.0, stop=stop)
    assert [guidance.rows(step, steps) is guidance.guided for step in range(steps)] == [
        step < guided for step in range(steps)
    ]


@pytest.mark.parametrize("scale", [-1, math.nan, math.inf, -math.inf, True, "7", None])
def test_other_scales_are_refused(scale: object):
    with pytest.raises(RequestError, match=r"^guidance is .*expected a finite number"):
        guide([Row(DOG, 1.0)], NONE, scale=scale)  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [-0.1, 1.1, math.nan, math.inf, True, "1", None])
def test_other_stops_are_refused(stop: object):
    with pytest.raises(RequestError, match=r"^guidance stop is .*expected a fraction"):
        guide([Row(DOG, 1.0)], NONE, scale=3.0, stop=stop)  # type: ignore[arg-type]


def test_guidance_compares_by_identity():
    assert Guidance((), (), 1.0) != Guidance((), (), 1.0)
