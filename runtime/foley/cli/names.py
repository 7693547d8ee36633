"""Where clips go: names that can be told before anything is generated."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foley.clip import FORMATS, audio_format
from foley.errors import UsageError
from foley.files import check_writable

SLUG_LENGTH: Final = 48


def clip_files(output: Path | None, ending: str | None, prompts: Sequence[str], seed: int) -> list[Path]:
    """Name one file for each clip, and check that they can be written.

    A file name (`-o dog.wav`) names a single clip, and several as `dog-000.wav`, `dog-001.wav`, …; a folder gets
    `000-a-dog-barking-s7.wav`, … where 7 is the clip's seed. No output is the current folder.

    Raises:
        UsageError: the ending is unknown or not the one asked for, or the place cannot be written.
    """
    if output is not None and output.suffix and not output.is_dir():
        audio_format(output)
        if ending is not None and output.suffix.lower() != f".{ending}":
            raise UsageError(f"-o {output} and --format {ending} disagree; leave --format out, or give -o a folder")
        names = _numbered(output, len(prompts))
    else:
        folder = output or Path()
        _make_folder(folder)
        names = [
            folder / f"{index:03}-{slug(text)}-s{seed + index}.{ending or 'wav'}" for index, text in enumerate(prompts)
        ]
    check_writable(names[0])
    return names


def slug(prompt: str) -> str:
    """Turn a prompt into a short, plain part of a file name."""
    words = re.sub(r"[^a-z0-9]+", "-", prompt.lower()).strip("-")
    return words[:SLUG_LENGTH].rstrip("-") or "clip"


def endings() -> list[str]:
    """Give the audio formats by their endings, without the dot."""
    return [ending.removeprefix(".") for ending in FORMATS]


def _numbered(output: Path, count: int) -> list[Path]:
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{index:03}{output.suffix}") for index in range(count)]


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{folder} cannot be made: {error.strerror}; choose another place with -o") from error
