"""What a training folder was made with: its `recipe.json` binds it to one recipe and to the sources of its data."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from foley.errors import UsageError
from foley_export.demo_model import captions, corpus, latents, mel, scenes, sounds
from foley_export.demo_model.files import write_json

FILE: Final = "recipe.json"
SOURCES: Final[tuple[ModuleType, ...]] = (captions, corpus, latents, mel, scenes, sounds)
"""The modules that decide the data."""
DIGITS: Final = 16
"""Of a source's sha256."""
LAST_STAGE: Final = "denoiser"
"""Nothing in the folder but the checkpoint is made from it, so its length may change."""
WORK: Final = ("*.state", "*.npy", "checkpoint")
"""What would be resumed or replaced."""


def bind_folder(folder: Path, recipe: Mapping[str, int]) -> None:
    """Make a training folder and note what it is made with, or check that it was made with the same.

    `recipe` holds its numbers by name; that of the last stage may differ from the one noted, and is noted anew.

    Raises:
        UsageError: the folder was made with something else, or nobody knows with what.
    """
    folder.mkdir(parents=True, exist_ok=True)
    asked = {**_digests(), **recipe}
    noted = _read(folder)
    if noted is not None:
        _compare(folder, noted, asked)
    if noted != asked:
        write_json(folder / FILE, asked)


def _compare(folder: Path, noted: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    for name in {**asked, **noted}:
        got, expected = noted.get(name, "missing"), asked.get(name, "none")
        if name != LAST_STAGE and got != expected:
            raise UsageError(f"{folder / FILE} has {name} {got}, expected {expected}; {_fix(folder)}")


def _read(folder: Path) -> dict[str, Any] | None:
    """Read what was noted of a folder; nothing is noted of a new one."""
    file = folder / FILE
    if not file.exists():
        if work := next((path for pattern in WORK for path in folder.glob(pattern)), None):
            raise UsageError(f"{folder} has {work.name} and no {FILE} to tell what made it; {_fix(folder)}")
        return None
    try:
        noted = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{file} is not JSON; {_fix(folder)}") from error
    if not isinstance(noted, dict):
        raise UsageError(f"{file} holds a {type(noted).__name__}, expected a JSON object; {_fix(folder)}")
    return noted


def _fix(folder: Path) -> str:
    return f"choose another folder, or remove {folder}"


def _digests() -> dict[str, str]:
    """Digest each source, by the name of its file."""
    files = [Path(str(module.__file__)) for module in SOURCES]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:DIGITS] for file in files}
