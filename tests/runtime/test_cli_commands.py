"""`foley`, `inspect`, `verify` and `doctor` in this process."""

import errno
import json
import os
from pathlib import Path

import click
import pytest
from support.bundles import edit_manifest, scale_weights
from support.commands import Command

import foley
from foley.cli import cli


def strict_json(text: str) -> dict:
    """JSON as the standard has it, without Python's NaN and Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


@pytest.mark.parametrize("name", ["generate", "inspect", "verify", "doctor", "build"])
def test_help_names_every_option_and_says_what_the_command_does(command: Command, name: str):
    done = command(name, "--help")
    assert (done.code, done.err) == (0, "")
    for parameter in cli.commands[name].params:
        if isinstance(parameter, click.Option):
            assert parameter.help or isinstance(parameter.type, click.Choice)
            assert all(option in done.out for option in parameter.opts), parameter


def test_help_lists_the_commands(command: Command):
    done = command("-h")
    assert done.code == 0
    assert [
        name for name in ("build", "doctor", "generate", "inspect", "verify") if f"\n  {name} " not in done.out
    ] == []


def test_no_command_is_help_and_exit_code_2(command: Command):
    done = command()
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: foley [OPTIONS] COMMAND")
    assert done.err.count("\n") > 10


def test_version(command: Command):
    assert command("--version").out == f"foley, version {foley.__version__}\n"


@pytest.mark.parametrize("name", ["generte", "serve"])
def test_an_unknown_command_is_misuse(command: Command, name: str):
    command(name).refused(f"No such command '{name}'")


def test_inspect_tells_what_a_bundle_holds(command: Command, mini_bundle: Path):
    done = command("inspect", mini_bundle)
    assert (done.code, done.err) == (0, "")
    for words in ("mini, fp32", "16000 Hz, 8 mel bins, hop 160", "80 ms a column", "ddim, 4 steps, guidance 3, 0.5 s"):
        assert words in done.out
    for words in ("denoise_step", "state [S,4,3,4,W]", "row_slot [R]", "waveform [B,N]", "generated/mini"):
        assert words in done.out


def test_inspect_prints_the_manifest_as_json(command: Command, mini_bundle: Path):
    done = command("inspect", mini_bundle, "--json")
    assert strict_json(done.out) == json.loads((mini_bundle / "bundle.json").read_text())


def test_inspect_names_an_unknown_key(command: Command, bundle_copy: Path):
    edit_manifest(bundle_copy, lambda manifest: manifest["audio"].update(colour="blue"))
    command("inspect", bundle_copy).refused("unknown field `colour`", "$.audio", "bundle.json")


def test_inspect_of_no_bundle_is_misuse(command: Command, tmp_path: Path):
    command("inspect", tmp_path / "none").refused("there is no folder")
    command("inspect", tmp_path).refused("is not a bundle", "foley export CHECKPOINT -o BUNDLE")


def test_verify_passes_and_prints_a_line_a_graph(command: Command, mini_bundle: Path):
    done = command("verify", mini_bundle, "--threads", 1)
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()] == [*foley.load_bundle(mini_bundle).manifest.graphs]
    assert all(line.endswith("ok") for line in done.out.splitlines())


def test_verify_prints_json_lines(command: Command, mini_bundle: Path):
    """A graph without any error has an infinite ratio, which JSON cannot say: it is null."""
    reports = [strict_json(line) for line in command("verify", mini_bundle, "--json").out.splitlines()]
    assert all(report["passed"] and report["floor_db"] == 80.0 for report in reports)
    assert [(report["snr_db"] or 200) > 120 for report in reports] == [True] * 4
    assert reports[0]["snr_db"] is None
    assert reports[0]["worst_error"] == 0.0


@pytest.mark.parametrize(("factor", "got"), [(1.01, "dB against torch"), (float("nan"), "-inf dB against torch")])
def test_verify_fails_with_exit_code_1_and_names_the_graph(
    command: Command, bundle_copy: Path, factor: float, got: str
):
    scale_weights(bundle_copy, "vocoder", factor)
    done = command("verify", bundle_copy)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert done.err.startswith("foley: vocoder in engine cpu: ")
    assert got in done.err
    assert done.out.splitlines()[-1].endswith("BELOW THE FLOOR")
    assert [strict_json(line)["passed"] for line in command("verify", bundle_copy, "--json").out.splitlines()] == [
        True,
        True,
        True,
        False,
    ]


def test_verify_of_a_damaged_file_is_misuse(command: Command, bundle_copy: Path):
    path = bundle_copy / "graphs/vocoder.weights"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\0\0\1")
    command("verify", bundle_copy).refused("vocoder.weights is damaged")


@pytest.mark.parametrize(
    ("engine", "words"),
    [("cuda", "onnxruntime-gpu"), ("tensorrt", "pip install 'tensorrt>=10.3'"), ("gpu", "unknown engine 'gpu'")],
)
def test_verify_with_an_unusable_engine_is_misuse(command: Command, mini_bundle: Path, engine: str, words: str):
    command("verify", mini_bundle, "--engine", engine).refused(words)


def test_a_graph_that_does_not_load_is_a_failure(command: Command, bundle_copy: Path):
    (bundle_copy / "graphs/vocoder.weights").write_bytes(b"")
    edit_manifest(bundle_copy, lambda m: m["files"]["graphs/vocoder.weights"].update(bytes=0, sha256=EMPTY))
    done = command("generate", "a dog", "--bundle", bundle_copy, "-o", bundle_copy.parent / "dog.wav")
    done.refused("vocoder.onnx does not load in onnxruntime", code=1)
    assert not (bundle_copy.parent / "dog.wav").exists()


EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_doctor_says_what_can_run(command: Command):
    done = command("doctor")
    assert (done.code, done.err) == (0, "")
    machine, *engines = done.out.splitlines()
    assert "Python 3." in machine
    assert [line.split()[:2] for line in engines] == [["cpu", "yes"], ["cuda", "no"], ["tensorrt", "no"]]


def test_doctor_says_what_would_help(command: Command):
    _, _, cuda, tensorrt = command("doctor").out.splitlines()
    assert "pip install 'onnxruntime-gpu[cuda,cudnn]" in cuda
    assert "pip install 'tensorrt>=10.3' 'cuda-python>=12.6'" in tensorrt


def test_doctor_prints_json(command: Command):
    report = strict_json(command("doctor", "--json").out)
    assert [engine["name"] for engine in report["engines"]] == ["cpu", "cuda", "tensorrt"]
    assert [engine["usable"] for engine in report["engines"]] == [True, False, False]
    assert report["machine"]["cores"] == os.cpu_count()


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (OSError(errno.ENOSPC, "No space left on device", "/bundle/x"), 2, "/bundle/x: No space left on device"),
        (OSError("odd"), 2, "a file: odd"),
        (MemoryError(), 1, "out of memory; use fewer seconds"),
        (KeyboardInterrupt(), 130, "interrupted; nothing half-written was kept"),
        (foley.FoleyError("two\nlines"), 1, "two lines"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_become_one_line_and_an_exit_code(
    command: Command, monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, words: str
):
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    monkeypatch.setattr("foley_engines.status", fail)
    done = command("doctor")
    assert (done.code, done.out) == (code, "")
    assert done.err.strip().splitlines() == [f"foley: {done.err.strip().removeprefix('foley: ')}"]
    assert words in done.err
