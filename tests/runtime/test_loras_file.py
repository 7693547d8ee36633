"""LoRA files: types, damage, limits, and what their header says of the scale."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.lora_files import lora_bytes, write_lora

from foley.errors import UsageError
from foley.loras import file as file_module
from foley.loras.file import alpha_over_rank, read_lora_file

VALUES = np.array([[1.0, -2.5], [0.0, 3.0e-3]], np.float32)
TO_Q, FC1 = "unet.a.attn1.to_q", "text_encoder.text_model.encoder.layers.0.mlp.fc1"


def settings_file(tmp_path: Path, **settings: object) -> file_module.LoraFile:
    metadata = {"lora_adapter_metadata": json.dumps(settings), "format": "pt"}
    return read_lora_file(write_lora(tmp_path / "a.safetensors", {"x": VALUES}, metadata))


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_types_become_float32(tmp_path: Path, dtype: str):
    stored = VALUES.astype(dtype)
    [(name, tensor)] = read_lora_file(write_lora(tmp_path / "a.safetensors", {"x": stored})).tensors.items()
    assert (name, tensor.dtype) == ("x", np.float32)
    assert np.array_equal(tensor, stored.astype(np.float32))


def test_bfloat16_becomes_float32(tmp_path: Path):
    place = tmp_path / "a.safetensors"
    place.write_bytes(lora_bytes({"x": VALUES}, bf16=True))
    tensor = read_lora_file(place).tensors["x"]
    assert np.array_equal(tensor[0], VALUES[0])
    assert tensor[1, 1] == pytest.approx(3.0e-3, rel=2**-7)
    assert tensor[1, 1] != VALUES[1, 1]


def test_a_whole_alpha_may_be_an_integer(tmp_path: Path):
    file = read_lora_file(write_lora(tmp_path / "a.safetensors", {"x.alpha": np.array(8)}))
    assert file.tensors["x.alpha"] == 8.0


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "cannot be read"),
        (b"no weights at all", "cannot be read"),
        (lora_bytes({"x": VALUES})[:-3], "cannot be read"),
        (lora_bytes({"x": VALUES})[:20], "cannot be read"),
        (b"\xff" * 64, "cannot be read"),
        (lora_bytes({"x": VALUES.astype(np.int8)}), "x is I8, expected F32, F16 or BF16"),
        (lora_bytes({"x": VALUES * np.float32(np.nan)}), "x holds NaN or infinity"),
        (lora_bytes({"x": np.full(2, np.inf, np.float16)}), "x holds NaN or infinity"),
        (lora_bytes({"x": VALUES}, {"lora_adapter_metadata": "{"}), "cannot be read"),
        (lora_bytes({"x": VALUES}, {"lora_adapter_metadata": "[1]"}), r"its settings are \[1\]"),
        (lora_bytes({"x": VALUES}, {"lora_adapter_metadata": "[" * 10**5}), "cannot be read"),
    ],
)
def test_damaged_files_are_one_line(tmp_path: Path, content: bytes, words: str):
    place = tmp_path / "bad.safetensors"
    place.write_bytes(content)
    with pytest.raises(UsageError, match=words) as caught:
        read_lora_file(place)
    assert "bad.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("missing.safetensors", "missing.safetensors does not exist"),
        ("a.bin", "a.bin ends in '.bin', expected .safetensors"),
        ("folder.safetensors", "folder.safetensors is a folder, expected a file; give the .safetensors file in it"),
        ("saved", "saved is a folder, expected a file; give .*saved/pytorch_lora_weights.safetensors"),
    ],
)
def test_what_is_no_file_of_the_format(tmp_path: Path, name: str, words: str):
    (tmp_path / "a.bin").write_bytes(b"")
    (tmp_path / "folder.safetensors").mkdir()
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "pytorch_lora_weights.safetensors").write_bytes(b"")
    with pytest.raises(UsageError, match=words):
        read_lora_file(tmp_path / name)


def test_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(file_module, "MAX_BYTES", 10)
    with pytest.raises(UsageError, match="expected 10 or less"):
        read_lora_file(write_lora(tmp_path / "a.safetensors", {"x": VALUES}))


def test_settings_of_each_part(tmp_path: Path):
    file = settings_file(
        tmp_path, **{"unet.lora_alpha": 8, "unet.alpha_pattern": {}, "text_encoder.lora_alpha": 2, "text_encoder.r": 4},
        **{"text_encoder.alpha_pattern": {"mlp.fc1": 6}},
    )  # fmt: skip
    assert alpha_over_rank(file, TO_Q, 4) == 2.0
    assert alpha_over_rank(file, FC1, 4) == 1.5
    assert alpha_over_rank(file, FC1.replace("fc1", "fc2"), 4) == 0.5
    assert alpha_over_rank(file, FC1.replace("mlp.fc1", "xmlp.fc1"), 4) == 0.5


def test_a_pattern_from_the_beginning(tmp_path: Path):
    patterns = {"^encoder.layers.0.mlp.fc1": 3, "^fc1": 5}
    file = settings_file(tmp_path, **{"text_encoder.lora_alpha": 2, "text_encoder.alpha_pattern": patterns})
    assert alpha_over_rank(file, FC1, 1) == 3.0


def test_rank_stabilised_scale(tmp_path: Path):
    file = settings_file(tmp_path, **{"unet.lora_alpha": 8, "unet.use_rslora": True})
    assert alpha_over_rank(file, TO_Q, 16) == 2.0


def test_no_settings_say_nothing(tmp_path: Path):
    file = read_lora_file(write_lora(tmp_path / "a.safetensors", {"x": VALUES}))
    assert alpha_over_rank(file, TO_Q, 4) is None


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unet.lora_alpha": "8"}, "lora_alpha of unet.a.attn1.to_q is '8', expected a number"),
        ({"unet.lora_alpha": True}, "expected a number"),
        (
            {"unet.lora_alpha": 8, "unet.alpha_pattern": {"to_(q|k)": 4}},
            r"holds 'to_\(q\|k\)', expected names of modules",
        ),
        ({"unet.lora_alpha": 8, "unet.alpha_pattern": [4]}, "expected names of modules"),
    ],
)
def test_settings_without_meaning(tmp_path: Path, settings: dict[str, object], words: str):
    with pytest.raises(UsageError, match=words):
        alpha_over_rank(settings_file(tmp_path, **settings), TO_Q, 4)


def test_settings_beside_a_file_of_peft(tmp_path: Path):
    place = write_lora(tmp_path / "adapter_model.safetensors", {"x": VALUES})
    plain = read_lora_file(place)
    (tmp_path / "adapter_config.json").write_text('{"lora_alpha": 8, "r": 4}')
    file = read_lora_file(place)
    assert alpha_over_rank(file, TO_Q, 4) == 2.0
    assert file.sha256 != plain.sha256
    other = write_lora(tmp_path / "rain.safetensors", {"x": VALUES})
    assert alpha_over_rank(read_lora_file(other), TO_Q, 4) is None
