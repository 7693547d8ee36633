"""LoRA weights fused before tracing, against diffusers' own loading and fusing."""

import json

import diffusers
import pytest
import torch
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from foley.bundle import sha256
from foley.errors import CheckpointError
from foley.verify import snr_db
from foley_export.checkpoint import open_checkpoint
from foley_export.lora import Lora, parse_lora
from foley_export.systems import read_model

FILE = "pytorch_lora_weights.safetensors"
UNET = ["to_q", "to_k", "to_v", "to_out.0"]
TEXT = ["q_proj", "v_proj", "fc1"]


@pytest.fixture(scope="module")
def folder(checkpoint):
    return checkpoint(layout="no-adapter")


@pytest.fixture(scope="module")
def file(folder, tmp_path_factory):
    """A LoRA of U-Net and text encoder, saved by diffusers."""
    torch.manual_seed(0)
    pipeline = load_pipeline(folder)
    for module, targets, alpha in ((pipeline.unet, UNET, 4), (pipeline.text_encoder, TEXT, 8)):
        module.add_adapter(LoraConfig(r=4, lora_alpha=alpha, init_lora_weights=False, target_modules=targets))
    unet, text = (
        convert_state_dict_to_diffusers(get_peft_model_state_dict(module))
        for module in (pipeline.unet, pipeline.text_encoder)
    )
    target = tmp_path_factory.mktemp("lora")
    diffusers.StableDiffusionPipeline.save_lora_weights(target, unet_lora_layers=unet, text_encoder_lora_layers=text)
    return target / FILE


def load_pipeline(folder):
    return diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)


def fused_pipeline(folder, *files, scale):
    pipeline = load_pipeline(folder)
    for index, file in enumerate(files):
        pipeline.load_lora_weights(file.parent, weight_name=file.name, adapter_name=f"a{index}")
    pipeline.fuse_lora(lora_scale=scale, adapter_names=[f"a{index}" for index in range(len(files))])
    return pipeline


def modules(folder, *loras):
    return {plan.name: plan.build() for plan in read_model(open_checkpoint(str(folder)), loras).graphs}


@torch.no_grad()
def outputs(unet, text):
    ids = torch.arange(77)[None] + 5
    sample = torch.randn(1, 4, 32, 8, generator=torch.Generator().manual_seed(1))
    hidden = text(ids).last_hidden_state
    return hidden.numpy(), unet(sample, 500, hidden).sample.numpy()


def of_modules(built):
    return outputs(built["denoise_step"].unet, built["text_encoder"].encoder.model)


@pytest.mark.parametrize("scale", [0.5, 1.0, -0.7])
def test_fused_as_diffusers_fuses(folder, file, scale):
    pipeline = fused_pipeline(folder, file, scale=scale)
    plain = of_modules(modules(folder))
    got = of_modules(modules(folder, parse_lora(f"{file}@{scale}")))
    for expected, mine, without in zip(outputs(pipeline.unet, pipeline.text_encoder), got, plain, strict=True):
        assert snr_db(expected, mine) > 100
        assert snr_db(expected, without) < 60  # it changes something


def test_lora_layers_under_their_newer_names(folder, file, tmp_path):
    """peft's own spelling, `unet.….lora_A.weight`, and a file that has nothing for the text encoder."""
    renames = {".lora.down.": ".lora_A.", ".lora.up.": ".lora_B."}
    state = {name: tensor for name, tensor in load_file(file).items() if name.startswith("unet.")}
    for old, new in renames.items():
        state = {name.replace(old, new): tensor for name, tensor in state.items()}
    assert all("lora_A.weight" in name or "lora_B.weight" in name for name in state)
    save_file(state, tmp_path / "newer.safetensors")
    hidden, sample = of_modules(modules(folder, Lora(tmp_path / "newer.safetensors", 0.5)))
    expected = outputs(
        fused_pipeline(folder, tmp_path / "newer.safetensors", scale=0.5).unet, load_pipeline(folder).text_encoder
    )
    assert snr_db(expected[0], hidden) > 100
    assert snr_db(expected[1], sample) > 100


def test_text_layers_under_their_older_names(folder, file, tmp_path):
    """Files of before transformers 5 have `text_model.` in them, whatever the installed one calls its layers."""
    part = "text_encoder."
    older = {
        name
        if not name.startswith(part)
        else f"{part}text_model.{name.removeprefix(part).removeprefix('text_model.')}": tensor
        for name, tensor in load_file(file).items()
    }
    save_file(older, tmp_path / "older.safetensors")
    expected = of_modules(modules(folder, Lora(file, 0.5)))
    got = of_modules(modules(folder, Lora(tmp_path / "older.safetensors", 0.5)))
    assert all(snr_db(mine, same) > 100 for mine, same in zip(expected, got, strict=True))


def test_alpha_in_the_header_counts(folder, file, tmp_path):
    """What diffusers' training scripts write since 0.34: `lora_alpha` beside `r`, and no alpha among the tensors."""
    state = {name: tensor for name, tensor in load_file(file).items() if name.startswith("unet.")}
    settings = {f"unet.{key}": value for key, value in {"r": 4, "lora_alpha": 2, "target_modules": UNET}.items()}
    save_file(state, tmp_path / "plain.safetensors")
    save_file(state, tmp_path / "halved.safetensors", {"lora_adapter_metadata": json.dumps(settings)})
    half = of_modules(modules(folder, Lora(tmp_path / "plain.safetensors", 0.5)))
    got = of_modules(modules(folder, Lora(tmp_path / "halved.safetensors", 1.0)))
    assert all(snr_db(expected, mine) > 100 for expected, mine in zip(half, got, strict=True))


def test_two_loras_add_up(folder, file):
    twice = of_modules(modules(folder, Lora(file, 0.5), Lora(file, 0.25)))
    once = of_modules(modules(folder, Lora(file, 0.75)))
    assert all(snr_db(expected, got) > 100 for expected, got in zip(once, twice, strict=True))


def test_nothing_of_the_adapter_is_left_to_trace(folder, file):
    built = modules(folder, Lora(file))
    names = [name for module in built.values() for name, _ in module.named_modules()]
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    plain = modules(folder)
    assert all(set(built[name].state_dict()) == set(plain[name].state_dict()) for name in plain)


def test_the_manifest_says_which(folder, file):
    (said,) = read_model(open_checkpoint(str(folder)), [Lora(file, 0.5)]).loras
    assert said.startswith("pytorch_lora_weights@0.5")
    assert sha256(file)[:16] in said


def test_an_adapter_checkpoints_first_encoder_takes_the_text_part(checkpoint, file):
    place = checkpoint(encoders=("clip", "t5", "clap"))
    plain, changed = modules(place), modules(place, Lora(file))
    for name, same in {"text_encoder_0": False, "text_encoder_1": True, "denoise_step": False}.items():
        pairs = zip(plain[name].state_dict().values(), changed[name].state_dict().values(), strict=True)
        assert all(torch.equal(one, other) for one, other in pairs) == same


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a.safetensors", ("a.safetensors", 1.0)), ("a@b.safetensors@0.25", ("a@b.safetensors", 0.25))],
)
def test_file_and_scale(text, expected):
    lora = parse_lora(text)
    assert (str(lora.file), lora.scale) == expected


@pytest.mark.parametrize("text", ["a.safetensors@much", "a.safetensors@", "a.safetensors@nan", "a.safetensors@inf"])
def test_a_scale_that_is_no_number(text):
    with pytest.raises(CheckpointError, match="expected a number"):
        parse_lora(text)


def broken(tmp_path, kind):
    """Make a file that is no LoRA for this model, each in its own way."""
    path = tmp_path / "bad.safetensors"
    if kind == "missing":
        return path
    if kind == "pickle":
        path = path.with_suffix(".bin")
        torch.save({}, path)
    elif kind == "truncated":
        save_file({"unet.mid_block.x.lora_A.weight": torch.zeros(64)}, path)
        path.write_bytes(path.read_bytes()[:-9])
    elif kind == "garbage":
        path.write_bytes(b"no weights at all")
    elif kind == "other keys":
        save_file({"transformer.block.0.weight": torch.zeros(2)}, path)
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "bad.safetensors does not exist"),
        ("pickle", "bad.bin is no .safetensors file"),
        ("truncated", "bad.safetensors cannot be read"),
        ("garbage", "bad.safetensors cannot be read"),
        ("other keys", "bad.safetensors"),
    ],
)
def test_files_that_are_no_lora(folder, tmp_path, kind, words):
    with pytest.raises(CheckpointError) as caught:
        read_model(open_checkpoint(str(folder)), [Lora(broken(tmp_path, kind))])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
def test_a_lora_of_a_wider_model(folder, file, tmp_path, part):
    own = {name: tensor for name, tensor in load_file(file).items() if name.startswith(f"{part}.")}
    wider = {
        name: torch.cat([tensor, tensor], dim=1 if ".down." in name else 0).contiguous() for name, tensor in own.items()
    }
    save_file(wider, tmp_path / "wide.safetensors")
    with pytest.raises(CheckpointError, match=f"wide.safetensors does not fit the {part}"):
        modules(folder, Lora(tmp_path / "wide.safetensors"))


def test_a_lora_for_layers_that_the_model_has_not(folder, file, tmp_path):
    state = {name.replace("attn1", "attn7"): tensor for name, tensor in load_file(file).items() if "unet" in name}
    save_file(state, tmp_path / "other.safetensors")
    with pytest.raises(CheckpointError, match=r"other.safetensors changes unet\..*attn7.*does not have"):
        modules(folder, Lora(tmp_path / "other.safetensors"))
