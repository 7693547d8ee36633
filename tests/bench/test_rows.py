"""The commit that a row names is that of the files that measured."""

import shutil
import subprocess
from pathlib import Path

import pytest

from foley_bench import rows


def git(folder: Path, *words: str) -> None:
    options = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    subprocess.run(["git", *options, *words], cwd=folder, check=True, capture_output=True)


def test_a_package_inside_anothers_repository_has_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "rows.py"
    shutil.copy(rows.__file__, place)
    (tmp_path / "other.txt").write_text("of another project")
    git(tmp_path, "init")
    git(tmp_path, "add", "other.txt")
    git(tmp_path, "commit", "-m", "other")
    monkeypatch.setattr(rows, "__file__", str(place))
    assert rows._commit() is None
    git(tmp_path, "add", "rows.py")
    git(tmp_path, "commit", "-m", "own")
    assert rows._commit()
