"""Files and folders of the recipe that appear whole or not at all."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from foley.files import hidden_name, swap_folder


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object; an older file stays until the new one is whole, and missing folders are made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` that takes its place when the block ends, and vanishes if it fails."""
    target = target.resolve()
    working = hidden_name(target)
    try:
        working.mkdir(parents=True)
        yield working
        swap_folder(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)
