"""Files are whole or not there, and an older one stays until the new one is whole."""

import errno
import os
import stat
from pathlib import Path

import pytest
from support.commands import run_python

from foley.errors import UsageError
from foley.files import check_writable, new_file


def write(target: Path, content: str = "new", error: BaseException | None = None) -> None:
    with new_file(target) as working:
        assert working.parent == target.parent
        assert working.suffix == target.suffix
        working.write_text(content)
        if error is not None:
            raise error


@pytest.mark.parametrize("before", [None, "old"])
def test_a_file_appears_or_is_replaced_at_the_end(tmp_path: Path, before: str | None):
    target = tmp_path / "clip.wav"
    if before:
        target.write_text(before)
    with new_file(target) as working:
        working.write_text("new")
        assert target.exists() == bool(before)
    assert target.read_text() == "new"
    assert list(tmp_path.iterdir()) == [target]


def test_others_may_read_it_as_the_umask_says(tmp_path: Path):
    mask = os.umask(0o027)
    try:
        write(tmp_path / "clip.wav")
        assert os.umask(0o027) == 0o027  # looking at the mask did not change it
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "clip.wav").stat().st_mode) == 0o640


@pytest.mark.parametrize("error", [ValueError("x"), KeyboardInterrupt()], ids=repr)
def test_a_failure_keeps_the_older_file_and_nothing_else(tmp_path: Path, error: BaseException):
    target = tmp_path / "clip.wav"
    target.write_text("old")
    with pytest.raises(type(error)):
        write(target, error=error)
    assert target.read_text() == "old"
    assert list(tmp_path.iterdir()) == [target]


def test_a_full_disk_is_a_usage_error_that_names_the_file(tmp_path: Path):
    with pytest.raises(UsageError, match=r"clip.wav cannot be written: No space left on device"):
        write(tmp_path / "clip.wav", error=OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("check", [check_writable, write])
def test_places_that_cannot_hold_a_file(tmp_path: Path, check):
    (tmp_path / "file").write_text("x")
    (tmp_path / "folder.wav").mkdir()
    for target, words in (
        ("folder.wav", "is a folder, expected a file name such as"),
        ("none/clip.wav", "none is no folder; make it first with: mkdir -p"),
        ("file/clip.wav", "file is no folder"),
        (f"{'x' * 300}.wav", "File name too long"),
    ):
        with pytest.raises(UsageError, match=words):
            check(tmp_path / target)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.wav"]


@pytest.mark.parametrize("check", [check_writable, write])
def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, check):
    def refuse(**_options: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("foley.files.tempfile.TemporaryFile", refuse)
    with pytest.raises(UsageError, match=f"{tmp_path} cannot be written: Permission denied; choose another place"):
        check(tmp_path / "clip.wav")


LIMITED = """
import resource, signal, sys
import numpy as np
from foley.clip import Clip, Timings
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
noise = np.random.default_rng(0).standard_normal((8, 700)).astype(np.float32)
clip = Clip("dog", 0, noise.ravel(), 16_000, 160, noise, noise, Timings(0, 0, 0, 0, 0))
try:
    getattr(clip, sys.argv[1])(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("method", "name"),
    [("save", "clip.wav"), ("save", "clip.flac"), ("save", "clip.ogg"), ("save_spectrogram", "clip.png")],
)
def test_a_file_cut_short_by_the_system_is_not_kept(tmp_path: Path, method: str, name: str):
    """A limit on file size stands for a full disk: real writes fail half-way."""
    (tmp_path / name).write_text("old")
    done = run_python("-c", LIMITED, method, tmp_path / name)
    assert done.out == f"UsageError {tmp_path / name} cannot be written: File too large\n", done
    assert (tmp_path / name).read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [name]
