"""The checkpoint appears whole; weight norm, multiplied out, gives the half-rounded weights back."""

from pathlib import Path

import numpy as np
import pytest
import torch

from foley_bench.checkpoints import write_checkpoint
from foley_export.demo_model import publishing
from foley_export.demo_model.files import write_json
from foley_export.demo_model.publishing import FEATURE_EXTRACTOR, MODEL_INDEX, SCHEDULER, with_weight_norm
from foley_export.demo_model.vocoding import CONFIG
from foley_export.scheduler_config import default_sampler, noise_schedule
from foley_export.vocoder import Generator, vocoder_config
from foley_export.weights import fold_weight_norm, tensors


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(vocoder_config(CONFIG))


def test_folding_gives_the_half_rounded_weights_back(generator):
    folded = fold_weight_norm(tensors(with_weight_norm(generator)))
    weights = generator.state_dict()
    assert set(folded) == set(weights)
    for name, weight in weights.items():
        assert torch.equal(folded[name].half(), weight.half()), name
        torch.testing.assert_close(folded[name], weight.half().float(), rtol=2e-7, atol=0)


def test_lengths_are_norms_of_output_channels_and_directions_half(generator):
    state = with_weight_norm(generator)
    for name, value in state.items():
        if name.endswith("_g"):
            direction = state[f"{name.removesuffix('_g')}_v"]
            assert value.shape == (len(direction), 1, 1)
            assert (value.dtype, direction.dtype) == (torch.float32, torch.float16)
            np.testing.assert_allclose(value.flatten(), direction.float().flatten(1).norm(dim=1), rtol=1e-6)


def test_rows_of_zeros_stay_zeros():
    silent = Generator(vocoder_config(CONFIG))
    with torch.no_grad():
        silent.conv_pre.weight[3] = 0.0
    folded = fold_weight_norm(tensors(with_weight_norm(silent)))["conv_pre.weight"]
    assert torch.equal(folded.half(), silent.conv_pre.weight.half())


def test_the_generator_is_left_alone(generator):
    with_weight_norm(generator)
    assert {value.dtype for value in generator.state_dict().values()} == {torch.float32}


def test_names_are_those_of_the_released_vocoder(generator, tmp_path):
    """The released one has a third kernel size, so that its residual blocks are numbered differently."""
    folder = write_checkpoint(tmp_path / "released", layout="no-adapter")
    released = torch.load(folder / "vocoder/vocoder.pt", weights_only=True)["generator"]

    def kinds(state):
        return {".".join(part for part in name.split(".") if not part.isdigit()) for name in state}

    assert kinds(with_weight_norm(generator)) == kinds(released)


def test_export_understands_the_schedule():
    config = {"_class_name": "PNDMScheduler", **SCHEDULER}
    schedule = noise_schedule(config)
    assert default_sampler(config) == "pndm"
    assert schedule.prediction_type == "v_prediction"


class Part:
    """A stand-in for a module of diffusers or transformers."""

    def __init__(self, content: str, *, interrupted: bool = False) -> None:
        self.content, self.interrupted = content, interrupted

    def half(self) -> "Part":
        return self

    def float(self) -> "Part":
        return self

    def register_to_config(self, **_: object) -> None:
        pass

    def save_pretrained(self, folder: Path) -> None:
        write_json(folder / "config.json", {"content": self.content})
        if self.interrupted:
            raise KeyboardInterrupt


@pytest.fixture
def publish(monkeypatch, generator, tmp_path):
    """Return a function that writes a checkpoint of stand-ins."""
    monkeypatch.setattr(publishing, "write_vocabulary", lambda folder: folder.mkdir())

    def written(content: str, *, interrupted: bool = False) -> Path:
        parts = {"text": Part(content), "unet": Part(content), "vae": Part(content, interrupted=interrupted)}
        publishing.write_checkpoint(tmp_path / "checkpoint", {**parts, "vocoder": generator}, 0.5)
        return tmp_path / "checkpoint"

    return written


def test_a_checkpoint_takes_the_place_of_an_older_one(publish, tmp_path):
    (publish("old") / "unet/stale.safetensors").touch()
    folder = publish("new")
    assert '"new"' in (folder / "unet/config.json").read_text()
    assert not (folder / "unet/stale.safetensors").exists()
    assert (folder / "vocoder/vocoder.pt").exists()
    assert list(tmp_path.iterdir()) == [folder]


def test_an_interruption_leaves_the_older_checkpoint(publish, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        publish("new", interrupted=True)
    assert list(tmp_path.iterdir()) == []
    folder = publish("old")
    with pytest.raises(KeyboardInterrupt):
        publish("new", interrupted=True)
    assert '"old"' in (folder / "unet/config.json").read_text()
    assert list(tmp_path.iterdir()) == [folder]


@pytest.mark.parametrize(
    ("name", "content"),
    [("feature_extractor/preprocessor_config.json", FEATURE_EXTRACTOR), ("model_index.json", MODEL_INDEX)],
)
def test_the_interim_checkpoint_is_as_the_recipe_writes_it(tmp_path, name, content):
    write_json(tmp_path / name, content)
    interim = Path(publishing.__file__).parent / "checkpoint"
    assert (interim / name).read_bytes() == (tmp_path / name).read_bytes()
