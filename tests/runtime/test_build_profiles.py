"""From slots and seconds to the sizes of axes."""

import json

import msgspec
import pytest

from foley.build_profiles import profile, wishes
from foley.bundle import load_bundle
from foley.demo_bundle import demo_bundle
from foley.errors import RequestError, UsageError


@pytest.fixture
def manifest(mini_bundle):
    return load_bundle(mini_bundle).manifest


def profiles(manifest, name: str, slots: str = "1", seconds: str | None = None) -> list[str]:
    graph = manifest.graphs[name]
    found = [profile(manifest, name, graph, wish) for wish in wishes(manifest, slots, seconds)]
    assert all(problems == [] for _, problems in found)
    return [worded(sizes) for sizes, _ in found]


def worded(profile) -> str:
    """Word a profile by its least and largest sizes."""
    ends = {symbol: dict.fromkeys((sizes.low, sizes.high)) for symbol, sizes in profile.items()}
    return " ".join(f"{symbol}={'..'.join(map(str, both))}" for symbol, both in ends.items())


def test_the_demo(manifest):
    demo = load_bundle(demo_bundle(), verify_files=False).manifest  # 2.56 s are 32 columns of 80 ms
    assert profiles(demo, "denoise_step") == ["S=1 n=8 R=2"]
    assert profiles(demo, "latent_decoder") == ["B=1 W=32"]
    assert profiles(demo, "vocoder") == ["B=1 T=256"]
    assert profiles(demo, "text_encoder") == ["B=1..16"]


def test_several_slots_and_lengths(manifest):
    found = profiles(manifest, "denoise_step", "1,4,2..8", "0.64,0.32..1.28")
    assert found == [
        "S=1 W=8 R=2",
        "S=1 W=4..16 R=2",
        "S=4 W=8 R=8",
        "S=4 W=4..16 R=8",
        "S=2..8 W=8 R=4..16",
        "S=2..8 W=4..16 R=4..16",
    ]


def test_tokens_of_a_text_encoder(manifest):
    assert profiles(manifest, "text_encoder") == ["B=1..16 L=8..12"]


def test_without_guidance_a_slot_is_a_row(manifest):
    unguided = msgspec.structs.replace(manifest, defaults=msgspec.structs.replace(manifest.defaults, guidance=1.0))
    assert profiles(unguided, "denoise_step", "3", "0.64") == ["S=3 W=8 R=3"]


@pytest.mark.parametrize(
    ("tensor", "axis", "words"),
    [
        (0, {4: "3*W"}, "no multiple of 3"),
        (0, {0: "W"}, "another axis makes it"),
        (0, {0: 2}, "fixed at 2, asked for is 1"),
    ],
)
def test_axes_that_no_size_fits(manifest, tensor, axis, words):
    graph = manifest.graphs["denoise_step"]
    state = graph.inputs[tensor]
    changed = msgspec.structs.replace(state, shape=tuple(axis.get(i, size) for i, size in enumerate(state.shape)))
    graph = msgspec.structs.replace(graph, inputs=(changed, *graph.inputs[1:]))
    _, [problem] = profile(manifest, "denoise_step", graph, wishes(manifest, "1", "0.64")[0])
    assert problem.tensor == "state"
    assert words in problem.message


@pytest.mark.parametrize(
    ("slots", "seconds", "words"),
    [
        ("0", None, "--slots 0"),
        ("65", None, "--slots 65"),
        ("2..1", None, "--slots 2..1"),
        ("many", None, "'many'"),
        ("1.5", None, "whole"),
        ("1", "0", "--seconds 0"),
        ("1", "9..2", "--seconds 9..2"),
        ("1", "long", "'long'"),
    ],
)
def test_texts_that_are_no_sizes(manifest, slots, seconds, words):
    with pytest.raises(UsageError, match=words.replace(".", r"\.")):
        wishes(manifest, slots, seconds)


def test_a_length_that_the_runtime_does_not_take(manifest):
    with pytest.raises(RequestError):
        wishes(manifest, "1", "601")


def test_time_along_height(manifest):
    tall = msgspec.json.decode(json.dumps("height"), type=str)
    latents = msgspec.structs.replace(manifest.latents, time_axis=tall)
    graph = manifest.graphs["latent_decoder"]
    decoder = msgspec.structs.replace(graph, inputs=(msgspec.structs.replace(graph.inputs[0], shape=("B", 3, "H", 4)),))
    wish = wishes(manifest, "1", "0.64")[0]
    sizes, _ = profile(msgspec.structs.replace(manifest, latents=latents), "latent_decoder", decoder, wish)
    assert worded(sizes) == "B=1 H=8"
