"""A training folder belongs to one recipe and to the sources of its data; only its last stage may change length."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from foley.errors import UsageError
from foley_export.demo_model import origin
from foley_export.demo_model.origin import bind_folder

RECIPE = {"sounds": 8, "gates": 4, "denoiser": 2}


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "out/demo"
    bind_folder(folder, RECIPE)
    return folder


def noted(folder: Path) -> dict[str, object]:
    return json.loads((folder / "recipe.json").read_text(encoding="utf-8"))


def refusal(folder: Path, recipe: dict[str, int]) -> str:
    """Give the message, after checking that it is one line with a fix and that nothing was touched."""
    before = {file: file.read_bytes() for file in folder.iterdir() if file.is_file()}
    with pytest.raises(UsageError) as refused:
        bind_folder(folder, recipe)
    message = str(refused.value)
    assert "\n" not in message
    assert message.endswith(f"; choose another folder, or remove {folder}")
    assert {file: file.read_bytes() for file in folder.iterdir() if file.is_file()} == before
    return message


def test_a_new_folder_notes_its_recipe_and_its_sources(folder):
    package = Path(origin.__file__).parent
    sources = ("captions.py", "corpus.py", "latents.py", "mel.py", "scenes.py", "sounds.py")
    digests = {name: hashlib.sha256((package / name).read_bytes()).hexdigest()[:16] for name in sources}
    assert noted(folder) == digests | RECIPE
    assert [file.name for file in folder.iterdir()] == ["recipe.json"]


def test_the_same_recipe_writes_nothing(folder):
    before = (folder / "recipe.json").stat()
    bind_folder(folder, RECIPE)
    after = (folder / "recipe.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize(("name", "number"), [("sounds", 9), ("gates", 3)])
def test_another_number_is_refused(folder, name, number):
    message = refusal(folder, {**RECIPE, name: number})
    assert f"recipe.json has {name} {RECIPE[name]}, expected {number};" in message


def test_numbers_that_one_side_lacks_are_refused(folder):
    assert "has grain missing, expected 3;" in refusal(folder, {**RECIPE, "grain": 3})
    assert "has gates 4, expected none;" in refusal(folder, {"sounds": 8, "denoiser": 2})


def test_a_changed_source_is_refused(folder, monkeypatch, tmp_path):
    changed = tmp_path / "mel.py"
    changed.write_text("MEL_BINS = 80\n", encoding="utf-8")
    kept = [module for module in origin.SOURCES if module is not origin.mel]
    monkeypatch.setattr(origin, "SOURCES", (*kept, SimpleNamespace(__file__=str(changed))))
    digest = hashlib.sha256(changed.read_bytes()).hexdigest()[:16]
    assert f"has mel.py {noted(folder)['mel.py']}, expected {digest};" in refusal(folder, RECIPE)


@pytest.mark.parametrize("steps", [1, 20])
def test_the_last_stage_may_change_length(folder, steps):
    bind_folder(folder, {**RECIPE, "denoiser": steps})
    assert noted(folder)["denoiser"] == steps
    refusal(folder, {**RECIPE, "sounds": 9})


@pytest.mark.parametrize("name", ["gates.state", "mels-8.npy", "checkpoint"])
def test_work_of_unknown_origin_is_refused(tmp_path, name):
    (tmp_path / name).mkdir()
    assert f"has {name} and no recipe.json" in refusal(tmp_path, RECIPE)
    assert not (tmp_path / "recipe.json").exists()


def test_other_files_are_no_work(tmp_path):
    (tmp_path / "log.txt").touch()
    bind_folder(tmp_path, RECIPE)
    assert noted(tmp_path)["sounds"] == 8


@pytest.mark.parametrize("content", [b"", b'{"sounds": 8', b"\xff", b"[8]"])
def test_a_damaged_note_is_refused(folder, content):
    (folder / "recipe.json").write_bytes(content)
    assert "recipe.json" in refusal(folder, RECIPE)
