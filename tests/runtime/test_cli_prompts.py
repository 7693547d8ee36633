"""Prompts from arguments, files and standard input."""

import io
import sys
from pathlib import Path

import pytest

from foley.cli.prompts import read_prompts
from foley.errors import RequestError


def read(folder: Path, name: str, content: str | bytes) -> list[str]:
    file = folder / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_prompts((), file)


FILES = {
    "lines.txt": ("a dog\n\n  rain  \r\nwind", ["a dog", "rain", "wind"]),
    "bom.txt": ("\ufeffa dog\n", ["a dog"]),
    "noending": ("a dog\nrain\n", ["a dog", "rain"]),
    "odd.txt": ("a\u2028dog\x0bbarks\x85\n", ["a\u2028dog\x0bbarks"]),
    "a.csv": ("file,prompt\n1.wav,a dog\n2.wav,rain\n", ["a dog", "rain"]),
    "caption.csv": ('caption,id\n"a dog, barking",1\n"two\nlines",2\n', ["a dog, barking", "two\nlines"]),
    "first.csv": ("text,prompt\nwrong,a dog\n", ["a dog"]),
    "bom.csv": ("\ufeffprompt\na dog\n", ["a dog"]),
    "a.jsonl": ('"a dog"\n\n{"prompt": "rain"}\n{"caption": "wind", "id": 3}\n', ["a dog", "rain", "wind"]),
    "a.ndjson": ('{"text": "a dog"}\n', ["a dog"]),
    "odd.jsonl": ('{"prompt": "a\u2028dog\x85"}\n', ["a\u2028dog\x85"]),
}


@pytest.mark.filterwarnings("ignore:.*are passed over:UserWarning")
@pytest.mark.parametrize("name", FILES)
def test_kinds_of_files(tmp_path: Path, name: str):
    content, expected = FILES[name]
    assert read(tmp_path, name, content) == expected


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "prompt,seed,steps\na dog,7,3\n"),
        ("a.jsonl", '{"prompt": "a dog", "seed": 7}\n{"prompt": "b", "steps": 3}\n'),
    ],
)
def test_what_may_be_taken_for_settings_is_said_to_be_passed_over(tmp_path: Path, name: str, content: str):
    with pytest.warns(UserWarning, match="only the prompts are read; seed, steps are passed over"):
        assert read(tmp_path, name, content)[0] == "a dog"


BAD = {
    "blank.csv": ('prompt\na dog\n" "\n', "blank.csv, line 3 holds an empty prompt"),
    "blank.jsonl": ('"a dog"\n""\n', "blank.jsonl, line 2 holds an empty prompt"),
    "short.csv": ("id,prompt\n1\n", "short.csv, line 2 holds an empty prompt"),
    "id.csv": ("id,file\n1,2\n", "has columns id, file; expected one named prompt, caption, text"),
    "empty.csv": ("", "has columns none"),
    "nul.csv": (b'prompt\n"a' + b"x" * 200_000 + b'"\n', "is not CSV: field larger than field limit"),
    "bad.jsonl": ('"a dog"\n{"prompt": \n', "bad.jsonl, line 2 is not JSON"),
    "none.jsonl": ('{"id": 3}\n', "line 1 holds no prompt; expected a string"),
    "number.jsonl": ("3\n", "line 1 holds no prompt"),
    "null.jsonl": ('{"prompt": null}\n', "line 1 holds no prompt"),
    "latin.txt": (b"caf\xe9\n", "is not UTF-8 text: .* at byte 3"),
    "empty.txt": ("\n \n", "there is no prompt"),
}


@pytest.mark.filterwarnings("ignore:.*are passed over:UserWarning")
@pytest.mark.parametrize("name", BAD)
def test_files_without_prompts_are_refused(tmp_path: Path, name: str):
    content, words = BAD[name]
    with pytest.raises(RequestError, match=words) as caught:
        read(tmp_path, name, content)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("name", "words"), [("none.txt", "No such file"), (".", "Is a directory")])
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, words: str):
    with pytest.raises(RequestError, match=f"^--prompts .* cannot be read: {words}"):
        read_prompts((), tmp_path / name)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def pipe(content: bytes) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "file", "expected"),
    [
        ((), None, ["piped", "lines"]),
        ((), Path("-"), ["piped", "lines"]),
        (("a dog",), Path("-"), ["a dog", "piped", "lines"]),
        (("a dog",), None, ["a dog"]),
    ],
)
def test_standard_input(monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], file: Path | None, expected: list):
    monkeypatch.setattr(sys, "stdin", pipe(b"piped\n\n lines \n"))
    assert read_prompts(arguments, file) == expected


def test_arguments_come_before_a_files_prompts(tmp_path: Path):
    (tmp_path / "more.txt").write_text("rain\n")
    assert read_prompts(("a dog",), tmp_path / "more.txt") == ["a dog", "rain"]


def test_a_terminal_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", Terminal("typed\n"))
    with pytest.raises(RequestError, match=r"^there is no prompt; give one as an argument"):
        read_prompts((), None)


def test_standard_input_that_is_no_text_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "stdin", pipe(b"a dog\n\xff\xfe\n"))
    with pytest.raises(RequestError, match=r"^standard input is not UTF-8 text"):
        read_prompts((), None)
