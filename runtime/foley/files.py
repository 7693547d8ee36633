"""Files and folders that are whole or not there."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foley.errors import UsageError


@contextmanager
def new_file(target: Path) -> Iterator[Path]:
    """Give a path beside `target` that becomes `target` when the block ends, and vanishes if it fails.

    Raises:
        UsageError: the folder is missing or cannot be written.
    """
    check_writable(target)
    working = _temporary(target)
    try:
        yield working
        working.replace(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        working.unlink(missing_ok=True)


def _temporary(target: Path) -> Path:
    working = hidden_name(target)
    try:
        working.touch(exist_ok=False)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    return working


def hidden_name(target: Path) -> Path:
    """Give an unused name beside a file or folder, with its ending, that a listing does not show."""
    return target.with_name(f".{target.stem}.{secrets.token_hex(8)}{target.suffix}")


def check_writable(target: Path) -> None:
    """Say now, not after minutes of work, that a file cannot be written.

    Raises:
        UsageError: its folder is missing or cannot be written, or the path is a folder.
    """
    try:
        is_folder = target.is_dir()
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    if is_folder:
        raise UsageError(f"{target} is a folder, expected a file name such as {target / 'clip.wav'}")
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make it first with: mkdir -p {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; choose another place with -o") from error


def swap_folder(working: Path, target: Path) -> None:
    """Rename a folder to `target`; an older one there gives way, and comes back if that fails."""
    if not target.exists():
        working.rename(target)
        return
    aside = hidden_name(target)
    try:
        target.rename(aside)
        working.rename(target)
    except BaseException:  # an interrupt between the two must not lose the older folder
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    finally:
        if target.exists():
            shutil.rmtree(aside, ignore_errors=True)
