"""Loading a bundle: every kind of damage is found and named."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.bundles import edit_manifest, load_quietly, record_again

import foley
from foley.bundle import load_bundle, record_files, write_manifest
from foley.errors import BundleError, EngineError

KINDS = ["graphs/denoise_step.onnx", "graphs/denoise_step.weights", "golden/vocoder.npz", "tokenizer/tokenizer.json"]


def refusal(folder: Path, *, verify_files: bool = True) -> str:
    with pytest.raises(BundleError) as caught:
        load_bundle(folder, verify_files=verify_files)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_bundle_loads_from_a_text_path_too(mini_bundle: Path):
    assert load_bundle(str(mini_bundle)) == load_bundle(mini_bundle)


def test_every_file_is_recorded(mini_bundle: Path):
    on_disk = {path.relative_to(mini_bundle).as_posix() for path in mini_bundle.rglob("*") if path.is_file()}
    assert set(load_bundle(mini_bundle).manifest.files) == on_disk - {"bundle.json"}
    assert list(record_files(mini_bundle)) == sorted(on_disk - {"bundle.json"})


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_file_is_named(bundle_copy: Path, name: str):
    (bundle_copy / name).unlink()
    assert f"{bundle_copy / name} is missing" in refusal(bundle_copy, verify_files=False)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("verify_files", [True, False])
def test_a_truncated_file_is_named(bundle_copy: Path, name: str, verify_files: bool):
    path = bundle_copy / name
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:-1])
    assert f"{path} has {size - 1} bytes, expected {size}" in refusal(bundle_copy, verify_files=verify_files)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("place", [0.0, 0.5, 1.0])
def test_a_flipped_bit_is_found_by_digest_only(bundle_copy: Path, name: str, place: float):
    path = bundle_copy / name
    content = bytearray(path.read_bytes())
    content[round(place * (len(content) - 1))] ^= 1
    path.write_bytes(content)
    assert f"{path} is damaged" in refusal(bundle_copy)
    load_bundle(bundle_copy, verify_files=False)


def test_a_folder_in_a_files_place_is_missing(bundle_copy: Path):
    (bundle_copy / KINDS[0]).unlink()
    (bundle_copy / KINDS[0]).mkdir()
    assert "is missing" in refusal(bundle_copy)


@pytest.mark.parametrize("kind", ["absent", "file", "empty folder"])
def test_what_is_no_bundle_is_called_so(tmp_path: Path, kind: str):
    folder = tmp_path / "thing"
    if kind == "file":
        folder.write_text("x")
    if kind == "empty folder":
        folder.mkdir()
    is_there = "thing is not a bundle: bundle.json is missing; make one with: foley export CHECKPOINT -o BUNDLE"
    expected = {"absent": f"there is no folder {folder}; make a bundle with: foley export CHECKPOINT -o {folder}"}
    assert expected.get(kind, is_there) in refusal(folder)


def test_a_manifest_that_cannot_be_read_is_named(tmp_path: Path):
    (tmp_path / "bundle.json").mkdir()
    assert "bundle.json cannot be read" in refusal(tmp_path)


def test_an_unknown_graph_names_the_known(mini_bundle: Path):
    with pytest.raises(BundleError, match=r"no graph 'latent_encoder'; it has text_encoder, denoise_step"):
        load_bundle(mini_bundle).graph("latent_encoder")


def test_an_engines_own_spelling_is_taken(bundle_copy: Path):
    """Only the engine that a spelling is for reads it."""
    edit_manifest(bundle_copy, lambda m: m["graphs"]["vocoder"].update(engines={"cpu": "graphs/denoise_step.onnx"}))
    bundle = load_bundle(bundle_copy)
    assert bundle.graph_file("vocoder", "cpu") == bundle_copy / "graphs/denoise_step.onnx"
    assert bundle.graph_file("vocoder", "tensorrt") == bundle_copy / "graphs/vocoder.onnx"


def test_a_manifest_that_would_not_load_is_not_written(bundle_copy: Path):
    manifest = load_bundle(bundle_copy).manifest
    (bundle_copy / "bundle.json").unlink()
    manifest.files.pop(KINDS[0])
    with pytest.raises(BundleError):
        write_manifest(bundle_copy, manifest)
    assert not (bundle_copy / "bundle.json").exists()


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(**files: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


GOOD = npz(mel=np.zeros((1, 8, 16), np.float32), waveform=np.zeros((1, 2560), np.float32))
BROKEN = GOOD[:200] + bytes([GOOD[200] ^ 255]) + GOOD[201:]
OBJECT = np.array([{"a": 1}], dtype=object)
DAMAGED = {
    "empty": b"",
    "text": b"not an archive",
    "pickle": b"\x80\x04N.",
    "one array": npy(np.zeros(3)),
    "archive cut": GOOD[: len(GOOD) // 2],
    "archive changed": BROKEN,
    "header only": b"PK\x03\x04",
    "member no array": zipped(mel=b"nothing", waveform=b""),
    "objects": npz(mel=OBJECT, waveform=OBJECT),
    "one missing": npz(mel=np.zeros((1, 8, 16), np.float32)),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_recording_is_named(bundle_copy: Path, kind: str):
    (bundle_copy / "golden/vocoder.npz").write_bytes(DAMAGED[kind])
    with pytest.raises(BundleError, match=r"vocoder.npz.*export the bundle again") as caught:
        load_quietly(bundle_copy).golden("vocoder")
    assert "\n" not in str(caught.value)


def test_a_recording_of_objects_runs_no_code(bundle_copy: Path, tmp_path: Path):
    class Harmful:
        def __reduce__(self) -> tuple[object, ...]:
            return (Path.touch, (tmp_path / "harm",))

    array = np.array([Harmful()], dtype=object)
    (bundle_copy / "golden/vocoder.npz").write_bytes(npz(mel=array, waveform=array))
    with pytest.raises(BundleError):
        load_quietly(bundle_copy).golden("vocoder")
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(("name", "content"), [("denoise_step.onnx", b"nothing"), ("denoise_step.weights", b"1234")])
def test_a_corrupt_graph_of_a_consistent_bundle_is_an_engine_error(bundle_copy: Path, name: str, content: bytes):
    (bundle_copy / "graphs" / name).write_bytes(content)
    record_again(bundle_copy)
    with pytest.raises(EngineError, match=r"^denoise_step.onnx does not load in onnxruntime") as caught:
        foley.load(bundle_copy).generate("dog")
    assert "\n" not in str(caught.value)
