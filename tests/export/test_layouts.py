"""Every released form of a checkpoint: folder layouts, file formats, spellings of tensor names, odd configs."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from foley.verify import snr_db
from foley_bench.parity.hifigan import load_vocoder
from foley_export.checkpoint import open_checkpoint
from foley_export.text import HiddenStates, load_text_model, text_model

THREE = ("clip", "t5", "clap")
STEP = ("denoise_step", "latent_decoder", "vocoder")


def built(model, name):
    return next(plan for plan in model.graphs if plan.name == name).build()


def output(model, name):
    """Run a graph's module on its plan's example."""
    plan = next(plan for plan in model.graphs if plan.name == name)
    with torch.no_grad():
        return plan.build()(*plan.example().values())


def edit(path: Path, **changes):
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))


@pytest.mark.parametrize(
    ("options", "text", "unconditional"),
    [
        ({"layout": "no-adapter"}, ["text_encoder"], "empty_prompt"),
        ({}, ["text_encoder"], "zeros"),
        ({"encoders": THREE}, ["text_encoder_0", "text_encoder_1", "text_encoder_2"], "zeros"),
        ({"encoders": ("t5",)}, ["text_encoder"], "zeros"),
    ],
)
def test_graphs_of_a_layout(checkpoint, read, options, text, unconditional):
    model = read(checkpoint(**options))
    assert [plan.name for plan in model.graphs] == [*text, *STEP]
    assert [encoder.graph for encoder in model.conditioning.encoders] == text
    assert model.conditioning.unconditional == unconditional
    context = next(plan for plan in model.graphs if plan.name == "denoise_step").example()["context"]
    assert context.shape[1:] == (77 * len(text), 32)


def test_facts_of_the_released_configs(checkpoint, read):
    model = read(checkpoint())
    assert (model.audio.sample_rate_hz, model.audio.hop_samples, model.audio.mel_bins) == (16000, 160, 256)
    assert (model.latents.channels, model.latents.column_multiple, model.latents.frames_per_column) == (4, 8, 8)
    assert model.latents.time_axis == "width"
    assert (model.defaults.steps, model.defaults.guidance, model.defaults.sampler) == (100, 7.5, "pndm")
    assert model.schedule.prediction_type == "epsilon"
    assert (model.schedule.steps_offset, model.schedule.set_alpha_to_one) == (1, False)


@pytest.mark.parametrize("name", ["text_encoder_0", "text_encoder_1", "text_encoder_2", *STEP])
def test_bin_files_hold_what_safetensors_hold(checkpoint, read, name):
    safe, pickled = (read(checkpoint(encoders=THREE, weights=kind)) for kind in ("safetensors", "bin"))
    assert torch.equal(output(safe, name), output(pickled, name))


@pytest.mark.parametrize("weights", ["safetensors", "bin"])
def test_float16_files_are_read_as_float32(checkpoint, read, weights):
    model, whole = read(checkpoint(dtype="float16", weights=weights)), read(checkpoint())
    for name in ("text_encoder", *STEP):
        assert {parameter.dtype for parameter in built(model, name).parameters()} == {torch.float32}
        assert snr_db(output(whole, name).numpy(), output(model, name).numpy()) > 45  # the weights' own rounding


def test_safetensors_are_taken_before_pickles(own, read):
    folder = own()
    (folder / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"never read")
    built(read(folder), "denoise_step")


def test_half_files_serve_where_there_are_no_others(own, read):
    folder = own()
    name = "diffusion_pytorch_model"
    (folder / "unet" / f"{name}.safetensors").rename(folder / "unet" / f"{name}.fp16.safetensors")
    built(read(folder), "denoise_step")


def test_three_spellings_of_the_vaes_attention(checkpoint, read):
    now, old, ldm = (
        output(read(checkpoint(vae_attention=name)), "latent_decoder") for name in ("to_q", "query", "ldm")
    )
    assert torch.equal(now, old)
    assert torch.equal(now, ldm)


def test_unknown_config_keys_are_passed_over(own, checkpoint, read):
    folder = own(encoders=THREE)
    places = [
        "unet",
        "vae",
        "vocoder",
        *(f"{kind}_{i}" for kind in ("text_encoder", "condition_adapter") for i in (0, 1, 2)),
    ]
    for place in places:
        edit(folder / place / "config.json", key_of_a_later_release={"deep": [1]}, max_new_tokens=3)
    edit(folder / "scheduler" / "scheduler_config.json", key_of_a_later_release=1)
    for name in ("text_encoder_1", "text_encoder_2", "latent_decoder"):
        assert torch.equal(output(read(folder), name), output(read(checkpoint(encoders=THREE)), name))
    assert read(folder).schedule == read(checkpoint(encoders=THREE)).schedule


def test_tokenizer_files_of_either_layout(checkpoint, read, tmp_path):
    for options in ({"layout": "no-adapter"}, {"encoders": THREE}):
        for name, write in read(checkpoint(**options)).tokenizers.items():
            write(tmp_path / name)
            assert json.loads((tmp_path / name).read_text())["model"]["type"] in ("BPE", "Unigram")
    names = ["text_encoder.json", *(f"text_encoder_{index}.json" for index in range(3))]
    assert sorted(path.name for path in (tmp_path / "tokenizer").iterdir()) == sorted(names)


def test_adapter_saved_from_data_parallel_training(own, read, checkpoint):
    folder = own()
    place = folder / "condition_adapter_0" / "condition_adapter.pt"
    torch.save({f"module.{name}": value for name, value in torch.load(place, weights_only=True).items()}, place)
    assert torch.equal(output(read(folder), "text_encoder"), output(read(checkpoint()), "text_encoder"))


def test_vocoder_is_the_reference_with_its_weight_norm_multiplied_out(checkpoint, read):
    folder = checkpoint()
    mel = torch.randn(2, 256, 24, generator=torch.Generator().manual_seed(1)) * 2 - 4
    module, reference = built(read(folder), "vocoder"), load_vocoder(folder / "vocoder")
    with torch.no_grad():
        got, expected = module(mel), reference(mel)
    assert got.shape == (2, 160 * 24)
    assert snr_db(expected.numpy(), got.numpy()) > 110


def test_a_clip_text_encoder_named_either_way(own, read, checkpoint):
    """transformers 5 saves `embeddings.…` where older versions saved `text_model.embeddings.…`."""
    folder = own(weights="bin")
    place = folder / "text_encoder_0" / "pytorch_model.bin"
    state = torch.load(place, weights_only=True)
    torch.save({name.removeprefix("text_model."): value for name, value in state.items()}, place)
    assert torch.equal(output(read(folder), "text_encoder"), output(read(checkpoint()), "text_encoder"))


def test_t5_may_name_its_embedding_once(own, read, checkpoint):
    folder = own(encoders=("t5",), weights="bin")
    place = folder / "text_encoder_0" / "pytorch_model.bin"
    state = torch.load(place, weights_only=True)
    expected = output(read(checkpoint(encoders=("t5",))), "text_encoder")
    for kept in ("shared.weight", "encoder.embed_tokens.weight"):
        dropped = {"shared.weight", "encoder.embed_tokens.weight"} - {kept}
        torch.save({name: value for name, value in state.items() if name not in dropped}, place)
        assert torch.equal(output(read(folder), "text_encoder"), expected)


def test_a_padded_prompt_changes_no_token_of_a_masked_encoder(checkpoint):
    files = open_checkpoint(str(checkpoint(encoders=THREE)))
    for folder in ("text_encoder_1", "text_encoder_2"):
        model = text_model(files, folder, folder)
        encoder = HiddenStates(load_text_model(files, model), masked=True)
        assert isinstance(encoder, nn.Module)
        ids = torch.tensor([[0, 7, 8, 9, 2] + [model.pad_id] * 4])
        mask = torch.tensor([[1.0] * 5 + [0.0] * 4])
        with torch.no_grad():
            padded, alone = encoder(ids, mask)[:, :5], encoder(ids[:, :5], mask[:, :5])
        assert snr_db(alone.numpy(), padded.numpy()) > 110
