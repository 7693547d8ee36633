"""Noise against torch itself."""

import numpy as np
import pytest
import torch

from foley.errors import RequestError
from foley.noise import NoiseStream

TOLERANCE = 1e-6  # measured 5e-7
SEEDS = [0, 1, 42, 2**31, 2**32 - 1, 2**32, 2**32 + 5, 2**63 - 1]
SHAPES = [(16,), (4, 32, 128), (1, 4, 8, 20), (17,), (31,), (33,), (3, 5, 7), (15,), (1,), (2, 3), (0,)]


def differences(seed: int, shapes: list[tuple[int, ...]]) -> list[float]:
    """Largest difference of each draw of one stream, one after another."""
    generator, stream = torch.Generator().manual_seed(seed), NoiseStream(seed)
    return [
        float(np.abs(stream.normal(shape) - torch.randn(shape, generator=generator).numpy()).max(initial=0.0))
        for shape in shapes
    ]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_draw_is_torchs(seed: int, shape: tuple[int, ...]):
    assert differences(seed, [shape])[0] <= TOLERANCE


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_of_mixed_draws_is_torchs(seed: int):
    """Odd small draws leave a spare value behind, which a large draw between them must not spend."""
    shapes = [(3,), (32,), (1,), (17,), (5,), (4, 4, 4), (15,), (33,), (2,)]
    assert max(differences(seed, shapes)) <= TOLERANCE


def test_a_draw_has_the_shape_and_type_asked_for():
    values = NoiseStream(3).normal((2, 3, 4, 5))
    assert (values.shape, values.dtype) == ((2, 3, 4, 5), np.float32)


def test_numpy_integers_are_seeds():
    assert np.array_equal(NoiseStream(np.int64(7)).normal((16,)), NoiseStream(7).normal((16,)))


@pytest.mark.parametrize("seed", [-1, 2**63, True, 1.0, "1", None, float("nan")])
def test_other_seeds_are_refused(seed: object):
    with pytest.raises(RequestError, match=r"^seed is .*expected an integer from 0"):
        NoiseStream(seed)  # type: ignore[arg-type]
