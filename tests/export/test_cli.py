"""`foley export` as a person meets it: progress on stderr, results on stdout, a mistake in one line."""

import errno
import os
import sys
from pathlib import Path

import onnx_ir as ir
import pytest

from foley.cli import cli
from foley.verify import SNR_FLOOR_DB
from foley_export import storage
from foley_export.checkpoint import Checkpoint
from foley_export.cli import NEEDED, Progress
from foley_export.cli import export as export_command

pytestmark = pytest.mark.usefixtures("quick_model")

GRAPHS = ["text_encoder", "denoise_step", "latent_decoder", "vocoder"]


@pytest.fixture(autouse=True)
def _registered(monkeypatch):
    """Add the command as its entry point does where foley is installed."""
    monkeypatch.setitem(cli.commands, "export", export_command)


@pytest.fixture
def place(checkpoint) -> Path:
    return checkpoint(layout="no-adapter")


def exported(command, place, target, *options):
    return command("export", place, "-o", target, *options)


@pytest.mark.slow
def test_results_on_stdout_and_progress_on_stderr(command, place, tmp_path):
    done = exported(command, place, tmp_path / "bundle")
    assert done.code == 0
    *rows, last = done.out.splitlines()
    assert [row.split()[0] for row in rows] == GRAPHS
    assert all("fp32" in row and "dB against torch" in row for row in rows)
    assert all(float(row.split()[2]) >= SNR_FLOOR_DB["fp32"] for row in rows)
    assert last == str(tmp_path / "bundle")
    assert done.err.splitlines() == [f"{name}…" for name in ("tokenizer", *GRAPHS, "bundle")]


@pytest.mark.slow
def test_half_precision(command, place, tmp_path):
    done = exported(command, place, tmp_path / "bundle", "--precision", "fp16")
    assert (done.code, done.out.count("fp16")) == (0, 4)


@pytest.mark.slow
def test_an_existing_output(command, place, tmp_path):
    target = tmp_path / "bundle"
    assert exported(command, place, target).code == 0
    exported(command, place, target).refused(str(target), "exists", "--force")
    assert exported(command, place, target, "--force").code == 0


@pytest.mark.slow
def test_a_replaced_bundles_other_defaults_are_told(command, place, tmp_path):
    target = tmp_path / "bundle"
    exported(command, place, target, "--steps", "7", "--guidance", "2")
    again = exported(command, place, target, "--force")
    assert (
        "requests that say nothing now get 100 steps of pndm, guidance 7.5, 10 s; before: 7 steps of pndm" in again.err
    )
    assert "requests that say nothing" not in exported(command, place, target, "--force").err


@pytest.mark.slow
def test_a_full_disk_is_one_line(command, place, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(storage.WeightsFile, "_place", full)
    done = exported(command, place, tmp_path / "bundle")
    assert done.code == 2
    (line,) = [line for line in done.err.splitlines() if not line.endswith("…")]
    assert line.startswith("foley: ")
    assert "full" in line
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_an_interrupt(command, place, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.WeightsFile, "_place", interrupted)
    done = exported(command, place, tmp_path / "bundle")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "foley: interrupted; nothing half-written was kept"
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
def test_a_graph_that_departs_is_a_failure(command, place, tmp_path, monkeypatch):
    kept = storage.WeightsFile._place
    damaged = lambda self, tensor: kept(self, ir.tensor(tensor.numpy() * 1.01, name=tensor.name))  # noqa: E731
    monkeypatch.setattr(storage.WeightsFile, "_place", damaged)
    done = exported(command, place, tmp_path / "bundle")
    assert done.code == 1
    assert "40.0 dB against torch, the floor of fp32 is 80 dB" in done.err.splitlines()[-1]
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["no/such/folder"], ["no/such/folder", "auffusion/auffusion-full"]),
        (["CHECKPOINT", "--precision", "int8"], ["--precision", "int8", "fp32"]),
        (["CHECKPOINT", "--lora", "gone.safetensors"], ["gone.safetensors"]),
        (["CHECKPOINT", "--lora", "a.safetensors@big"], ["'big'", "expected a number"]),
        (["CHECKPOINT", "--opset", "11"], ["--opset"]),
        ([], ["CHECKPOINT"]),
    ],
)
def test_a_mistake_is_one_line(command, place, tmp_path, arguments, words):
    given = [str(place) if argument == "CHECKPOINT" else argument for argument in arguments]
    command("export", *given, "-o", tmp_path / "bundle").refused(*words)
    assert os.listdir(tmp_path) == []


def test_the_output_is_not_guessed(command, place):
    command("export", place).refused("--output")


@pytest.mark.parametrize("name", NEEDED)
def test_a_missing_library_names_the_extra(command, place, tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    command("export", place, "-o", tmp_path / "bundle").refused(name, "pip install '.[export,cpu]'")


def test_a_library_that_lacks_another_one_is_not_taken_for_missing(command, place, tmp_path, monkeypatch):
    """The name in the message must be what is missing, not what asked for it."""
    (tmp_path / "onnxscript.py").write_text("import something_else_entirely\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "onnxscript", raising=False)
    with pytest.raises(ModuleNotFoundError, match="something_else_entirely"):
        command("export", place, "-o", tmp_path / "bundle")


def test_the_library_needs_no_torch_for_its_help(command):
    done = command("export", "--help")
    assert done.code == 0
    for option in ("--output", "--precision", "--lora", "--revision", "--force"):
        assert option in done.out


def test_a_terminal_gets_one_line_rewritten(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    tell = Progress()
    tell("denoise_step", "tracing")
    tell("denoise_step", "storing")
    tell("bundle", "digesting files")
    assert capsys.readouterr().err.splitlines()[-1].endswith("bundle: digesting files…")


def test_a_checkpoint_remembers_each_file_once(place):
    checkpoint = Checkpoint(place, "tiny")
    empty = checkpoint.digest()
    checkpoint.config("unet/config.json")
    once = checkpoint.digest()
    checkpoint.config("unet/config.json")
    assert empty != once == checkpoint.digest()


def test_an_output_in_the_way_is_told_before_anything_is_fetched(command, tmp_path):
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle/notes.txt").write_text("x")
    command("export", "auffusion/auffusion-full", "-o", tmp_path / "bundle").refused("bundle exists", "--force")
