"""The command in a process of its own: pipes, warnings, signals."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from support.commands import ENVIRONMENT, run_foley, run_python

LONG = "a dog barking in the rain and cat bell wind loud soft"


def test_a_pipe_sees_results_only(mini_bundle: Path, tmp_path: Path):
    """No progress bar, no colours, no library chatter."""
    done = run_foley("generate", "a dog", "--bundle", mini_bundle, "-o", "dog.wav", cwd=tmp_path)
    assert (done.code, done.out, done.err) == (0, "dog.wav\n", "")
    assert soundfile.info(tmp_path / "dog.wav").frames == 8000


def test_prompts_through_a_pipe(mini_bundle: Path, tmp_path: Path):
    done = run_foley("generate", "--bundle", mini_bundle, "--json", "-o", "out", stdin=b"a dog\nrain\n", cwd=tmp_path)
    assert [json.loads(line)["prompt"] for line in done.out.splitlines()] == ["a dog", "rain"]
    assert done.err == ""


def test_a_cut_prompt_is_warned_of_in_one_line(mini_bundle: Path, tmp_path: Path):
    done = run_foley("generate", LONG, "--bundle", mini_bundle, "-o", "dog.wav", cwd=tmp_path)
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert done.err.startswith("foley: warning: the prompt 'a dog barking")


def test_misuse_prints_no_traceback(mini_bundle: Path, tmp_path: Path):
    run_foley("generate", "a dog", "--bundle", mini_bundle, "--sampler", "eular", cwd=tmp_path).refused("euler")
    run_foley("generate", "--bundle", mini_bundle, stdin=b"\xff\xfe\n", cwd=tmp_path).refused("expected UTF-8 text")
    assert list(tmp_path.iterdir()) == []


def test_the_command_is_importable_without_an_engine(tmp_path: Path):
    """`doctor` is what someone runs who has none."""
    block = "import sys; sys.modules['onnxruntime'] = None; from foley.cli import main; main(['doctor'])"
    done = run_python("-c", block, cwd=tmp_path)
    assert done.code == 0, done.err
    assert "pip install onnxruntime" in done.out


def start(mini_bundle: Path, folder: Path, *arguments: object) -> subprocess.Popen[str]:
    """Begin a run of many slow clips, with signals as a terminal's child has them."""
    command = [sys.executable, "-m", "foley", "generate", "a dog", "--bundle", str(mini_bundle), "-o", "out"]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_keeps_finished_clips_and_no_pieces(mini_bundle: Path, tmp_path: Path, sent: int, code: int):
    with start(mini_bundle, tmp_path, "--steps", 900, "--count", 500, "--max-batch", 1, "--spectrogram") as process:
        first = process.stdout.readline().strip()
        process.send_signal(sent)
        more, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert errors.strip() == "foley: interrupted; nothing half-written was kept"
    written = {Path(first).name, *(Path(line).name for line in more.split())}
    found = {path.name for path in (tmp_path / "out").iterdir()}
    assert written <= {name for name in found if name.endswith(".wav")}
    assert len(found) < 500
    assert [name for name in found if name.startswith(".")] == []
    assert all(soundfile.info(tmp_path / "out" / name).frames == 8000 for name in found if name.endswith(".wav"))


def test_a_reader_that_leaves_ends_the_run_quietly(mini_bundle: Path, tmp_path: Path):
    with start(mini_bundle, tmp_path, "--count", 300, "--max-batch", 1) as process:
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
    assert process.returncode != 0
    assert errors == ""
    assert len(os.listdir(tmp_path / "out")) < 300
