"""`foley generate` in this process: what is written, printed and refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from support.commands import Command

import foley
from foley.cli import cli


@pytest.fixture
def generate(command: Command, mini_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`foley generate` on the mini bundle with two steps, in an empty current folder."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object, stdin: str = ""):
        return command("generate", "--bundle", mini_bundle, "--steps", 2, "--threads", 1, *arguments, stdin=stdin)

    return run


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["a dog", "-o", "dog.wav"], ["dog.wav"]),
        (["a dog"], ["000-a-dog-s0.wav"]),
        (["a dog", "rain", "--seed", "7", "-o", "out"], ["out/000-a-dog-s7.wav", "out/001-rain-s8.wav"]),
        (["a dog", "--count", "2", "-o", "dog.flac"], ["dog-000.flac", "dog-001.flac"]),
        (["a dog", "--format", "ogg"], ["000-a-dog-s0.ogg"]),
        (["a dog", "--spectrogram", "-o", "dog.wav"], ["dog.png", "dog.wav"]),
    ],
)
def test_files_and_their_names(generate, tmp_path: Path, arguments: list[str], expected: list[str]):
    done = generate(*arguments)
    assert (done.code, done.err) == (0, "")
    assert files(tmp_path) == expected
    assert done.out.splitlines() == [name for name in expected if not name.endswith(".png")]


def test_a_file_holds_the_clip_of_its_settings(generate, pipeline: foley.Pipeline):
    """Every knob on the command line is the pipeline's."""
    knobs = {"seconds": 0.3, "sampler": "ddim", "eta": 0.5, "guidance": 2.5, "guidance_stop": 0.5, "seed": 2**40}
    knobs |= {"negative": "wind", "spacing": "trailing"}
    options = [item for name, value in knobs.items() for item in (f"--{name.replace('_', '-')}", value)]
    assert generate("a dog", "-o", "dog.wav", *options).code == 0
    [clip] = pipeline.generate("a dog", steps=2, **knobs)
    samples, rate = soundfile.read("dog.wav")
    assert (len(samples), rate) == (4800, 16_000)
    assert np.abs(samples - clip.samples).max() < 2e-4


@pytest.mark.parametrize("max_batch", [1, 2, 3])
def test_batches_do_not_change_the_clips(generate, pipeline: foley.Pipeline, max_batch: int):
    assert generate("a dog", "rain", "--count", 2, "--max-batch", max_batch, "-o", "out").code == 0
    clips = pipeline.generate(["a dog", "rain"], count=2, steps=2)
    for clip, name in zip(clips, files(Path("out")), strict=True):
        assert np.abs(soundfile.read(Path("out") / name)[0] - clip.samples).max() < 2e-4
        assert name.endswith(f"s{clip.seed}.wav")


def test_also_adds_weighted_prompts(generate, pipeline: foley.Pipeline):
    done = generate("a dog", "--also", "wind", 0.5, "--also", "bell", -0.25, "-o", "dog.wav", "--json")
    assert json.loads(done.out)["prompt"] == "a dog + wind (0.5) + bell (-0.25)"
    parts = [foley.Part("a dog"), foley.Part("wind", 0.5), foley.Part("bell", -0.25)]
    [clip] = pipeline.generate(parts, steps=2)
    assert np.abs(soundfile.read("dog.wav")[0] - clip.samples).max() < 2e-4


@pytest.mark.parametrize("name", ["prompts.txt", "prompts.csv", "prompts.jsonl"])
def test_prompts_from_a_file(generate, tmp_path: Path, name: str):
    lines = {
        "prompts.txt": "a dog\nrain\n",
        "prompts.csv": "prompt\na dog\nrain\n",
        "prompts.jsonl": '"a dog"\n"rain"\n',
    }
    (tmp_path / name).write_text(lines[name])
    assert generate("--prompts", name, "-o", "out").code == 0
    assert files(tmp_path / "out") == ["000-a-dog-s0.wav", "001-rain-s1.wav"]


@pytest.mark.parametrize("arguments", [[], ["--prompts", "-"]])
def test_prompts_from_standard_input(generate, tmp_path: Path, arguments: list[str]):
    assert generate(*arguments, "-o", "out", stdin="a dog\n\nrain\n").code == 0
    assert files(tmp_path / "out") == ["000-a-dog-s0.wav", "001-rain-s1.wav"]


def test_json_lines_tell_settings_and_timings(generate):
    done = generate("a dog", "rain", "--json", "--spectrogram", "-o", "out", "--sampler", "pndm", "--guidance", 2)
    first, second = map(json.loads, done.out.splitlines())
    timings = first.pop("timings")
    assert first == {
        "file": "out/000-a-dog-s0.wav",
        "spectrogram": "out/000-a-dog-s0.png",
        "prompt": "a dog",
        "seed": 0,
        "seconds": 0.5,
        "sample_rate_hz": 16_000,
        "sampler": "pndm",
        "steps": 2,
        "guidance": 2.0,
        "guidance_stop": 1.0,
        "negative": None,
        "spacing": None,
        "eta": None,
        "loras": [],
    }
    assert (second["prompt"], second["seed"]) == ("rain", 1)
    stages = ["text_encoder_ms", "denoise_ms", "latent_decoder_ms", "vocoder_ms"]
    assert set(timings) == {*stages, "steps", "total_ms"}
    assert timings["steps"] == 3  # PNDM evaluates once more
    assert all(timings[stage] > 0 for stage in stages)
    assert timings["total_ms"] == pytest.approx(sum(timings[stage] for stage in stages))


MISUSE = {
    ("--seconds", "0"): "seconds is 0.0",
    ("--seconds", "nan"): "seconds is nan",
    ("--seconds", "601"): "up to 600",
    ("--steps", "0"): "steps is 0",
    ("--steps", "1001"): "steps: got 1001",
    ("--guidance", "-1"): "guidance is -1.0",
    ("--guidance", "inf"): "guidance is inf",
    ("--guidance-stop", "1.5"): "guidance stop is 1.5",
    ("--count", "0"): "count is 0",
    ("--max-batch", "0"): "max batch is 0",
    ("--seed", "-1"): "seed is -1",
    ("--sampler", "eular"): "did you mean euler",
    ("--eta", "1", "--sampler", "euler"): "eta: got 1.0 for euler",
    ("--spacing", "even"): "'even' is not one of 'leading'",
    ("--also", "wind", "0"): "weight of 'wind' is 0.0",
    ("--engine", "cuda"): "--threads is not for the engine 'cuda'; leave it out",
    ("--engine", "tensorrt"): "--threads is not for the engine 'tensorrt'; leave it out",
    ("--device", "0"): "--device is not for the engine 'cpu'; leave it out",
    ("--plans", "plans"): "--plans is not for the engine 'cpu'; leave it out",
    ("--no-build",): "--no-build is not for the engine 'cpu'; leave it out",
    ("--no-cuda-graph",): "--no-cuda-graph is not for the engine 'cpu'; leave it out",
    ("--device", "-1"): "-1 is not in the range",
    ("--engine", "cpuu"): "did you mean 'cpu'?",
    ("--threads", "0"): "0 is not in the range",
    ("--format", "mp3"): "'mp3' is not one of",
    ("-o", "dog.mp3"): "expected one of .wav, .flac, .ogg",
    ("-o", "none/dog.wav"): "none is no folder",
    ("--bundle", "none"): "there is no folder none",
    ("--prompts", "none.txt"): "--prompts none.txt cannot be read",
    ("--colour", "blue"): "No such option",
    ("",): "the prompt is ''",
}


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse_is_one_line_and_exit_code_2(generate, tmp_path: Path, arguments: tuple[str, ...]):
    generate("a dog", *arguments).refused(MISUSE[arguments])
    assert files(tmp_path) == []


@pytest.mark.parametrize(
    ("engine", "install"),
    [
        ("cuda", "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27' 'cuda-python>=12.6'"),
        ("tensorrt", "pip install 'tensorrt>=10.3' 'cuda-python>=12.6'"),
    ],
)
def test_an_engine_that_is_not_installed_is_one_line_with_the_command(
    command: Command, mini_bundle: Path, tmp_path: Path, engine: str, install: str
):
    clip = tmp_path / "dog.wav"
    command("generate", "a dog", "--bundle", mini_bundle, "--engine", engine, "-o", clip).refused(install)
    assert not clip.exists()


@pytest.mark.parametrize(
    ("engine", "option"),
    [("cuda", "--no-build"), ("cuda", "--plans"), ("tensorrt", "--threads"), ("cuda", "--threads")],
)
def test_an_option_of_another_engine_is_misuse(command: Command, mini_bundle: Path, engine: str, option: str):
    value = {"--plans": ["plans"], "--threads": ["1"]}.get(option, [])
    done = command("generate", "a dog", "--bundle", mini_bundle, "--engine", engine, option, *value)
    done.refused(f"{option} is not for the engine '{engine}'; leave it out")


def test_no_prompt_is_misuse(generate):
    generate().refused("there is no prompt; give one as an argument, with --prompts FILE or on standard input")


def test_a_failed_clip_keeps_the_finished_ones(generate, tmp_path: Path):
    """The third file cannot be written: two are there, whole, and no piece of a third."""
    (tmp_path / "dog-002.wav").mkdir()
    done = generate("a dog", "--count", 4, "--max-batch", 2, "-o", "dog.wav")
    assert (done.code, done.out.split()) == (2, ["dog-000.wav", "dog-001.wav"])
    assert done.err.startswith("foley: dog-002.wav is a folder")
    assert files(tmp_path) == ["dog-000.wav", "dog-001.wav"]


@pytest.mark.parametrize("option", [parameter.opts[-1] for parameter in cli.commands["generate"].params])
def test_help_names_every_option(command: Command, option: str):
    assert (option if option.startswith("-") else "[PROMPTS]...") in command("generate", "--help").out
