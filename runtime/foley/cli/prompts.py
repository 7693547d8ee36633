"""Prompts from arguments, a file or standard input."""

import csv
import io
import json
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from foley.errors import RequestError

COLUMNS: Final = ("prompt", "caption", "text")
"""Names of a CSV column or JSON key that holds the prompt, the first found is read."""


def read_prompts(arguments: tuple[str, ...], file: Path | None) -> list[str]:
    """Gather prompts: the arguments, then a file's, or standard input's lines where neither is given.

    Raises:
        RequestError: there are none, or the file cannot be read.
    """
    prompts = list(arguments)
    if file is not None:
        prompts += _from_file(file)
    elif not prompts and not sys.stdin.isatty():
        prompts += _from_stdin()
    if not prompts:
        raise RequestError("there is no prompt; give one as an argument, with --prompts FILE or on standard input")
    return prompts


def _from_file(file: Path) -> list[str]:
    if str(file) == "-":
        return _from_stdin()
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise RequestError(f"--prompts {file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise RequestError(f"--prompts {file} is not UTF-8 text: {error.reason} at byte {error.start}") from error
    readers = {".csv": _csv, ".jsonl": _json_lines, ".ndjson": _json_lines}
    return readers.get(file.suffix.lower(), lambda content, _: _lines(content))(text, file)


def _from_stdin() -> list[str]:
    try:
        return _lines(sys.stdin.read())
    except UnicodeDecodeError as error:
        raise RequestError(f"standard input is not UTF-8 text: {error.reason} at byte {error.start}") from error


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]  # splitlines breaks at U+2028 too


def _csv(text: str, file: Path) -> list[str]:
    rows = csv.DictReader(io.StringIO(text))
    try:
        column = _column(rows.fieldnames or (), file)
        _say_passed_over(file, {name for name in rows.fieldnames or () if name != column})
        return [_said(row[column], f"--prompts {file}, line {rows.line_num}") for row in rows]
    except csv.Error as error:
        raise RequestError(f"--prompts {file} is not CSV: {error}, line {rows.line_num}") from error


def _column(names: Sequence[str], file: Path) -> str:
    for name in COLUMNS:
        if name in names:
            return name
    raise RequestError(
        f"--prompts {file} has columns {', '.join(names) or 'none'}; expected one named {', '.join(COLUMNS)}"
    )


def _json_lines(text: str, file: Path) -> list[str]:
    found = [_json_prompt(line, f"--prompts {file}, line {number}") for number, line in _numbered(text)]
    _say_passed_over(file, {key for _, others in found for key in others})
    return [prompt for prompt, _ in found]


def _numbered(text: str) -> list[tuple[int, str]]:
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _json_prompt(line: str, place: str) -> tuple[str, set[str]]:
    """Give a line's prompt, and the keys beside it."""
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise RequestError(f"{place} is not JSON: {error.msg}") from error
    others: set[str] = set()
    if isinstance(value, dict):
        name = next((name for name in COLUMNS if name in value), None)
        others = set(value) - {name}
        value = value.get(name)
    if not isinstance(value, str):
        raise RequestError(f"{place} holds no prompt; expected a string, or an object with {', '.join(COLUMNS)}")
    return _said(value, place), others


def _said(prompt: str | None, place: str) -> str:
    if prompt is None or not prompt.strip():
        raise RequestError(f"{place} holds an empty prompt; expected some text that says what should be heard")
    return prompt


def _say_passed_over(file: Path, names: set[str]) -> None:
    """Warn of columns that someone may take for settings."""
    if names:
        warnings.warn(
            f"--prompts {file}: only the prompts are read; {', '.join(sorted(map(str, names)))} are passed over, "
            "settings are given as options",
            stacklevel=2,
        )
