"""Ways to damage a bundle, or to make an odd one."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from foley.bundle import Bundle, load_bundle, record_files, write_manifest
from foley.errors import BundleError


def edit_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the JSON of a bundle's manifest in place."""
    place = folder / "bundle.json"
    manifest = json.loads(place.read_text())
    change(manifest)
    place.write_text(json.dumps(manifest))


def record_again(folder: Path) -> None:
    """Write sizes and digests anew, so that changed files count as the bundle's own."""
    manifest = load_quietly(folder).manifest
    write_manifest(folder, msgspec.structs.replace(manifest, files=record_files(folder)))


def load_quietly(folder: Path) -> Bundle:
    """Load a bundle whose files do not match its manifest."""
    edit_manifest(folder, lambda manifest: manifest["files"].update(_sizes(folder, manifest["files"])))
    return load_bundle(folder, verify_files=False)


def _sizes(folder: Path, files: dict[str, Any]) -> dict[str, Any]:
    if missing := [name for name in files if not (folder / name).exists()]:
        raise BundleError(f"missing {missing}")
    return {name: {**record, "bytes": (folder / name).stat().st_size} for name, record in files.items()}


def scale_weights(folder: Path, graph: str, factor: float) -> None:
    """Multiply a graph's weights and record the files again."""
    file = folder / f"graphs/{graph}.weights"
    (np.fromfile(file, np.float32) * np.float32(factor)).tofile(file)
    record_again(folder)
