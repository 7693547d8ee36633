"""Devices: their names, and that nothing of a step is left on the CPU or waited for.

The device is torch's `meta`, which has shapes and no numbers. Whatever waits for a number fails there.
"""

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foley.errors import UsageError
from foley_export.demo_model import __main__ as command
from foley_export.demo_model import autoencoder, denoising, grain, reading, recipe, training, vocoding
from foley_export.demo_model.autoencoder import new_autoencoder, train_autoencoder
from foley_export.demo_model.denoising import train_denoiser
from foley_export.demo_model.device import autoencoder_on, find_device
from foley_export.demo_model.grain import train_grain
from foley_export.demo_model.latents import Latents, decode, encode
from foley_export.demo_model.reading import new_text_encoder, train_text_encoder
from foley_export.demo_model.recipe import Recipe, make_demo_model
from foley_export.demo_model.scenes import Event, Scene
from foley_export.demo_model.training import adamw, descend, learning_rate, train
from foley_export.demo_model.vocoding import train_vocoder

CPU, META = torch.device("cpu"), torch.device("meta")
COPIES = (torch.ops.aten.copy_.default, torch.ops.aten._to_copy.default)


class OneDevice(TorchDispatchMode):
    """Refuses operations on tensors of several devices, copies excepted."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        devices = {each.device.type for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)}
        assert len(devices) < 2 or func in COPIES, f"{func} on {devices}"
        return func(*args, **(kwargs or {}))


def devices(values: object) -> set[str]:
    return {each.device.type for each in tree_leaves(values) if isinstance(each, Tensor)}


def sees(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Let torch see so many CUDA devices."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("cpu", CPU),
        ("cuda", torch.device("cuda", 0)),
        ("cuda:0", torch.device("cuda", 0)),
        ("cuda:1", torch.device("cuda", 1)),
    ],
)
def test_a_device_that_is_there_is_found(monkeypatch, name, device):
    sees(monkeypatch, 2)
    assert find_device(name) == device


@pytest.mark.parametrize("name", ["", "gpu", "meta", "cpu:0", "CUDA", "cuda:", "cuda:-1", "cuda:1.5", "cuda:¹"])
def test_another_name_is_refused(monkeypatch, name):
    sees(monkeypatch, 2)
    with pytest.raises(UsageError) as refused:
        find_device(name)
    assert str(refused.value) == f"--device {name}, expected cpu, cuda or cuda:N"


@pytest.mark.parametrize(
    ("name", "count", "expected"),
    [
        (
            "cuda",
            0,
            "sees 0 CUDA devices, expected 1 or more; install a torch for CUDA and its driver, or use --device cpu",
        ),
        ("cuda:2", 2, "sees 2 CUDA devices, expected 3 or more; choose another one"),
        ("cuda:99999999999", 2, "sees 2 CUDA devices, expected 100000000000 or more; choose another one"),
    ],
)
def test_a_device_that_is_not_there_is_refused(monkeypatch, name, count, expected):
    sees(monkeypatch, count)
    with pytest.raises(UsageError) as refused:
        find_device(name)
    assert str(refused.value) == f"--device {name}: torch {torch.__version__} {expected}"


def test_the_command_refuses_a_missing_device_in_one_line_before_any_work(monkeypatch, capsys, tmp_path):
    sees(monkeypatch, 0)
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path / "new"), "--device", "cuda"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: --device cuda: torch ")
    assert not (tmp_path / "new").exists()


def test_the_command_hands_its_device_on(monkeypatch, tmp_path):
    sees(monkeypatch, 2)
    asked = []
    monkeypatch.setattr(command, "make_demo_model", lambda *given: asked.append(given) or tmp_path)
    monkeypatch.setattr(command, "plot_losses", lambda _, target: target)
    monkeypatch.setattr(sys, "argv", ["demo_model", str(tmp_path), "--device", "cuda:1"])
    command.main()
    assert asked == [(tmp_path, Recipe(), torch.device("cuda", 1))]


def test_every_stage_is_given_the_device(monkeypatch, tmp_path):
    """And `recipe.json` is the same on all."""
    given = {}
    for name in vars(recipe):
        if name.startswith(("train_", "open_", "write_")) or name == "autoencoder_on":
            monkeypatch.setattr(recipe, name, lambda *values, name=name: given.update({name: values}))
    monkeypatch.setattr(recipe, "open_latents", lambda *_: Latents(None, 1.0))
    notes = []
    for device in (META, CPU):
        make_demo_model(tmp_path, Recipe(), device)
        notes.append((tmp_path / "recipe.json").read_bytes())
        placed = {name for name, values in given.items() if values[-1] == device}
        stages = ("autoencoder", "grain", "vocoder", "text_encoder", "denoiser")
        assert placed == {"autoencoder_on", *(f"train_{stage}" for stage in stages)}
    assert notes[0] == notes[1]


@pytest.mark.usefixtures("small_batches")
def test_a_step_leaves_nothing_on_the_cpu_and_waits_for_nothing(new_task):
    task = new_task(META)
    with OneDevice():
        losses = task.advance(0)
    assert devices(losses) == {"meta"}
    whole = [*task.modules.values(), *(part for part in vars(task).values() if isinstance(part, nn.Module))]
    assert {device for part in whole for device in devices(part.state_dict())} == {"meta"}
    taught = [group["params"] for optimiser in task.optimisers for group in optimiser.param_groups]
    assert devices(taught) == {"meta"}
    moments = [optimiser.state_dict()["state"] for optimiser in task.optimisers]
    assert devices(
        [value for state in moments for each in state.values() for name, value in each.items() if name != "step"]
    ) == {"meta"}


def trained(stage: str, sounds, vocabulary, folder) -> nn.Module:
    """What a stage gives that is trained on the device."""
    if stage == "autoencoder":
        return train_autoencoder(sounds, folder, 1, META)
    if stage == "grain":
        return train_grain(sounds, new_autoencoder(), folder, 1, META)
    if stage == "vocoder":
        return train_vocoder(sounds, sounds.mels, folder, 1, 1, META)
    if stage == "reading":
        return train_text_encoder(vocabulary, folder, 1, META)
    return train_denoiser(Latents(sounds.mels[:, None], 1.0), new_text_encoder(vocabulary), vocabulary, folder, 1, META)


@pytest.mark.parametrize("stage", ["autoencoder", "grain", "vocoder", "reading", "denoiser"])
def test_a_stage_gives_its_networks_on_the_cpu(monkeypatch, sounds, vocabulary, tmp_path, stage):
    for module in (autoencoder, grain, vocoding, reading, denoising):
        monkeypatch.setattr(module, "train", lambda *_: None)
    monkeypatch.setattr(vocoding, "read_silence_beyond", lambda *_: None)
    monkeypatch.setattr(nn.Module, "cpu", lambda module: module.to_empty(device="cpu"))
    with OneDevice():
        assert devices(trained(stage, sounds, vocabulary, tmp_path).state_dict()) == {"cpu"}


def test_the_denoiser_leaves_the_text_encoder_where_it_was(vocabulary, monkeypatch):
    text = new_text_encoder(vocabulary)
    monkeypatch.setattr(denoising, "training_scene", lambda _: Scene((Event("hum"),)))
    denoising.DenoisingTask(Latents(torch.zeros(1, 4, 32, 32).half().numpy(), 1.0), text, vocabulary, 1, META)
    assert devices(text.state_dict()) == {"cpu"}


def test_an_autoencoder_elsewhere_takes_and_gives_what_lies_on_the_cpu(monkeypatch):
    vae = new_autoencoder()
    monkeypatch.setattr(Tensor, "cpu", lambda tensor: torch.zeros(tensor.shape))
    away = autoencoder_on(vae, META)
    with OneDevice():
        latents = encode(away, torch.zeros(2, 256, 64))
        assert (latents.shape, latents.device) == ((2, 4, 32, 8), CPU)
        mels = decode(away, latents)
    assert (mels.shape, mels.device) == ((2, 256, 64), CPU)
    assert (devices(vae.state_dict()), devices(away.state_dict())) == ({"cpu"}, {"meta"})


def test_an_autoencoder_that_stays_makes_the_same():
    torch.manual_seed(0)
    vae, mel = new_autoencoder(), torch.randn(1, 256, 64, generator=torch.Generator().manual_seed(0))
    stayed = autoencoder_on(vae, CPU)
    latents = encode(vae, mel)
    assert torch.equal(encode(stayed, mel), latents)
    assert torch.equal(decode(stayed, latents), decode(vae, latents))


class Line:
    """A stage of one linear layer."""

    name = "line"

    def __init__(self, steps: int) -> None:
        torch.manual_seed(0)
        self.steps, self.modules = steps, nn.ModuleDict({"model": nn.Linear(3, 2)})
        self.optimisers = [adamw(self.modules, 0.1)]

    def advance(self, step: int) -> dict[str, Tensor]:
        loss = (self.modules["model"](torch.ones(1, 3)) - step).square().mean()
        descend(loss, self.modules, *self.optimisers)
        return {"loss": loss.detach()}


def test_a_state_of_another_device_is_resumed(tmp_path, monkeypatch):
    whole, begun, resumed = Line(4), Line(2), Line(4)
    for name in ("whole", "moved"):
        (tmp_path / name).mkdir()
    train(whole, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda _: "cuda:0")
        patched.setattr(training, "learning_rate", lambda step, _: learning_rate(step, 4))
        train(begun, tmp_path / "moved")
    with pytest.raises(RuntimeError, match="CUDA"):
        torch.load(tmp_path / "moved/line.state", weights_only=True)
    train(resumed, tmp_path / "moved")
    assert torch.equal(resumed.modules["model"].weight, whole.modules["model"].weight)
