"""Files and folders of the recipe appear whole or not at all; an older one stays until then."""

from pathlib import Path

import pytest

from foley_export.demo_model.files import whole_folder, write_json


def fill(target: Path, content: str, error: BaseException | None = None) -> None:
    with whole_folder(target) as working:
        assert working.parent == target.parent
        (working / "weights").write_text(content)
        if error is not None:
            raise error


def test_json_is_written_into_folders_that_are_not_there(tmp_path):
    write_json(tmp_path / "new/config.json", {"name": "ß", "sizes": [1]})
    text = (tmp_path / "new/config.json").read_text(encoding="utf-8")
    assert text == '{\n  "name": "ß",\n  "sizes": [\n    1\n  ]\n}\n'


def test_an_interrupted_write_leaves_the_older_json(tmp_path, monkeypatch):
    target = tmp_path / "config.json"
    write_json(target, {"a": 1})
    before, write_text = target.read_bytes(), Path.write_text

    def interrupted(path, text, **options):
        write_text(path, text[:3], **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "write_text", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_json(target, {"a": 2})
    assert target.read_bytes() == before
    monkeypatch.undo()
    write_json(target, {"a": 2})
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_takes_the_place_of_an_older_one(tmp_path):
    target = tmp_path / "deep/checkpoint"
    fill(target, "old")
    (target / "rest").touch()
    fill(target, "new")
    assert [(path.name, path.read_text()) for path in target.iterdir()] == [("weights", "new")]
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_an_interrupted_folder_leaves_the_older_one(tmp_path, error):
    target = tmp_path / "checkpoint"
    for expected in ([], [target]):
        with pytest.raises(type(error)):
            fill(target, "new", error)
        assert list(tmp_path.iterdir()) == expected
        if not expected:
            fill(target, "old")
    assert (target / "weights").read_text() == "old"


def test_a_folder_behind_a_link_is_replaced_where_it_lies(tmp_path):
    fill(tmp_path / "disk", "old")
    (tmp_path / "checkpoint").symlink_to("disk")
    fill(tmp_path / "checkpoint", "new")
    assert (tmp_path / "checkpoint").is_symlink()
    assert (tmp_path / "disk/weights").read_text() == "new"
