"""The whole recipe with a few steps a stage: a checkpoint that export reads, and a repetition that trains nothing."""

import errno
import json
import os
import subprocess
import sys
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from support.commands import ROOT
from tokenizers import Tokenizer
from transformers import CLIPTokenizerFast

from foley.errors import FailureError, UsageError
from foley.schedule import alphas_cumprod
from foley_bench.checkpoints import write_checkpoint
from foley_bench.parity.figures import load_quietly
from foley_bench.parity.reference import Setting
from foley_export.checkpoint import open_checkpoint
from foley_export.demo_model import __main__ as command
from foley_export.demo_model.__main__ import main
from foley_export.demo_model.ends import read_silence_beyond
from foley_export.demo_model.origin import bind_folder
from foley_export.demo_model.readers import Reader
from foley_export.demo_model.recipe import Recipe, make_demo_model
from foley_export.demo_model.vocoding import AMPLITUDES, NOISE, plain, written
from foley_export.systems import read_model
from foley_export.weights import fold_weight_norm, read_state
from foley_export.weights import tensors as floating

CPU = torch.device("cpu")
FEW = Recipe(sounds=8, latents=8, autoencoder=2, grain=2, amplitudes=4, gates=3, reading=2, denoiser=2)
STAGES = {"autoencoder": 2, "grain": 2, "amplitudes": 4, "gates": 3, "reading": 2, "denoiser": 2}
COMPONENTS = ("text_encoder", "unet", "vae")
MOST_PARAMETERS = 6.0e6
MOST_BYTES = 12.5e6
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(str(ROOT / name) for name in ("runtime", "engines", "export")),
}


@dataclass(frozen=True)
class Made:
    folder: Path
    checkpoint: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    return Made(folder, make_demo_model(folder / "work", FEW, CPU))


@pytest.fixture(scope="module")
def model(made):
    return read_model(open_checkpoint(str(made.checkpoint)))


def demo_model(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "foley_export.demo_model", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        timeout=300,
        check=False,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def tensors(made: Made, component: str) -> dict[str, torch.Tensor]:
    (file,) = (made.checkpoint / component).glob("*.safetensors")
    return load_file(file)


def vocoder(made: Made) -> dict[str, torch.Tensor]:
    return read_state(made.checkpoint / "vocoder/vocoder.pt")["generator"]


def test_every_number_of_the_recipe_is_an_option(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["demo_model", "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0
    shown = capsys.readouterr().out
    for field in fields(Recipe):
        assert field.default > 0
        assert f"--{field.name.replace('_', '-')} N" in shown


@pytest.mark.parametrize("number", ["many", "0", "-3", "1.5", ""])
def test_what_is_no_count_is_refused(monkeypatch, capsys, tmp_path, number):
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path / "new"), f"--sounds={number}"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert f"--sounds: got {number}, expected a whole number from 1 up" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_file_for_a_folder_is_refused(monkeypatch, capsys, tmp_path):
    file = tmp_path / "notes.txt"
    file.write_text("x", encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["demo_model", str(file)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    assert f"{file} is a file, expected a folder" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8") == "x"


def test_a_folder_of_another_recipe_is_refused_before_any_work(monkeypatch, capsys, tmp_path):
    bind_folder(tmp_path, asdict(FEW))
    options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(replace(FEW, grain=3)).items()]
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path), *options])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {tmp_path / 'recipe.json'} has grain 2, expected 3; choose another folder")
    assert [file.name for file in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (UsageError("a; do b"), "error: a; do b", 2),
        (FailureError("a went wrong"), "error: a went wrong", 1),
        (OSError(errno.ENOSPC, "No space left on device", "out/mels-8.part"), "error: out/mels-8.part: No space", 2),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_goes_wrong_is_one_line(monkeypatch, capsys, tmp_path, error, line, code):
    def failing(*_):
        raise error

    monkeypatch.setattr(command, "make_demo_model", failing)
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path)])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == code
    (written,) = capsys.readouterr().err.splitlines()
    assert written.startswith(line)


def test_options_become_the_recipe(monkeypatch, capsys, tmp_path):
    asked = []
    monkeypatch.setattr(command, "make_demo_model", lambda *given: asked.append(given) or tmp_path)
    monkeypatch.setattr(command, "plot_losses", lambda _, target: target)
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path), "--gates", "7", "--sounds", "3"])
    main()
    assert asked == [(tmp_path, Recipe(gates=7, sounds=3), CPU)]
    assert capsys.readouterr().out.split() == [str(tmp_path), str(tmp_path / "losses.png")]


@pytest.mark.slow
class TestCheckpoint:
    def test_its_files_are_those_of_the_released_layout(self, made, tmp_path):
        released = write_checkpoint(tmp_path / "released", layout="no-adapter")
        assert set(contents(made.checkpoint)) == set(contents(released))

    def test_every_stage_left_its_state_and_nothing_half_done(self, made):
        work = made.checkpoint.parent
        assert {file.stem: torch.load(file, weights_only=True)["done"] for file in work.glob("*.state")} == STAGES
        assert list(work.rglob("*.part")) == []

    def test_every_stage_logged_its_last_step(self, made):
        lines = (made.checkpoint.parent / "losses.jsonl").read_text(encoding="utf-8").splitlines()
        last = {row["stage"]: row for row in map(json.loads, lines)}
        assert {stage: row["step"] for stage, row in last.items()} == STAGES
        assert all(np.isfinite(value) for row in last.values() for value in row.values() if isinstance(value, float))

    @pytest.mark.parametrize("component", COMPONENTS)
    def test_weights_are_half(self, made, component):
        assert {value.dtype for value in tensors(made, component).values()} == {torch.float16}

    def test_it_is_small(self, made):
        parts = [*(tensors(made, component) for component in COMPONENTS), fold_weight_norm(vocoder(made))]
        assert sum(value.numel() for part in parts for value in part.values()) <= MOST_PARAMETERS
        assert sum(map(len, contents(made.checkpoint).values())) <= MOST_BYTES

    def test_export_knows_it(self, model):
        assert model.system == "auffusion"
        assert (model.audio.sample_rate_hz, model.audio.hop_samples, model.audio.mel_bins) == (16000, 160, 256)
        assert (model.latents.channels, model.latents.bins, model.latents.frames_per_column) == (4, 32, 8)
        assert model.latents.column_multiple <= 8  # 0.64 s at most
        assert model.conditioning.unconditional == "empty_prompt"
        assert (model.schedule.prediction_type, model.schedule.timestep_spacing) == ("v_prediction", "trailing")
        assert model.defaults.sampler == "pndm"

    @pytest.mark.parametrize("name", ["text_encoder", "denoise_step", "latent_decoder", "vocoder"])
    def test_every_graph_is_built_and_runs(self, model, name):
        plan = next(plan for plan in model.graphs if plan.name == name)
        with torch.no_grad():
            output = plan.build()(*plan.example().values())
        assert output.dtype == torch.float32
        assert output.isfinite().all()

    def test_the_last_timestep_hides_the_clip(self, model):
        assert 0 < alphas_cumprod(model.schedule)[-1] < 1e-3

    def test_the_scale_is_that_of_the_latents(self, made):
        config = json.loads((made.checkpoint / "vae/config.json").read_text(encoding="utf-8"))
        latents = np.load(made.checkpoint.parent / "latents-8.npy").astype(np.float32)
        assert config["scaling_factor"] == pytest.approx(1 / latents.std(), rel=1e-4)

    @pytest.mark.parametrize(
        ("stage", "prefix", "component"),
        [("grain", "mean.", "vae"), ("denoiser", "mean.", "unet"), ("reading", "text.", "text_encoder")],
    )
    def test_weights_are_those_of_the_states(self, made, stage, prefix, component):
        state = torch.load(made.checkpoint.parent / f"{stage}.state", weights_only=True)["modules"]
        written = tensors(made, component)
        assert written
        assert all(torch.equal(value, state[prefix + name].half()) for name, value in written.items())

    def test_the_vocoder_reads_by_the_averages_of_both_its_stages(self, made):
        generator = written()
        for stage, place in (("amplitudes", AMPLITUDES), ("gates", NOISE)):
            state = torch.load(made.checkpoint.parent / f"{stage}.state", weights_only=True)["modules"]
            mean = Reader(written(), place)
            own = {name.removeprefix("mean."): value for name, value in state.items() if name.startswith("mean.")}
            mean.load_state_dict(own)
            mean.write(generator)
        generator = plain(generator)
        mels = [np.load(made.checkpoint.parent / f"{name}-8.npy") for name in ("mels", "decoded")]
        read_silence_beyond(generator, torch.from_numpy(np.concatenate(mels).astype(np.float32)))
        expected = generator.state_dict()
        for name, value in fold_weight_norm(floating(vocoder(made))).items():
            torch.testing.assert_close(value.half(), expected[name].half(), rtol=5e-3, atol=5e-5)

    def test_its_bundle_tokenizer_reads_captions_as_its_folder_does(self, made, model, tmp_path):
        (write,) = model.tokenizers.values()
        write(tmp_path / "tokenizer.json")
        bundled = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
        stock = CLIPTokenizerFast.from_pretrained(str(made.checkpoint / "tokenizer"))
        for text in ("two high-pitched beeps, then an engine hum", "Ünïcode 犬", ""):
            assert bundled.encode(text).ids == stock(text).input_ids

    def test_stock_diffusers_run_it(self, made):
        reference = load_quietly(made.checkpoint)
        sound = reference.generate(Setting("ddim", 2, prompt="a low bell", columns=8))
        assert np.isfinite(sound.samples).all()

    def test_again_as_a_command_it_trains_nothing_and_writes_the_same(self, made):
        pytest.importorskip("matplotlib")
        work = made.checkpoint.parent
        before, log = contents(made.checkpoint), (work / "losses.jsonl").read_bytes()
        states = {file: file.stat().st_mtime_ns for file in [*work.glob("*.state"), *work.glob("*.npy")]}
        options = [f"--{name.replace('_', '-')}={value}" for name, value in asdict(FEW).items()]
        done = demo_model(work, *options)
        assert done.returncode == 0, done.stderr
        assert done.stdout.split() == [str(made.checkpoint), str(work / "losses.png")]
        assert not any(line.startswith(("sounds ", *STAGES)) for line in done.stderr.splitlines())
        assert contents(made.checkpoint) == before
        assert (work / "losses.jsonl").read_bytes() == log
        assert {file: file.stat().st_mtime_ns for file in states} == states
        assert (work / "losses.png").read_bytes().startswith(b"\x89PNG")
