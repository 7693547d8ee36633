"""`graphs/NAME.parameters.json`: what is read back, how each slip is named, and the manifest that names the file."""

import json
from pathlib import Path

import pytest

from foley.errors import BundleError
from foley.manifest import decode as decode_manifest
from foley.parameters import Parameter, decode, encode

PLACES = {
    "unet.conv_in": Parameter(offset=0, dtype="float32", shape=(32, 4, 3, 3), transposed=False),
    "unet.mid_block.attentions.0.proj_in": Parameter(offset=8192, dtype="bfloat16", shape=(32, 64), transposed=True),
}
FILE = "graphs/denoise_step.parameters.json"


def test_places_come_back_as_they_were():
    text = encode(PLACES)
    assert decode(text, FILE) == PLACES
    assert json.loads(text)["unet.conv_in"] == {
        "offset": 0, "dtype": "float32", "shape": [32, 4, 3, 3], "transposed": False,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": -1}, "offset"),
        ({"offset": 0.5}, "offset"),
        ({"dtype": "int8"}, "dtype"),
        ({"shape": [0, 4]}, "shape"),
        ({"shape": "4"}, "shape"),
        ({"transposed": 1}, "transposed"),
        ({"colour": "blue"}, "unknown field `colour`"),
    ],
)
def test_a_wrong_value_is_named(change: dict[str, object], words: str):
    places = json.loads(encode(PLACES))
    places["unet.conv_in"].update(change)
    assert words in refusal(json.dumps(places).encode())


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"\xff\xfe\x00", b'{"a": {}}', b"[" * 100_000])
def test_what_holds_no_places_is_refused(content: bytes):
    assert "export the bundle again" in refusal(content)


def refusal(text: bytes) -> str:
    with pytest.raises(BundleError) as caught:
        decode(text, FILE)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(FILE)
    return str(caught.value)


def test_the_manifest_names_the_file_and_lists_it(mini_bundle: Path):
    manifest = json.loads((mini_bundle / "bundle.json").read_bytes())
    manifest["graphs"]["denoise_step"]["parameters"] = FILE
    with pytest.raises(BundleError, match=f"denoise_step names {FILE}, which files does not list"):
        decode_manifest(json.dumps(manifest).encode(), "bundle.json")
    manifest["files"][FILE] = {"bytes": 1, "sha256": "0" * 64}
    graphs = decode_manifest(json.dumps(manifest).encode(), "bundle.json").graphs
    assert (graphs["denoise_step"].parameters, graphs["vocoder"].parameters) == (FILE, None)


def test_a_name_that_leaves_the_folder_is_refused(mini_bundle: Path):
    manifest = json.loads((mini_bundle / "bundle.json").read_bytes())
    manifest["graphs"]["denoise_step"]["parameters"] = "../x.json"
    with pytest.raises(BundleError, match="matching regex"):
        decode_manifest(json.dumps(manifest).encode(), "bundle.json")
