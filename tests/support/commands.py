"""The command line, in this process (quick) or in one of its own (real pipes, signals and limits)."""

import io
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from foley.cli import main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT / 'runtime'}{os.pathsep}{ROOT / 'engines'}"}


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str

    def refused(self, *words: str, code: int = 2) -> None:
        """Check for one line on stderr that holds the words, nothing on stdout, and the exit code."""
        assert self.code == code, self
        assert self.out == ""
        assert self.err.count("\n") == 1, self.err
        assert self.err.startswith("foley: ")
        assert [word for word in words if word not in self.err] == [], self.err


@dataclass(frozen=True)
class Command:
    capsys: pytest.CaptureFixture[str]
    monkeypatch: pytest.MonkeyPatch

    def __call__(self, *arguments: object, stdin: str = "") -> Outcome:
        """Run `foley ARGUMENTS` in this process, with `stdin` as a pipe would give it."""
        self.monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self.capsys.readouterr()
        return Outcome(*run_cli(self.capsys, *map(str, arguments)))


def run_cli(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run `foley ARGUMENTS` in this process; gives the exit code, stdout and stderr."""
    code = 0
    try:
        main([*arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    return (code, *capsys.readouterr())


def run_python(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Outcome:
    """Run this Python with the runtime and the engines on its path, and nothing else of the project."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        env=ENVIRONMENT,
        cwd=cwd,
        timeout=60,
        check=False,
    )
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


def run_foley(*arguments: object, stdin: bytes = b"", cwd: Path | None = None) -> Outcome:
    """Run `foley ARGUMENTS` in a process of its own."""
    return run_python("-m", "foley", *arguments, stdin=stdin, cwd=cwd)
