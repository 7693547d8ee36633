"""File names that can be told before anything is generated."""

from pathlib import Path

import pytest

from foley.cli.names import clip_files, slug
from foley.errors import UsageError


def names(output: Path | None, prompts: list[str], **options: object) -> list[str]:
    files = clip_files(output, options.get("ending"), prompts, options.get("seed", 0))
    return [str(file.relative_to(output.parent if output else Path())) for file in files]


def test_a_file_name_names_a_single_clip(tmp_path: Path):
    assert names(tmp_path / "dog.flac", ["a dog"]) == ["dog.flac"]


def test_a_file_name_of_another_format_is_refused(tmp_path: Path):
    assert names(tmp_path / "dog.FLAC", ["a dog"], ending="flac") == ["dog.FLAC"]
    with pytest.raises(UsageError, match=r"dog\.wav and --format flac disagree"):
        names(tmp_path / "dog.wav", ["a dog"], ending="flac")


def test_a_file_name_is_numbered_for_several(tmp_path: Path):
    assert names(tmp_path / "dog.v2.wav", ["a dog"] * 2) == ["dog.v2-000.wav", "dog.v2-001.wav"]


def test_a_folder_gets_prompts_and_seeds(tmp_path: Path):
    found = names(tmp_path / "out", ["A dog, barking!", "rain"], seed=7, ending="ogg")
    assert found == ["out/000-a-dog-barking-s7.ogg", "out/001-rain-s8.ogg"]
    assert (tmp_path / "out").is_dir()


def test_an_existing_folder_with_a_dot_is_a_folder(tmp_path: Path):
    (tmp_path / "out.v2").mkdir()
    assert names(tmp_path / "out.v2", ["rain"]) == ["out.v2/000-rain-s0.wav"]


def test_no_output_is_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    assert names(None, ["rain"]) == ["000-rain-s0.wav"]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("A dog, barking!", "a-dog-barking"),
        ("../../etc/passwd", "etc-passwd"),
        ("犬の声", "clip"),
        ("...", "clip"),
        ("x" * 100, "x" * 48),
        (f"{'x' * 47} y", "x" * 47),
    ],
)
def test_slugs_are_plain_and_short(prompt: str, expected: str):
    assert slug(prompt) == expected


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ("dog.mp3", "expected one of .wav, .flac, .ogg"),
        ("none/dog.wav", "none is no folder; make it first"),
        ("file/sub", "cannot be made: "),
        ("file", "file cannot be made: File exists"),
    ],
)
def test_places_that_cannot_be_written_are_refused(tmp_path: Path, output: str, words: str):
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=words):
        clip_files(tmp_path / output, "wav", ["rain"], 0)
