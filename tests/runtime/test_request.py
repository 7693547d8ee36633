"""Requests: what is left out comes from the manifest, and each knob's range."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from support import mini_model

from foley.errors import RequestError
from foley.manifest import Audio, Defaults, LatentSpace
from foley.prompt import Part
from foley.request import MAX_BATCH, NegativeIgnoredWarning, Request, make_request

DEFAULTS = Defaults(steps=25, guidance=7.5, sampler="pndm", seconds=10.24)
AUDIO = Audio(sample_rate_hz=16_000, hop_samples=160, mel_bins=256)
LATENTS = LatentSpace(channels=4, bins=32, time_axis="width", column_multiple=8, frames_per_column=8)
COLUMN_SAMPLES = 1280
DOG, CAT = Part("dog", 1.0), Part("cat", -0.5)


def request(prompts: object = "dog", **knobs: object) -> Request:
    return make_request(DEFAULTS, prompts, **knobs)  # type: ignore[arg-type]


def test_defaults_come_from_the_manifest():
    assert request() == Request(
        prompts=((Part("dog", 1.0),),),
        seeds=(0,),
        seconds=10.24,
        steps=25,
        guidance=7.5,
        guidance_stop=1.0,
        sampler="pndm",
        spacing=None,
        eta=None,
        negative=None,
        max_batch=MAX_BATCH,
    )


@pytest.mark.parametrize("knob", ["seconds", "steps", "guidance", "sampler", "spacing", "eta", "negative"])
def test_none_is_the_default(knob: str):
    assert request(**{knob: None}) == request()


@pytest.mark.parametrize(
    ("prompts", "expected"),
    [
        ("dog", [["dog"]]),
        (["dog"], [["dog"]]),
        (["dog", "cat"], [["dog"], ["cat"]]),
        (("dog", "cat"), [["dog"], ["cat"]]),
        (dict.fromkeys(["dog", "cat"]).keys(), [["dog"], ["cat"]]),
        ([DOG, CAT], [["dog", "cat"]]),
        ([[DOG, CAT]], [["dog", "cat"]]),
        ([[DOG, CAT], "bell", [DOG]], [["dog", "cat"], ["bell"], ["dog"]]),
    ],
    ids=str,
)
def test_ways_to_say_prompts(prompts: Sequence[object], expected: list[list[str]]):
    assert [[part.text for part in prompt] for prompt in request(prompts).prompts] == expected


def test_prompts_may_come_from_a_generator():
    assert request(text for text in ("dog", "cat")) == request(["dog", "cat"])


def test_count_repeats_each_prompt_and_seeds_count_up():
    made = request(["dog", "cat"], count=2, seed=40)
    assert [prompt[0].text for prompt in made.prompts] == ["dog", "dog", "cat", "cat"]
    assert made.seeds == (40, 41, 42, 43)


SECONDS = [1e-9, 0.01, 0.0799, 0.08, 0.0801, 0.64, 1, 1.2345, 3.333333, 10, 10.24, 10.240063, 59.99, 600]


@pytest.mark.parametrize("seconds", SECONDS)
def test_columns_hold_the_seconds_and_no_more_than_needed(seconds: float):
    made = request(seconds=seconds)
    samples, columns = made.samples(AUDIO), made.columns(LATENTS, AUDIO)
    assert samples == max(1, round(seconds * 16_000))
    assert columns % 8 == 0
    assert samples <= columns * COLUMN_SAMPLES < samples + 8 * COLUMN_SAMPLES


def test_ten_and_a_quarter_seconds_are_the_models_own_length():
    assert request(seconds=10.24).columns(LATENTS, AUDIO) == 128
    assert request(seconds=10.24 + 1 / 16_000).columns(LATENTS, AUDIO) == 136


NUMBERS = [math.nan, math.inf, -math.inf, -1, True, "1", [1], b"1"]
WRONG = {
    "seconds": [*NUMBERS, 0, 0.0, 600.1],
    "steps": [*NUMBERS, 0, 1.0, 2.5],
    "guidance": NUMBERS,
    "guidance_stop": [*NUMBERS, 1.5, None],
    "count": [*NUMBERS, 0, 1.5, None],
    "max_batch": [*NUMBERS, 0, 1.5, None],
    "seed": [*NUMBERS, 2**63, 0.0, None],
    "negative": [1, ["wind"], True, "caf\udce9"],
    "sampler": [1, ["ddim"], True],
}


@pytest.mark.parametrize(
    ("knob", "value"), [(knob, value) for knob, values in WRONG.items() for value in values], ids=str
)
def test_a_knob_out_of_range_is_named(knob: str, value: object):
    with pytest.raises(RequestError, match=f"^{knob.replace('_', ' ')}\\b.*expected") as caught:
        request(**{knob: value})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("seed", "count", "fits"), [(2**63 - 1, 1, True), (2**63 - 1, 2, False), (2**63 - 3, 3, True)])
def test_the_last_seed_counts(seed: int, count: int, fits: bool):
    if fits:
        assert request(seed=seed, count=count).seeds[-1] == seed + count - 1
    else:
        with pytest.raises(RequestError, match=r"^seed is"):
            request(seed=seed, count=count)


@pytest.mark.parametrize(
    "prompts",
    [
        "",
        "  ",
        "\n",
        [],
        [""],
        ["dog", ""],
        [[]],
        [1],
        [None],
        [["dog", "cat"]],
        [[Part("")]],
        [Part("dog", 0)],
        [Part("dog", math.nan)],
        [Part("dog", math.inf)],
        [Part("dog", "1")],
        [Part("dog", True)],
        [Part(3)],
        None,
        5,
        DOG,
        "caf\udce9",
        [Part("caf\udce9")],
    ],
    ids=str,
)
def test_prompts_without_meaning_are_refused(prompts: object):
    with pytest.raises(RequestError, match=r"prompt|weight"):
        request(prompts)


def test_numpy_numbers_are_numbers():
    knobs = {"seconds": np.float32(0.5), "steps": np.int64(3), "guidance": np.float32(2), "seed": np.int32(4)}
    made = request(**knobs)
    assert (made.seconds, made.steps, made.guidance, made.seeds) == (0.5, 3, 2.0, (4,))


@pytest.mark.parametrize("knobs", [{"guidance": 1}, {"guidance": 0.5}, {"guidance_stop": 0}], ids=str)
def test_a_negative_prompt_that_no_step_hears_is_told(knobs: dict[str, float]):
    with pytest.warns(NegativeIgnoredWarning, match=r"'wind' is not heard: with guidance .*no step is guided"):
        assert request(negative="wind", **knobs).negative == "wind"


@pytest.mark.parametrize(
    ("prompts", "knobs"),
    [
        ("dog", {"guidance": 1.01}),
        ("dog", {"guidance": 1, "negative": ""}),
        ("dog", {"guidance": 1, "negative": None}),
        ([DOG, CAT], {"guidance": 1}),  # weights of 0.5 in all: the other half is the negative prompt's
    ],
    ids=str,
)
def test_a_negative_prompt_that_is_heard_or_empty_is_no_matter(prompts: object, knobs: dict[str, object]):
    request(prompts, **{"negative": "wind", **knobs})


def test_an_unknown_knob_is_a_type_error():
    with pytest.raises(TypeError, match="guidence"):
        request(guidence=3.0)


def test_the_mini_bundle_has_the_same_columns():
    """The other tests' arithmetic: 1280 samples a column."""
    assert mini_model.HOP * mini_model.FRAMES_PER_COLUMN == COLUMN_SAMPLES
