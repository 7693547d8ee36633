"""Environments of their own: a wheel of this checkout, and what pip installs with it."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foley.errors import FailureError
from foley_bench.footprint import installed

ROOT: Final = Path(__file__).parents[3]
"""The checkout, where this file lies in one."""
DIFFUSERS: Final = ("diffusers[torch]", "transformers", "torch==2.13.0")
LARGEST: Final = 10


@dataclass(frozen=True)
class Environment:
    """A Python, and what is installed for it of what was asked for."""

    python: Path
    distributions: Mapping[str, Mapping[str, Any]]
    """Distribution → version, bytes, bytecode bytes; the largest first."""

    def figures(self) -> dict[str, Any]:
        """Give megabytes for a row: of all files, of the bytecode that pip made of them, of the largest."""
        sizes = {name: each["bytes"] for name, each in self.distributions.items()}
        compiled = sum(each["bytecode_bytes"] for each in self.distributions.values())
        largest = {name: megabytes(size) for name, size in list(sizes.items())[:LARGEST]}
        return {
            "installed_mb": megabytes(sum(sizes.values())), "bytecode_mb": megabytes(compiled),
            "distributions": len(sizes), "largest_mb": largest,
        }  # fmt: skip

    def versions(self) -> dict[str, str]:
        """Give the version of everything."""
        return {name: each["version"] for name, each in self.distributions.items()}


def megabytes(size: int) -> float:
    """Give millions of bytes, rounded for a row."""
    return round(size / 1e6, 2)


def foley_environments(folder: Path, extras: Sequence[str]) -> dict[str, Environment]:
    """Install a wheel of this checkout with each extra; outside of a checkout, take this Python as it is.

    Raises:
        FailureError: a build or an installation failed.
    """
    wheel = make_wheel(folder)
    return {extra: _foley(wheel, folder / extra, extra) for extra in extras}


def _foley(wheel: Path | None, folder: Path, extra: str) -> Environment:
    python = Path(sys.executable) if wheel is None else make_environment(folder, [f"{wheel}[{extra}]"])
    return measured_environment(python, [f"foley[{extra}]"])


def diffusers_environment(folder: Path, python: Path | None) -> Environment:
    """Take diffusers where a Python has it; else install it.

    Raises:
        FailureError: the installation failed, or the Python lacks something.
    """
    return measured_environment(python or make_environment(folder, DIFFUSERS), DIFFUSERS)


def make_wheel(folder: Path) -> Path | None:
    """Build a wheel of the checkout that this file lies in; None: it lies in none.

    Raises:
        FailureError: the build failed; its last line follows.
    """
    if not (ROOT / "pyproject.toml").is_file():
        return None
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)], cwd=folder)
    return next(folder.glob("*.whl"))


def make_environment(folder: Path, requirements: Sequence[str]) -> Path:
    """Make a virtual environment of this Python's, install requirements, and give its interpreter.

    Raises:
        FailureError: it could not be made, or pip failed; the last line follows.
    """
    run([sys.executable, "-m", "venv", str(folder)])
    python = folder / "bin" / "python"
    run([str(python), "-I", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements])
    return python


def measured_environment(python: Path, requirements: Sequence[str]) -> Environment:
    """Measure what requirements need in the environment of a Python.

    Raises:
        FailureError: something is not installed there.
    """
    found = json.loads(run([str(python), "-I", installed.__file__, *requirements]))
    return Environment(python, found)


def run(command: Sequence[str], cwd: Path | None = None) -> str:
    """Run a command and give what it printed.

    Raises:
        FailureError: it failed; its last line follows.
    """
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)  # noqa: S603 — ours
    except OSError as error:
        raise FailureError(f"{command[0]} does not run: {error.strerror}") from error
    if done.returncode:
        last = ([*done.stdout.strip().splitlines(), *done.stderr.strip().splitlines()] or ["without a word"])[-1]
        raise FailureError(f"{' '.join(command[:5])} … failed: {last}")
    return done.stdout
