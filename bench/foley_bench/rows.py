"""Measurements as JSON lines: what ran, on what, with which versions, and what came out."""

import importlib.metadata
import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

LIBRARIES: Final = (
    "foley",
    "onnxruntime",
    "onnxruntime-gpu",
    "tensorrt",
    "torch",
    "diffusers",
    "transformers",
    "numpy",
)


def row(
    name: str,
    configuration: dict[str, Any],
    figures: dict[str, Any],
    *,
    fidelity: dict[str, float] | None = None,
    method: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Put a measurement beside the commit, machine and versions that it holds for.

    `configuration` says what was measured: rows that have it in common are of the same thing. `method` says how and
    with what. `fidelity` is the decibels of the same build against torch, by graph.
    """
    told = {"fidelity": fidelity, "method": method}
    return {
        "name": name,
        "date": datetime.now(UTC).date().isoformat(),
        "commit": _commit(),
        "machine": machine(),
        "versions": {library: version for library in LIBRARIES if (version := _version(library))},
        "configuration": configuration,
        "figures": figures,
        **{part: value for part, value in told.items() if value is not None},
    }


def append(file: Path, measured: dict[str, Any]) -> None:
    """Add a row to a file of JSON lines."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(measured, ensure_ascii=False, allow_nan=False) + "\n")


def machine() -> dict[str, Any]:
    """Describe the processor and memory."""
    size = {"cores": os.cpu_count(), "memory_gib": _memory_gib()}
    return {"processor": _processor(), **size, "system": platform.system()}


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _memory_gib() -> float:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Give the checkout's commit, with + where files differ from it; None of a package that is no checkout's file."""
    here = Path(__file__)
    if _git(here.parent, "ls-files", "--error-unmatch", here.name) is None:
        return None
    return _git(here.parent, "describe", "--always", "--dirty=+")


def _git(folder: Path, *words: str) -> str | None:
    try:
        said = subprocess.run(  # noqa: S603 — fixed words, no shell
            ["git", *words],  # noqa: S607
            cwd=folder,
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.stdout.strip()
