"""Checkpoints that cannot be read: each error names the file or tensor, what was got and what was expected."""

import json
import os
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from foley.errors import CheckpointError
from foley_export.checkpoint import open_checkpoint
from foley_export.weights import fold_weight_norm, read_state

UNET = "unet/diffusion_pytorch_model.safetensors"


def refused(read, folder: Path, graph: str | None = None) -> str:
    """Read a checkpoint, and build one graph of it; give the message of the error that this must raise."""

    def attempt() -> None:
        model = read(folder)
        next(plan for plan in model.graphs if plan.name == graph).build()

    with pytest.raises(CheckpointError) as caught:
        attempt()
    message = str(caught.value)
    assert "\n" not in message
    return message


def holds(message: str, *words: str) -> None:
    assert [word for word in words if word not in message] == [], message


REQUIRED = {
    "no-adapter": [
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "text_encoder/model.safetensors",
        "unet/config.json",
        UNET,
        "vae/config.json",
        "vae/diffusion_pytorch_model.safetensors",
        "vocoder/config.json",
        "vocoder/vocoder.pt",
    ],
    "adapter": [
        "condition_adapter_0/condition_adapter.pt",
        "condition_adapter_0/config.json",
        "text_encoder_0/config.json",
        "text_encoder_0/model.safetensors",
    ],
}


@pytest.mark.parametrize(("layout", "name"), [(layout, name) for layout, names in REQUIRED.items() for name in names])
def test_a_missing_file_is_named_before_anything_is_built(own, read, layout, name):
    folder = own(layout=layout)
    (folder / name).unlink()
    said = refused(read, folder, "text_encoder" if "model.safetensors" in name else None)
    holds(said, "weights in " + name.split("/")[0] if name.endswith("safetensors") else name, "lacks")


@pytest.mark.parametrize(
    ("encoder", "missing"), [("clip", "merges.txt"), ("clip", "vocab.json"), ("t5", "spiece.model")]
)
def test_a_missing_vocabulary_is_named(own, read, encoder, missing):
    """transformers would make an empty tokenizer without a word."""
    folder = own(encoders=(encoder,))
    for name in (missing, "tokenizer.json"):
        (folder / "text_encoder_0" / name).unlink(missing_ok=True)
    with pytest.raises(CheckpointError) as caught:
        read(folder)
    holds(str(caught.value), f"{encoder} tokenizer in text_encoder_0/", "tokenizer.json", missing)


def test_a_truncated_safetensors_file(own, read):
    folder = own()
    os.truncate(folder / UNET, (folder / UNET).stat().st_size - 100)
    holds(refused(read, folder, "denoise_step"), UNET, "cannot be read", "download it again")


@pytest.mark.parametrize("size", [0, 50, -100])
def test_a_truncated_pickle(own, read, size):
    folder = own(weights="bin")
    place = folder / "vae" / "diffusion_pytorch_model.bin"
    os.truncate(place, size if size >= 0 else place.stat().st_size + size)
    holds(refused(read, folder, "latent_decoder"), str(place), "cannot be read", "download it again")


class Attack:
    """A pickle that creates a file when it is loaded the way old tools load it."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self):
        return os.system, (f"touch {self.target}",)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol:UserWarning")  # torch's, of a plain pickle
@pytest.mark.parametrize("name", ["vae/diffusion_pytorch_model.bin", "vocoder/vocoder.pt"])
@pytest.mark.parametrize("plain", [True, False], ids=["pickle", "torch"])
def test_a_pickle_runs_no_code(own, read, tmp_path, name, plain):
    folder, proof = own(weights="bin"), tmp_path / "executed"
    if plain:
        (folder / name).write_bytes(pickle.dumps({"generator": Attack(proof)}))
    else:
        torch.save({"generator": Attack(proof)}, folder / name)
    graph = "vocoder" if "vocoder" in name else "latent_decoder"
    holds(refused(read, folder, graph), str(folder / name), "cannot be read")
    assert not proof.exists()


def test_the_attack_works_where_pickles_are_trusted(tmp_path):
    torch.save({"generator": Attack(tmp_path / "executed")}, tmp_path / "file.pt")
    torch.load(tmp_path / "file.pt", weights_only=False)
    assert (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", [torch.zeros(3), [1, 2]], ids=["tensor", "list"])
def test_a_pickle_that_is_no_state(own, read, content):
    folder = own()
    torch.save(content, folder / "vocoder" / "vocoder.pt")
    holds(refused(read, folder, "vocoder"), "vocoder.pt", type(content).__name__, "expected tensors by name")


@pytest.mark.parametrize(
    ("name", "tensor", "graph"),
    [
        (UNET, "mid_block.resnets.1.conv2.weight", "denoise_step"),
        ("vae/diffusion_pytorch_model.safetensors", "decoder.mid_block.attentions.0.to_q.weight", "latent_decoder"),
        ("text_encoder_0/model.safetensors", "text_model.final_layer_norm.bias", "text_encoder"),
    ],
)
def test_a_missing_tensor_is_named(own, read, name, tensor, graph):
    folder = own()
    state = load_file(folder / name)
    del state[tensor]
    save_file(state, folder / name)
    holds(refused(read, folder, graph), tensor.removeprefix("text_model."), "1 of", "missing")


def test_a_tensor_of_another_shape_is_named(own, read):
    folder, name = own(), "conv_in.weight"
    state = load_file(folder / UNET)
    state[name] = state[name][:, :3].contiguous()
    save_file(state, folder / UNET)
    holds(refused(read, folder, "denoise_step"), f"unet: {name}", "[32, 3, 3, 3]", "[32, 4, 3, 3]", "config.json")


def test_an_adapter_of_another_width(own, read):
    folder = own()
    place = folder / "condition_adapter_0" / "condition_adapter.pt"
    state = torch.load(place, weights_only=True)
    torch.save(state | {"proj.weight": torch.zeros(32, 99)}, place)
    holds(refused(read, folder, "text_encoder"), "condition_adapter_0", "proj.weight", "[32, 99]", "[32, 32]")


@pytest.mark.parametrize(
    "name", ["unet/config.json", "scheduler/scheduler_config.json", "vocoder/config.json", "condition_config.json"]
)
@pytest.mark.parametrize("content", [b'{"in_channels": ', b"\xff\xfe", b""], ids=["cut", "binary", "empty"])
def test_a_config_that_is_no_json(own, read, name, content):
    folder = own()
    (folder / name).write_bytes(content)
    holds(refused(read, folder), str(folder / name), "is not JSON")


def test_a_config_that_is_no_object(own, read):
    folder = own()
    (folder / "unet" / "config.json").write_text("[1]")
    holds(refused(read, folder), "unet/config.json", "list", "object")


@pytest.mark.parametrize("content", ["{}", "[]", "[1]"])
def test_a_condition_config_that_is_no_list_of_conditions(own, read, content):
    folder = own()
    (folder / "condition_config.json").write_text(content)
    holds(refused(read, folder), "condition_config.json", "expected one object a text encoder")


CONFIG_KEYS = [
    ("condition_config.json", "text_encoder_name"),
    ("condition_config.json", "condition_adapter_name"),
    ("vocoder/config.json", "upsample_rates"),
    ("vocoder/config.json", "num_mels"),
    ("text_encoder_0/config.json", "hidden_size"),
    ("text_encoder_0/config.json", "architectures"),
    ("unet/config.json", "block_out_channels"),
    ("vae/config.json", "block_out_channels"),
]


@pytest.mark.parametrize(("name", "key"), CONFIG_KEYS)
def test_a_missing_key_is_named(own, read, name, key):
    folder = own()
    config = json.loads((folder / name).read_text())
    del (config[0] if isinstance(config, list) else config)[key]
    (folder / name).write_text(json.dumps(config))
    holds(refused(read, folder), name.rpartition("/")[2] if "text" in name else name, key[:12])


def test_an_unknown_text_encoder(own, read):
    folder = own()
    place = folder / "text_encoder_0" / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"architectures": ["BertModel"]}))
    holds(refused(read, folder), "text_encoder_0/config.json", "'BertModel'", "CLIPTextModel", "T5EncoderModel")


def test_a_unet_of_another_conditioning_width(own, read):
    folder = own()
    place = folder / "unet" / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"cross_attention_dim": 768}))
    holds(refused(read, folder), "cross_attention_dim 768", "32")


def test_a_vocoder_without_its_key(own, read):
    folder = own()
    place = folder / "vocoder" / "vocoder.pt"
    torch.save({"state_dict": {}, "steps": 3}, place)
    holds(refused(read, folder, "vocoder"), "vocoder/vocoder.pt", "state_dict, steps", "'generator'")


def test_weight_norm_without_its_other_half():
    with pytest.raises(CheckpointError, match=r"ups\.0\.weight_v has no ups\.0\.weight_g"):
        fold_weight_norm({"ups.0.weight_v": torch.ones(2, 3, 4)})
    assert list(fold_weight_norm({"a.weight_g": torch.ones(2, 1, 1), "a.weight_v": torch.ones(2, 3, 4)})) == [
        "a.weight"
    ]


@pytest.mark.parametrize(("key", "value"), [("hop_size", 256), ("num_mels", "many"), ("upsample_rates", 5)])
def test_a_vocoder_config_of_another_kind(own, read, key, value):
    folder = own()
    place = folder / "vocoder" / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {key: value}))
    holds(refused(read, folder), "vocoder/config.json")


def test_a_residual_block_of_another_type(own, read):
    folder = own()
    place = folder / "vocoder" / "config.json"
    place.write_text(json.dumps(json.loads(place.read_text()) | {"resblock": "2"}))
    holds(refused(read, folder), "vocoder/config.json", "resblock '2'")


@pytest.mark.parametrize("names", [[], ["model_index.json"], ["unet/config.json"]])
def test_an_unknown_layout(tmp_path, read, names):
    folder = tmp_path / "thing"
    for name in ("readme.txt", *names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    holds(refused(read, folder), "thing has no known layout", "condition_config.json", "model_index.json")


@pytest.mark.parametrize("place", ["no/such/folder", "./folder", "/no/folder", "~nobody/folder", "plainword"])
def test_a_place_that_is_neither_folder_nor_hub_id(place):
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(place)
    holds(str(caught.value), f"there is no folder {place}", "auffusion/auffusion-full")


def test_a_file_in_place_of_a_folder(tmp_path):
    file = tmp_path / "model.ckpt"
    file.write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"model.ckpt is a file, expected a checkpoint's folder"):
        open_checkpoint(str(file))


def test_a_weights_file_that_vanished(tmp_path):
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_state(tmp_path / "gone.safetensors")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["unet/config.json"], "a U-Net alone goes with its pipeline: foley export PIPELINE --unet"),
        (["diffusion_pytorch_model.safetensors"], "foley export PIPELINE --unet"),
        (["model_index.json", "unet/config.json"], "put the one that it was made for in vocoder/"),
    ],
)
def test_what_training_leaves_behind_is_told_with_what_to_do(tmp_path, read, names, words):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    holds(refused(read, tmp_path), "has no known layout", words)
