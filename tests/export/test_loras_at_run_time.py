"""A LoRA put in at run time sounds as one that was fused in torch before the export."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

import foley
from foley.verify import snr_db
from foley_bench.parity.bundles import Bundles
from foley_export.checkpoint import open_checkpoint
from foley_export.export import Options, export
from foley_export.libraries import quiet_libraries
from foley_export.lora import Lora as FusedLora

TARGETS = {
    "unet": ["to_q", "to_k", "to_v", "to_out.0", "ff.net.0.proj", "conv1", "proj_in"],
    "text_encoder": ["q_proj", "v_proj", "fc1"],
}
SCALE = 0.6
FLOORS_DB = {"fp32": 100.0, "fp16": 35.0}
FILE = "pytorch_lora_weights.safetensors"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def adapted(bundles: Bundles) -> Any:
    """The checkpoint's pipeline in diffusers, with adapters."""
    torch.manual_seed(0)
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(bundles.checkpoint("no-adapter"), safety_checker=None)
    for part, targets in TARGETS.items():
        config = LoraConfig(
            r=4, lora_alpha=2, alpha_pattern={targets[0]: 3}, init_lora_weights="gaussian", target_modules=targets
        )
        getattr(pipeline, part).add_adapter(config)
    for name, weight in [*pipeline.unet.named_parameters(), *pipeline.text_encoder.named_parameters()]:
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return pipeline


@pytest.fixture(scope="module")
def file(adapted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LoRA with two alphas in its settings, as diffusers' training scripts save it."""
    layers = {
        f"{part}_lora_layers": convert_state_dict_to_diffusers(get_peft_model_state_dict(getattr(adapted, part)))
        for part in TARGETS
    }
    settings = _collate_lora_metadata({part: getattr(adapted, part) for part in TARGETS})
    target = tmp_path_factory.mktemp("lora")
    diffusers.StableDiffusionPipeline.save_lora_weights(target, **layers, **settings)
    return target / FILE


@pytest.fixture(scope="module")
def kohya(adapted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same LoRA as Kohya's scripts write it, with an alpha for each module."""
    target = tmp_path_factory.mktemp("kohya") / "kohya.safetensors"
    save_file(kohya_of(adapted), target)
    return target


@pytest.fixture(scope="module")
def unscaled(adapted: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same matrices with no alpha at all, in names that diffusers itself loads."""
    unet = get_peft_model_state_dict(adapted.unet)
    text = convert_state_dict_to_diffusers(get_peft_model_state_dict(adapted.text_encoder))
    target = tmp_path_factory.mktemp("unscaled")
    diffusers.StableDiffusionPipeline.save_lora_weights(target, unet_lora_layers=unet, text_encoder_lora_layers=text)
    return target / FILE


@pytest.fixture(scope="module")
def fused(bundles: Bundles, unscaled: Path, tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """The latents of a bundle into which torch fused the LoRA."""
    target = tmp_path_factory.mktemp("fused") / "bundle"
    with quiet_libraries():
        options = Options(loras=(FusedLora(unscaled, SCALE),))
        export(open_checkpoint(str(bundles.checkpoint("no-adapter"))), target, options)
    return latents(target)


def latents(bundle: Path, *loras: foley.Lora) -> np.ndarray:
    with foley.load(bundle, threads=1, loras=loras, verify_files=False) as pipeline:
        [clip] = pipeline.generate("a dog barking", seconds=0.5, steps=4, seed=1)
    return clip.latents


@pytest.mark.parametrize("precision", FLOORS_DB)
def test_as_fused(bundles: Bundles, unscaled: Path, fused: np.ndarray, precision: str):
    bundle = bundles.bundle("no-adapter", precision)
    plain, got = latents(bundle), latents(bundle, foley.Lora(unscaled, SCALE))
    assert snr_db(fused, got) > FLOORS_DB[precision]
    assert snr_db(fused, plain) < FLOORS_DB[precision] - 20


def test_other_spellings_are_the_same_lora(kohya: Path, bundles: Bundles, file: Path, tmp_path: Path):
    """Kohya's, with its alphas, of U-Net and text encoder; and diffusers' oldest of the attention alone."""
    bundle, written = bundles.bundle("no-adapter", "fp32"), load_file(file)
    assert snr_db(latents(bundle, foley.Lora(file)), latents(bundle, foley.Lora(kohya))) > 150
    attention = {name: value for name, value in written.items() if ".attn" in name and name.startswith("unet.")}
    oldest = {_oldest(name): value for name, value in attention.items()}
    save_file(attention, tmp_path / "attention.safetensors")
    save_file(oldest, tmp_path / "oldest.safetensors")
    both = [latents(bundle, foley.Lora(tmp_path / f"{name}.safetensors")) for name in ("attention", "oldest")]
    assert np.array_equal(*both)


def kohya_of(adapted: Any) -> dict[str, torch.Tensor]:
    """Write both parts as Kohya's scripts do."""
    state: dict[str, torch.Tensor] = {}
    for part, prefix in (("unet", "lora_unet"), ("text_encoder", "lora_te")):
        for name, value in get_peft_model_state_dict(getattr(adapted, part)).items():
            module, _, end = name.partition(".lora_")
            spelled = f"{prefix}_{('text_model.' if prefix == 'lora_te' else '') + module}".replace(".", "_")
            state[f"{spelled}.lora_{'down' if end.startswith('A') else 'up'}.weight"] = value.contiguous()
            alpha = 3.0 if module.endswith(TARGETS[part][0]) else 2.0
            state[f"{spelled}.alpha"] = torch.tensor(alpha)
    return state


def _oldest(name: str) -> str:
    name = name.replace(".to_out.0.", ".to_out.")
    for old, new in ((".lora.down.", "_lora.down."), (".lora_A.", "_lora.down."), (".lora.up.", "_lora.up.")):
        name = name.replace(old, new)
    return name.replace(".lora_B.", "_lora.up.").replace(".to_", ".processor.to_")
