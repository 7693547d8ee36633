"""A contestant's process, which computes when it is asked to and waits by reading otherwise."""

import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from foley.errors import EngineError, EngineUnavailableError
from foley_bench.compare.contestants import PEERS, Contestant

SERVE: Final = PEERS / "serve.py"
LAST_WORDS: Final = 4096
PATIENCE_S: Final = 10.0
ANSWER_S: Final = 1800.0
"""The longest that one command may take; compiling a full-size U-Net takes minutes."""


class Child:
    """A process that answers one command at a time. Closing it frees its memory."""

    def __init__(self, contestant: Contestant, threads: int) -> None:
        """Start the contestant's interpreter.

        Raises:
            EngineUnavailableError: there is no such interpreter.
        """
        self._name, self._python = contestant.name, contestant.python
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 — closed with the child
        try:
            self._process = subprocess.Popen(  # noqa: S603 — an interpreter that the user named, a program of ours
                [contestant.python, str(SERVE), str(contestant.file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=self._errors, text=True, env=_environment(contestant.python, threads),
            )  # fmt: skip
        except OSError as error:
            self._errors.close()
            raise EngineUnavailableError(
                f"{self._python} does not start: {error.strerror}; name another by --python"
            ) from error

    def ask(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """Send a command and wait for its answer.

        Raises:
            EngineUnavailableError: a library is missing.
            EngineError: it failed, the process ended, or it gave no answer in time.
        """
        answer = self._exchange(json.dumps(command))
        if "absent" in answer:
            raise EngineUnavailableError(
                f"{answer['absent']} in {self._python}; install it, or name another by --python"
            )
        if "error" in answer:
            raise EngineError(f"{self._name}: {answer['error']}")
        return answer

    def _exchange(self, line: str) -> dict[str, Any]:
        given, told = self._process.stdin, self._process.stdout
        if given is None or told is None:
            raise EngineError(f"{self._name} has no pipes")
        try:
            given.write(line + "\n")
            given.flush()
        except BrokenPipeError:
            raise EngineError(self._end()) from None
        if not select.select([told], [], [], ANSWER_S)[0]:  # one line an answer: nothing of it has been read yet
            raise EngineError(f"{self._name}: gave no answer within {ANSWER_S:g} s")
        reply = told.readline()
        if not reply:
            raise EngineError(self._end())
        answer: dict[str, Any] = json.loads(reply)
        return answer

    def _end(self) -> str:
        code = self._process.wait()
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - LAST_WORDS))
        words = self._errors.read().decode(errors="replace").strip().splitlines()
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        return f"{self._name}: the process ended with {how}: {words[-1] if words else 'without a word'}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process, by force where it goes on."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                _close(pipe)
        try:
            self._process.wait(PATIENCE_S if error is None else 0.1)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._errors.close()


def _close(pipe: Any) -> None:  # noqa: ANN401 — what Popen opened
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def prepare(contestant: Contestant, threads: int, folder: Path) -> dict[str, Any]:
    """Let a contestant write its files into a folder, in a process of its own.

    Raises:
        EngineUnavailableError: a library is missing.
        EngineError: it failed.
    """
    with Child(contestant, threads) as child:
        return child.ask({"do": "prepare", "settings": dict(contestant.settings), "folder": str(folder)})


def _environment(python: str, threads: int) -> dict[str, str]:
    """Fix the threads before any library is imported, and keep peers from a network.

    Another interpreter gets no module path of this one.
    """
    own = {name: value for name, value in os.environ.items() if python == sys.executable or name != "PYTHONPATH"}
    counts = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), str(threads))
    return {**own, **counts, "HF_HUB_OFFLINE": "1"}
