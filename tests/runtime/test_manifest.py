"""`bundle.json`: what is read back, and how each slip is named."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from foley.errors import BundleError
from foley.manifest import SCHEMA_VERSION, decode, encode

Json = dict[str, Any]


@pytest.fixture
def text(mini_bundle: Path) -> bytes:
    return (mini_bundle / "bundle.json").read_bytes()


def refusal(text: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        decode(text, "here/bundle.json")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("here/bundle.json")
    return str(caught.value)


def changed(text: bytes, change: Callable[[Json], object]) -> bytes:
    manifest = json.loads(text)
    change(manifest)
    return json.dumps(manifest).encode()


def test_a_manifest_comes_back_as_it_was(text: bytes):
    manifest = decode(text, "bundle.json")
    assert encode(manifest) == text
    assert json.loads(text)["conditioning"]["encoders"][0]["tokenizers"][0]["max_tokens"] == 12
    assert manifest.conditioning.encoders[0].tokenizers[0].max_tokens == 12


PLACES = {
    "$": lambda m: m,
    "$.audio": lambda m: m["audio"],
    "$.latents": lambda m: m["latents"],
    "$.schedule": lambda m: m["schedule"],
    "$.conditioning.encoders[0]": lambda m: m["conditioning"]["encoders"][0],
    "$.conditioning.encoders[0].tokenizers[0]": lambda m: m["conditioning"]["encoders"][0]["tokenizers"][0],
    "$.graphs[...]": lambda m: m["graphs"]["vocoder"],
    "$.graphs[...].inputs[0]": lambda m: m["graphs"]["vocoder"]["inputs"][0],
    "$.files[...]": lambda m: m["files"]["graphs/vocoder.onnx"],
}


@pytest.mark.parametrize("place", PLACES)
def test_an_unknown_key_is_named_with_its_place(text: bytes, place: str):
    message = refusal(changed(text, lambda manifest: PLACES[place](manifest).update(colour="blue")))
    assert "unknown field `colour`" in message
    assert place == "$" or f"`{place}`" in message


@pytest.mark.parametrize(
    ("place", "key"),
    [("$", "audio"), ("$", "graphs"), ("$.audio", "mel_bins"), ("$.graphs[...]", "golden"), ("$.latents", "channels")],
)
def test_a_missing_key_is_named(text: bytes, place: str, key: str):
    assert f"missing required field `{key}`" in refusal(changed(text, lambda m: PLACES[place](m).pop(key)))


@pytest.mark.parametrize(
    ("place", "key", "value"),
    [
        ("$.audio", "hop_samples", "160"),
        ("$.audio", "hop_samples", 0),
        ("$.audio", "sample_rate_hz", 16000.5),
        ("$.audio", "mel_bins", True),
        ("$.latents", "time_axis", "depth"),
        ("$.schedule", "prediction_type", "flow"),
        ("$.files[...]", "sha256", "0" * 63 + "G"),
        ("$.files[...]", "bytes", -1),
        ("$.graphs[...].inputs[0]", "dtype", "float16"),
        ("$.graphs[...]", "precision", "int8"),
        ("$.graphs[...]", "weights_precision", "int8"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(text: bytes, place: str, key: str, value: object):
    assert f"`{place}.{key}`" in refusal(changed(text, lambda m: PLACES[place](m).update({key: value})))


def test_a_bundle_that_does_not_say_how_weights_are_stored(text: bytes):
    """Bundles from before weights could be stored in another precision than the graph's."""
    manifest = decode(changed(text, lambda m: [graph.pop("weights_precision") for graph in m["graphs"].values()]), "b")
    assert {graph.weights_precision for graph in manifest.graphs.values()} == {None}


def test_no_encoders_are_refused(text: bytes):
    assert "$.conditioning.encoders" in refusal(changed(text, lambda m: m["conditioning"].update(encoders=[])))


@pytest.mark.parametrize("graph", ["text_encoder", "denoise_step", "latent_decoder", "vocoder"])
def test_a_missing_stage_is_named(text: bytes, graph: str):
    assert f"graphs lacks '{graph}'; export the bundle again" in refusal(
        changed(text, lambda m: m["graphs"].pop(graph))
    )


@pytest.mark.parametrize(("axis", "shape"), [("width", (3, 4, 20)), ("height", (3, 20, 4))])
def test_the_axis_of_time(text: bytes, axis: str, shape: tuple[int, ...]):
    manifest = decode(changed(text, lambda m: m["latents"].update(time_axis=axis)), "bundle.json")
    assert manifest.latents.shape(20) == shape


def test_a_newer_schema_says_how_to_upgrade(text: bytes):
    """Before anything else: a newer manifest has keys that this release does not know."""
    newer = changed(text, lambda m: m.update(schema_version=SCHEMA_VERSION + 1, colour="blue"))
    message = refusal(newer)
    assert "schema version 2, this foley reads up to 1" in message
    assert "pip install ." in message


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"not json", b"[]", b"{}", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'{"schema_version": "1"}'],
)
def test_what_is_no_manifest_is_called_so(content: bytes):
    assert "is not a foley manifest" in refusal(content)


BAD_NAMES = ["../x", "/abs", "a/../../b", "..", ".", "a/..", "./a", "a//b", "a/", "C:\\x", "a\\..\\b", ""]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize(
    "put",
    [
        lambda m, name: m["graphs"]["vocoder"].update(file=name),
        lambda m, name: m["graphs"]["vocoder"].update(weights=name),
        lambda m, name: m["graphs"]["vocoder"].update(golden=name),
        lambda m, name: m["graphs"]["vocoder"].update(engines={"cpu": name}),
        lambda m, name: m["conditioning"]["encoders"][0]["tokenizers"][0].update(file=name),
        lambda m, name: m["files"].update({name: {"bytes": 1, "sha256": "0" * 64}}),
    ],
    ids=["file", "weights", "golden", "engines", "tokenizer", "files"],
)
def test_a_name_that_leaves_the_folder_is_refused(text: bytes, put: Callable[[Json, str], object], name: str):
    assert "matching regex" in refusal(changed(text, lambda manifest: put(manifest, name)))


@pytest.mark.parametrize("name", ["a", "a/b", "..a", ".hidden", "a..b/c...d", "a b/é.onnx"])
def test_other_names_are_taken(text: bytes, name: str):
    record = {"bytes": 1, "sha256": "0" * 64}
    assert name in decode(changed(text, lambda m: m["files"].update({name: record})), "bundle.json").files


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda m: m["graphs"]["vocoder"].update(file="other.onnx"),
            "vocoder names other.onnx, which files does not list",
        ),
        (lambda m: m["files"].pop("golden/vocoder.npz"), "vocoder names golden/vocoder.npz"),
        (lambda m: m["graphs"]["vocoder"].update(engines={"cpu": "x.onnx"}), "vocoder names x.onnx"),
        (lambda m: m["files"].pop("tokenizer/tokenizer.json"), "text_encoder names tokenizer/tokenizer.json"),
    ],
)
def test_a_name_without_its_file_is_refused(text: bytes, change: Callable[[Json], object], words: str):
    assert words in refusal(changed(text, change))
