"""LoRA weights in diffusers' format, fused into a model before it is traced."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusers.loaders import StableDiffusionLoraLoaderMixin
from torch import nn

from foley.bundle import sha256
from foley.errors import CheckpointError


@dataclass(frozen=True)
class Lora:
    """A file of low-rank updates and how strongly it is applied."""

    file: Path
    scale: float = 1.0

    def __str__(self) -> str:
        return f"{self.file.stem}@{self.scale:g} (sha256 {sha256(self.file)[:16]})"


def fuse_unet(unet: nn.Module, lora: Lora) -> int:
    """Add a LoRA's U-Net part to the weights in place; give the number of its tensors.

    Raises:
        CheckpointError: the file is unreadable, or a tensor does not fit the U-Net.
    """
    return _fuse(unet, lora, "unet")


def fuse_text_encoder(encoder: nn.Module, lora: Lora) -> int:
    """Add a LoRA's text encoder part to the weights in place; give the number of its tensors.

    Raises:
        CheckpointError: the file is unreadable, or a tensor does not fit the encoder.
    """
    return _fuse(encoder, lora, "text_encoder")


def lora_parts(lora: Lora) -> set[str]:
    """Give the parts of a model that a LoRA changes: `unet`, `text_encoder`.

    Raises:
        CheckpointError: the file is unreadable or holds neither.
    """
    state, _, _ = _read(lora)
    found = {part for part in ("unet", "text_encoder") if any(name.startswith(f"{part}.") for name in state)}
    if not found:
        raise CheckpointError(
            f"{lora.file} holds no tensors for unet or text_encoder in diffusers' format; first name: "
            f"{next(iter(state), 'none')}"
        )
    return found


Content = tuple[dict[str, Any], dict[str, Any] | None, dict[str, Any] | None]
"""Tensors by name, alphas that stand among them, and settings of the file's header, alphas and ranks."""


def _read(lora: Lora) -> Content:
    if not lora.file.exists():
        raise CheckpointError(f"--lora {lora.file} does not exist; give the .safetensors file of a LoRA")
    if lora.file.suffix != ".safetensors" or not lora.file.is_file():
        raise CheckpointError(
            f"--lora {lora.file} is no .safetensors file; give the file of a LoRA in diffusers' format"
        )
    try:
        content: Content = StableDiffusionLoraLoaderMixin.lora_state_dict(
            str(lora.file), local_files_only=True, return_lora_metadata=True
        )
    except Exception as error:  # diffusers raises many kinds for one unreadable file
        raise CheckpointError(f"--lora {lora.file} cannot be read: {' '.join(str(error).split())}") from error
    return content


def _fuse(module: nn.Module, lora: Lora, part: str) -> int:
    state, alphas, settings = _read(lora)
    own = {name: value for name, value in state.items() if name.startswith(f"{part}.")}
    if not own:
        return 0
    load = StableDiffusionLoraLoaderMixin.load_lora_into_unet
    if part == "text_encoder":
        load = StableDiffusionLoraLoaderMixin.load_lora_into_text_encoder
    try:
        load(own, alphas, module, metadata=settings)
        merged = _merge(module, lora.scale)
    except (RuntimeError, ValueError, KeyError) as error:
        raise CheckpointError(f"--lora {lora.file} does not fit the {part}: {' '.join(str(error).split())}") from error
    wanted = {_layer(name.removeprefix(f"{part}."), module) for name in own}
    absent = sorted(wanted - merged)
    if absent:
        raise CheckpointError(f"--lora {lora.file} changes {part}.{absent[0]}, which this model does not have")
    return len(own)


def _layer(name: str, module: nn.Module) -> str:
    """Give the layer that a tensor's name is of; transformers took `text_model.` out of its CLIP in version 5."""
    layer = name.partition(".lora")[0]
    return layer if hasattr(module, "text_model") else layer.removeprefix("text_model.")


def _merge(module: nn.Module, scale: float) -> set[str]:
    """Replace every adapted layer by its base layer with W + scale · BA; give the layers' names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, BaseTunerLayer)]
    for name, layer in adapted:
        for adapter in layer.active_adapters:
            layer.set_scale(adapter, scale)
        layer.merge(safe_merge=True)
        parent = module.get_submodule(name.rpartition(".")[0])
        setattr(parent, name.rpartition(".")[2], layer.get_base_layer())
    _forget_adapters(module)
    return {name for name, _ in adapted}


def _forget_adapters(module: nn.Module) -> None:
    """Take off what marks a module as adapted, so that the next LoRA may be loaded under the same name."""
    if hasattr(module, "peft_config"):
        del module.peft_config
        module._hf_peft_config_loaded = False  # type: ignore[assignment]


def parse_lora(text: str) -> Lora:
    """Read `FILE` or `FILE@SCALE`.

    Raises:
        CheckpointError: the scale is no finite number.
    """
    name, mark, scale = text.rpartition("@")
    if not mark:
        return Lora(Path(text))
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise CheckpointError(f"--lora {text}: the scale is {scale!r}, expected a number, as in file.safetensors@0.8")
    return Lora(Path(name), number)
