"""A stored matrix with LoRAs, in each type, against float64."""

import numpy as np
import pytest
from support.lora_files import low_rank

from foley.errors import UsageError
from foley.loras.update import Update, byte_count, check_fit, updated
from foley.parameters import Parameter

OUT, IN = 6, 5
W = np.random.default_rng(9).standard_normal((OUT, IN)).astype(np.float32)


def parameter(shape=(OUT, IN), dtype="float32", *, transposed=False) -> Parameter:
    return Parameter(offset=0, dtype=dtype, shape=shape, transposed=transposed)


def update(factor: float = 0.5, seed: int = 0, out: int = OUT, inner: int = IN) -> Update:
    down, up = low_rank(out, inner, seed=seed)
    return Update(down, up, factor, "a.safetensors")


def exact(*updates: Update) -> np.ndarray:
    """W' in float64, [out,in]."""
    return W.astype(np.float64) + sum(each.factor * (each.up.astype(np.float64) @ each.down) for each in updates)


def bfloat16(values: np.ndarray) -> np.ndarray:
    """Round to the nearest of the two neighbours, by search."""
    low = values.astype(np.float32).view(np.uint32) & np.uint32(0xFFFF0000)
    near = np.stack([low.view(np.float32), (low + np.uint32(0x10000)).view(np.float32)])
    nearest = np.abs(near.astype(np.float64) - values).argmin(axis=0)
    return np.take_along_axis(near, nearest[None], axis=0)[0]


@pytest.mark.parametrize("count", [1, 2])
def test_float32(count: int):
    given = [update(seed=seed) for seed in range(count)]
    got = np.frombuffer(updated("m", parameter(), W.tobytes(), given), "<f4").reshape(OUT, IN)
    assert np.abs(got - exact(*given)).max() < 1e-6
    assert np.abs(got - W).max() > 0.1


def test_a_transposed_matrix():
    stored = np.ascontiguousarray(W.T)
    place = parameter((IN, OUT), transposed=True)
    check_fit("m", place, update())
    got = np.frombuffer(updated("m", place, stored.tobytes(), [update()]), "<f4").reshape(IN, OUT)
    assert np.abs(got.T - exact(update())).max() < 1e-6


def test_float16_is_rounded_once():
    """Two small updates that would each round away move the sum."""
    half = np.ones((OUT, IN), np.float16)
    small = Update(np.full((1, IN), 2**-12, np.float32), np.ones((OUT, 1), np.float32), 1.0, "a")
    once = np.frombuffer(updated("m", parameter(dtype="float16"), half.tobytes(), [small]), "<f2")
    both = np.frombuffer(updated("m", parameter(dtype="float16"), half.tobytes(), [small, small, small]), "<f2")
    assert np.all(once == 1)
    assert np.all(both == np.float16(1 + 2**-10))


def test_bfloat16_rounds_to_the_nearest():
    stored = (W.view(np.uint32) >> 16).astype("<u2")
    wide = (stored.astype(np.uint32) << 16).view(np.float32)
    given = update(factor=1.0)
    content = updated("m", parameter(dtype="bfloat16"), stored.tobytes(), [given])
    got = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32).reshape(OUT, IN)
    assert np.array_equal(got, bfloat16(wide + given.matrix()))


@pytest.mark.parametrize(
    ("tail", "expected"), [(0x8000, 0x3F80), (0x18000, 0x3F82), (0x8001, 0x3F81), (0x7FFF, 0x3F80)]
)
def test_bfloat16_ties_go_to_even(tail: int, expected: int):
    value = np.array([0x3F800000 + tail], np.uint32).view(np.float32)
    one = Update(np.ones((1, 1), np.float32), value[:, None], 1.0, "a")
    content = updated("m", parameter((1, 1), "bfloat16"), b"\0\0", [one])
    assert np.frombuffer(content, "<u2").tolist() == [expected]


def test_a_convolution():
    random = np.random.default_rng(3)
    kernel = random.standard_normal((4, 3, 3, 3)).astype(np.float32)
    down = random.standard_normal((2, 3, 3, 3)).astype(np.float32)
    up = random.standard_normal((4, 2, 1, 1)).astype(np.float32)
    given, place = Update(down, up, 0.5, "a"), parameter((4, 3, 3, 3))
    check_fit("m", place, given)
    got = np.frombuffer(updated("m", place, kernel.tobytes(), [given]), "<f4").reshape(kernel.shape)
    expected = kernel + 0.5 * np.einsum("or,rihw->oihw", up[:, :, 0, 0].astype(np.float64), down)
    assert np.abs(got - expected).max() < 1e-5


@pytest.mark.parametrize("conv", [(OUT, IN, 1, 1), (OUT, IN)])
@pytest.mark.parametrize("lora", [(1, 1), ()])
def test_a_convolution_of_one_point_is_a_linear_layer(conv: tuple[int, ...], lora: tuple[int, ...]):
    down, up = low_rank(OUT, IN)
    given = Update(down.reshape(*down.shape, *lora), up.reshape(*up.shape, *lora), 0.5, "a")
    check_fit("m", parameter(conv), given)
    got = np.frombuffer(updated("m", parameter(conv), W.tobytes(), [given]), "<f4").reshape(OUT, IN)
    assert np.abs(got - exact(update())).max() < 1e-6


@pytest.mark.parametrize(
    ("down", "up"),
    [
        ((2, IN + 1), (OUT, 2)),
        ((2, IN), (OUT + 1, 2)),
        ((2, IN), (OUT, 3)),
        ((IN, 2), (2, OUT)),
        ((0, IN), (OUT, 0)),
        ((2, IN, 3, 3), (OUT, 2, 1, 1)),
        ((), ()),
    ],
)
def test_shapes_that_do_not_fit(down: tuple[int, ...], up: tuple[int, ...]):
    given = Update(np.zeros(down, np.float32), np.zeros(up, np.float32), 1.0, "a.safetensors")
    with pytest.raises(UsageError) as caught:
        check_fit("unet.m", parameter(), given)
    assert f"a.safetensors does not fit unet.m: down is {list(down)} and up {list(up)}, expected [" in str(caught.value)


@pytest.mark.parametrize(("dtype", "factor"), [("float16", 1e6), ("bfloat16", 3e38), ("float32", 3e38)])
def test_beyond_the_stored_range(dtype: str, factor: float):
    place = parameter(dtype=dtype)
    ones = Update(np.full((2, IN), 2, np.float32), np.ones((OUT, 2), np.float32), factor, "a.safetensors")
    with pytest.raises(UsageError, match=rf"^unet.m with a.safetensors holds .*beyond the range of {dtype}"):
        updated("unet.m", place, bytes(byte_count(place)), [ones])
