"""A bundle appears whole or not at all, and replaces an older one only then."""

import errno
import os
import stat
from pathlib import Path

import pytest
from support.mini_bundle import write_mini_bundle

from foley.bundle import load_bundle, new_folder
from foley.errors import UsageError


def build(target: Path, *, replace: bool = False, content: str = "new", error: BaseException | None = None) -> None:
    with new_folder(target, replace=replace) as folder:
        assert folder.parent == target.parent
        (folder / "bundle.json").write_text(content)
        if error is not None:
            raise error


def read(target: Path) -> str:
    return (target / "bundle.json").read_text()


@pytest.fixture
def older(tmp_path: Path) -> Path:
    return write_mini_bundle(tmp_path / "bundle")


def test_a_folder_appears_when_the_block_ends(tmp_path: Path):
    target = tmp_path / "deep/er/bundle"
    with new_folder(target) as folder:
        assert list(folder.iterdir()) == []
        assert not target.exists()
        (folder / "bundle.json").write_text("new")
    assert read(target) == "new"
    assert [path.name for path in target.parent.iterdir()] == ["bundle"]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        build(tmp_path / "bundle")
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "bundle").stat().st_mode) == 0o750


FAILURES = [ValueError("x"), KeyboardInterrupt(), OSError(errno.EIO, "Input/output error")]


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_failure_leaves_nothing(tmp_path: Path, error: BaseException):
    with pytest.raises(type(error)):
        build(tmp_path / "bundle", error=error)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", FAILURES, ids=repr)
def test_a_failure_leaves_the_older_bundle(older: Path, error: BaseException):
    with pytest.raises(type(error)):
        build(older, replace=True, error=error)
    load_bundle(older)
    assert list(older.parent.iterdir()) == [older]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_said_in_a_line(tmp_path: Path, code: int):
    with pytest.raises(UsageError, match=r"the disk of .* is full; free some room"):
        build(tmp_path / "bundle", error=OSError(code, os.strerror(code)))
    assert list(tmp_path.iterdir()) == []


def test_an_older_bundle_gives_way_when_asked(older: Path):
    (older / "engines").mkdir()
    (older / "engines/a.plan").write_text("built from the older bundle")
    build(older, replace=True)
    assert read(older) == "new"
    assert [path.name for path in older.iterdir()] == ["bundle.json"]
    assert list(older.parent.iterdir()) == [older]


def test_an_older_bundle_stays_unless_asked(older: Path):
    with pytest.raises(UsageError, match=r"exists; .*--force"):
        build(older)
    load_bundle(older)


def test_a_folder_with_more_than_a_bundle_is_never_replaced(older: Path):
    (older / "dog.wav").write_text("x")
    with pytest.raises(UsageError, match=r"is not a bundle alone \(it holds dog.wav\)"):
        build(older, replace=True)
    load_bundle(older)


def test_a_target_that_appears_meanwhile_is_kept(tmp_path: Path):
    target = tmp_path / "bundle"
    with pytest.raises(UsageError, match="exists"), new_folder(target):
        write_mini_bundle(target)
    load_bundle(target)
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_is_followed(older: Path, tmp_path: Path):
    link = tmp_path / "link"
    link.symlink_to(older)
    build(older, replace=True)
    assert link.is_symlink()
    assert read(link) == "new"


def test_the_current_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="choose a folder below it"):
        build(Path())


def test_an_empty_folder_is_taken(tmp_path: Path):
    (tmp_path / "bundle").mkdir()
    build(tmp_path / "bundle")
    assert read(tmp_path / "bundle") == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_no_bundle_is_never_replaced(tmp_path: Path, kind: str):
    target = tmp_path / "mine"
    if kind == "folder":
        target.mkdir()
        (target / "thesis.tex").write_text("x")
    else:
        target.write_text("x")
    with pytest.raises(UsageError, match=r"is not a bundle alone .*, so --force does not replace it"):
        build(target, replace=True)
    with pytest.raises(UsageError, match="mine exists"):
        build(target)
    assert list(tmp_path.iterdir()) == [target]
    assert target.is_file() or (target / "thesis.tex").read_text() == "x"


def test_a_file_for_a_parent_is_refused(tmp_path: Path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"file cannot be written: .*choose another folder with -o"):
        build(tmp_path / "file/bundle")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_parent_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int):
    def refuse(_self: Path, *_arguments: object, **_options: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UsageError, match=f"cannot be written: {os.strerror(code)}"):
        build(tmp_path / "bundle")


@pytest.mark.parametrize("error", [OSError(errno.EBUSY, "Device or resource busy"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("failing", [1, 2])
def test_a_failed_swap_leaves_the_older_bundle(
    older: Path, monkeypatch: pytest.MonkeyPatch, failing: int, error: BaseException
):
    """A mount point cannot be renamed; an interrupt may fall between the two renames."""
    rename, calls = Path.rename, []

    def refuse(self: Path, to: Path) -> Path:
        calls.append(to)
        if len(calls) == failing:
            raise error
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(type(error)):
        build(older, replace=True)
    load_bundle(older)
    assert list(older.parent.iterdir()) == [older]
