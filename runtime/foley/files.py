"""Files that are whole or not there."""

import os
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
    handle, name = tempfile.mkstemp(prefix=f".{target.stem}.", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    working = Path(name)
    try:
        yield working
        working.chmod(0o666 & ~current_umask())
        working.replace(target)
    except OSError as error:
        raise UsageError(f"{target} cannot be written: {error.strerror}") from error
    finally:
        working.unlink(missing_ok=True)


def check_writable(target: Path) -> None:
    """Say now, not after minutes of work, that a file cannot be written.

    Raises:
        UsageError: its folder is missing or cannot be written, or the path is a folder.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder, expected a file name such as {target / 'clip.wav'}")
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder; make it first with: mkdir -p {folder}")
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}; choose another place with -o") from error


def current_umask() -> int:
    """Give the process's file mode mask."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
