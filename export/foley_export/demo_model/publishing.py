"""The trained parts as a checkpoint folder in Auffusion's no-adapter layout, every weight in half precision."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from diffusers import PNDMScheduler
from torch import Tensor, nn

from foley_export.demo_model import vocoding
from foley_export.demo_model.denoising import SCHEDULE
from foley_export.demo_model.files import whole_folder, write_json
from foley_export.demo_model.vocabulary import write_vocabulary

MODEL_INDEX: Final[dict[str, Any]] = {
    "_class_name": "StableDiffusionPipeline",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}
FEATURE_EXTRACTOR: Final[dict[str, Any]] = {
    "image_processor_type": "CLIPImageProcessor",
    "size": {"shortest_edge": 224},
}
"""Never read: Auffusion's pipeline has no safety checker; the released folders carry one all the same."""
SCHEDULER: Final[dict[str, Any]] = {
    **SCHEDULE,
    "skip_prk_steps": True,
    "set_alpha_to_one": False,
    "steps_offset": 1,
    "timestep_spacing": "trailing",
}


def write_checkpoint(folder: Path, parts: Mapping[str, Any], scaling_factor: float) -> None:
    """Write `parts` (text, unet, vae: modules of diffusers and transformers; vocoder: the generator) as a checkpoint.

    The modules' weights are rounded to half precision in place. An older checkpoint stays until the new one is whole.
    """
    with whole_folder(folder) as working:
        _write_files(working, parts, scaling_factor)


def _write_files(folder: Path, parts: Mapping[str, Any], scaling_factor: float) -> None:
    write_json(folder / "model_index.json", MODEL_INDEX)
    write_json(folder / "feature_extractor/preprocessor_config.json", FEATURE_EXTRACTOR)
    write_vocabulary(folder / "tokenizer")
    parts["vae"].register_to_config(scaling_factor=scaling_factor)
    for name, part in {"text_encoder": parts["text"], "unet": parts["unet"], "vae": parts["vae"]}.items():
        part.half().save_pretrained(folder / name)
        part.float()
    _load_as_float32(folder / "text_encoder/config.json")
    PNDMScheduler(**SCHEDULER).save_pretrained(folder / "scheduler")
    write_json(folder / "vocoder/config.json", vocoding.CONFIG)
    torch.save({"generator": with_weight_norm(parts["vocoder"])}, folder / "vocoder/vocoder.pt")


def _load_as_float32(config: Path) -> None:
    """Undo what transformers notes of the stored precision: it would load this part in half, and diffusers no other."""
    noted = json.loads(config.read_text(encoding="utf-8"))
    write_json(config, {key: value for key, value in noted.items() if key != "torch_dtype"} | {"dtype": "float32"})


def with_weight_norm(generator: nn.Module) -> dict[str, Tensor]:
    """Part each weight into direction and length, as the released vocoder keeps them: w = g · v / ‖v‖.

    v is w itself in half precision, so that multiplying out gives w back; of a row of zeros, which has no
    direction, v is ones and g nought.
    """
    state: dict[str, Tensor] = {}
    for name, value in generator.state_dict().items():
        half = value.half()
        if not name.endswith(".weight"):
            state[name] = half
            continue
        axes = tuple(range(1, half.ndim))
        length = torch.linalg.vector_norm(half.float(), dim=axes, keepdim=True)
        state[f"{name}_g"] = length
        state[f"{name}_v"] = half.where(length > 0, 1.0)
    return state
