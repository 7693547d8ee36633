"""The names that trainers write, and what is refused by its name."""

from pathlib import Path

import pytest

from foley.errors import RequestError, UsageError
from foley.loras import Lora, parse_lora
from foley.loras.names import parse_name, spellings

BLOCK = "unet.down_blocks.0.attentions.0.transformer_blocks.0"
LAYER = "text_encoder.text_model.encoder.layers.0"
KOHYA = "lora_unet_down_blocks_0_attentions_0_transformer_blocks_0"
MODULES = [f"{BLOCK}.attn1.to_q", f"{BLOCK}.attn1.to_out.0", f"{BLOCK}.ff.net.0.proj", "unet.conv_in"]
MODULES += [f"{LAYER}.self_attn.q_proj", f"{LAYER}.self_attn.out_proj", f"{LAYER}.mlp.fc1"]
BARE = BLOCK.removeprefix("unet.")

NAMES = {
    f"{BLOCK}.attn1.to_q.lora_A.weight": (0, "down"),
    f"{BLOCK}.attn1.to_out.0.lora_B.weight": (1, "up"),
    f"{BLOCK}.attn1.to_q.lora.down.weight": (0, "down"),
    f"{BLOCK}.attn1.to_out.0.lora.up.weight": (1, "up"),
    f"{BLOCK}.attn1.processor.to_q_lora.down.weight": (0, "down"),
    f"{BLOCK}.attn1.processor.to_out_lora.up.weight": (1, "up"),
    f"{BARE}.attn1.processor.to_q_lora.up.weight": (0, "up"),
    "unet.conv_in.lora_A.weight": (3, "down"),
    f"base_model.model.{BARE}.ff.net.0.proj.lora_A.weight": (2, "down"),
    f"base_model.model.{BARE}.attn1.to_q.lora_B.default.weight": (0, "up"),
    f"{KOHYA}_attn1_to_q.lora_down.weight": (0, "down"),
    f"{KOHYA}_attn1_to_out_0.lora_up.weight": (1, "up"),
    f"{KOHYA}_ff_net_0_proj.alpha": (2, "alpha"),
    "lora_unet_conv_in.lora_down.weight": (3, "down"),
    "lora_te_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight": (4, "up"),
    "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha": (6, "alpha"),
    f"{LAYER}.self_attn.q_proj.lora_linear_layer.down.weight": (4, "down"),
    f"{LAYER}.self_attn.to_q_lora.up.weight": (4, "up"),
    f"{LAYER}.self_attn.to_out_lora.down.weight": (5, "down"),
    "text_encoder.encoder.layers.0.mlp.fc1.lora_B.weight": (6, "up"),
    "base_model.model.text_model.encoder.layers.0.self_attn.q_proj.lora_A.weight": (4, "down"),
}


@pytest.mark.parametrize("name", NAMES)
def test_every_format_names_the_same_modules(name: str):
    number, role = NAMES[name]
    spelled, found = parse_name(name, "a.safetensors")
    assert (spellings(MODULES)[spelled], found) == (MODULES[number], role)


def test_a_bundle_may_name_its_text_model_as_transformers_5_does():
    module = "text_encoder.encoder.layers.0.mlp.fc1"
    assert spellings([module])["lora_te_text_model_encoder_layers_0_mlp_fc1"] == module


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (f"{KOHYA}_attn1_to_q.dora_scale", "is DoRA"),
        (f"{BLOCK}.attn1.to_q.lora_magnitude_vector", "is DoRA"),
        (f"{KOHYA}_attn1_to_q.hada_w1_a", "is LoHa"),
        (f"{KOHYA}_attn1_to_q.lokr_w1", "is LoKr"),
        (f"{KOHYA}_conv.lora_mid.weight", "is a LoRA with a middle matrix"),
        (f"{BLOCK}.attn1.to_q.lora_B.bias", "is a LoRA that changes biases"),
        (f"{KOHYA}_conv.diff", "is a file of full differences"),
    ],
)
def test_other_kinds_of_updates_say_what_to_do(name: str, words: str):
    with pytest.raises(UsageError) as caught:
        parse_name(name, "a.safetensors")
    message = str(caught.value)
    assert f"LoRA a.safetensors {words}" in message
    assert name in message
    assert message.endswith("fuse it into the checkpoint in torch, and export that")
    assert "\n" not in message


def test_a_tensor_of_no_lora_is_named():
    with pytest.raises(UsageError, match=r"holds transformer.h.0.weight, expected names such as unet"):
        parse_name("transformer.h.0.weight", "a.safetensors")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.safetensors", Lora("a.safetensors", 1.0)),
        ("a.safetensors@0.8", Lora("a.safetensors", 0.8)),
        ("a@b.safetensors@-1", Lora("a@b.safetensors", -1.0)),
    ],
)
def test_file_and_scale(text: str, expected: Lora):
    assert parse_lora(text) == expected


@pytest.mark.parametrize("text", ["a@much", "a@", "a@nan", "a@inf", "a@b.safetensors"])
def test_a_scale_that_is_no_number(text: str):
    with pytest.raises(RequestError, match=r"^--lora .*expected a number, as in file.safetensors@0.8$"):
        parse_lora(text)


def test_a_file_whose_name_holds_the_mark(tmp_path: Path):
    file = tmp_path / "a@b.safetensors"
    file.touch()
    with pytest.raises(RequestError, match=r"; a name that holds an @ takes one too: .*a@b.safetensors@1$"):
        parse_lora(str(file))


def test_a_scale_without_a_file():
    with pytest.raises(RequestError, match=r"^--lora @1: there is no file before the @, expected one"):
        parse_lora("@1")


@pytest.mark.parametrize("scale", [float("nan"), float("inf"), "1", None, True])
def test_a_scale_that_is_no_number_from_python(scale: object):
    with pytest.raises(RequestError, match=r"^the scale of a.safetensors is .*, expected a finite number"):
        Lora("a.safetensors", scale)  # type: ignore[arg-type]


def test_a_lora_in_words():
    assert str(Lora("dir/rain.safetensors", 0.80)) == "rain@0.8"
