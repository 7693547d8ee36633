"""Lay a random checkpoint out on disk as Auffusion's released repositories are.

The adapter repositories keep tokenizer and weights of each text encoder in one folder, have no model_index.json, and
list their encoders in condition_config.json; the no-adapter one is a diffusers StableDiffusionPipeline folder. Both
carry the vocoder as a pickle.
"""

import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import torch

from foley_bench.checkpoints import configs, shapes, structure
from foley_bench.checkpoints.configs import Encoder, Size
from foley_bench.checkpoints.files import Weights, write_json, write_pickle, write_weights
from foley_bench.checkpoints.structure import VaeAttention
from foley_bench.checkpoints.tokenizers import write_tokenizer
from foley_bench.checkpoints.weights import State, random_state
from foley_engines.errors import UsageError

Layout: TypeAlias = Literal["adapter", "no-adapter"]
Dtype: TypeAlias = Literal["float32", "float16"]


@dataclass(frozen=True)
class _Recipe:
    size: Size
    weights: Weights
    dtype: torch.dtype
    vae_attention: VaeAttention
    prediction_type: str
    seed: int

    def state(self, component: str, table: shapes.Shapes) -> State:
        if self.size == "full":
            print(f"{component}: {shapes.parameters(table) / 1e6:.1f} M parameters", file=sys.stderr, flush=True)
        return random_state(component, table, seed=self.seed, dtype=self.dtype)


def write_checkpoint(
    folder: Path,
    *,
    layout: Layout = "adapter",
    size: Size = "tiny",
    encoders: Sequence[Encoder] = ("clip",),
    weights: Weights = "safetensors",
    dtype: Dtype = "float32",
    vae_attention: VaeAttention = "to_q",
    prediction_type: str = "epsilon",
    seed: int = 0,
) -> Path:
    """Write a random-weight Auffusion checkpoint and return its folder.

    It is made beside `folder` under a temporary name and renamed when whole. One component is in memory at a time;
    `full` takes 4.3 GB of disk in float32 and names each component on stderr as it starts.

    Raises UsageError if `folder` exists and is not empty, or if the no-adapter layout is asked for other than CLIP.
    """
    _check(folder, layout, encoders)
    recipe = _Recipe(size, weights, getattr(torch, dtype), vae_attention, prediction_type, seed)
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        if layout == "adapter":
            _write_conditions(draft, recipe, encoders)
        else:
            _write_pipeline(draft, recipe)
        _write_shared(draft, recipe)
        draft.chmod(0o755)
        return draft.replace(folder)
    except BaseException:
        shutil.rmtree(draft)
        raise


def _check(folder: Path, layout: Layout, encoders: Sequence[Encoder]) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not an empty folder; name a new one, or remove it first")
    if layout == "no-adapter" and tuple(encoders) != ("clip",):
        raise UsageError(f"the no-adapter layout has the clip encoder only, got {', '.join(encoders)}; use adapter")
    if not encoders:
        raise UsageError("no text encoder named; give at least one of clip, t5, clap")


def _write_conditions(root: Path, recipe: _Recipe, encoders: Sequence[Encoder]) -> None:
    """Write text_encoder_i (tokenizer included), condition_adapter_i and condition_config.json."""
    for index, encoder in enumerate(encoders):
        _write_encoder(root / f"text_encoder_{index}", recipe, encoder, index)
        write_tokenizer(encoder, root / f"text_encoder_{index}", recipe.size)
        _write_adapter(root / f"condition_adapter_{index}", recipe, encoder, index)
    conditions = [configs.condition_config(encoder, recipe.size, index) for index, encoder in enumerate(encoders)]
    write_json(root / "condition_config.json", conditions)


def _write_pipeline(root: Path, recipe: _Recipe) -> None:
    """Write text_encoder, tokenizer and model_index.json."""
    _write_encoder(root / "text_encoder", recipe, "clip", 0)
    write_tokenizer("clip", root / "tokenizer", recipe.size)
    write_json(root / "model_index.json", configs.MODEL_INDEX)


def _write_encoder(folder: Path, recipe: _Recipe, encoder: Encoder, index: int) -> None:
    config = configs.encoder_config(encoder, recipe.size)
    table = shapes.encoder_shapes(encoder, config)
    if encoder == "clip" and recipe.weights == "bin":  # files that old carry the index buffer
        table = {"text_model.embeddings.position_ids": (1, config["max_position_embeddings"]), **table}
    state = recipe.state(f"text_encoder_{index}", table)
    write_json(folder / "config.json", config)
    write_weights(folder, state, kind=recipe.weights, library="transformers")


def _write_adapter(folder: Path, recipe: _Recipe, encoder: Encoder, index: int) -> None:
    width, target = configs.encoder_width(encoder, recipe.size), configs.CROSS_ATTENTION_DIM[recipe.size]
    name = f"condition_adapter_{index}"
    write_json(folder / "config.json", {"model_name": name, "condition_dim": width, "cross_attention_dim": target})
    write_pickle(folder / "condition_adapter.pt", recipe.state(name, shapes.adapter_shapes(width, target)))


def _write_shared(root: Path, recipe: _Recipe) -> None:
    """Write what both layouts have: feature_extractor, scheduler, unet, vae, vocoder."""
    write_json(root / "feature_extractor" / "preprocessor_config.json", configs.FEATURE_EXTRACTOR)
    write_json(root / "scheduler" / "scheduler_config.json", configs.scheduler_config(recipe.prediction_type))
    _write_vocoder(root / "vocoder", recipe)
    _write_vae(root / "vae", recipe)
    _write_unet(root / "unet", recipe)


def _write_unet(folder: Path, recipe: _Recipe) -> None:
    config = configs.unet_config(recipe.size)
    write_json(folder / "config.json", config)
    state = structure.with_denoising_path(recipe.state("unet", shapes.unet_shapes(config)))
    write_weights(folder, state, kind=recipe.weights, library="diffusers")


def _write_vae(folder: Path, recipe: _Recipe) -> None:
    config = configs.vae_config(recipe.size)
    write_json(folder / "config.json", config)
    state = structure.with_narrow_posterior(recipe.state("vae", shapes.vae_shapes(config)))
    state = structure.respelled(state, recipe.vae_attention)
    write_weights(folder, state, kind=recipe.weights, library="diffusers")


def _write_vocoder(folder: Path, recipe: _Recipe) -> None:
    config = configs.vocoder_config(recipe.size)
    write_json(folder / "config.json", config)
    state = structure.without_offset(recipe.state("vocoder", shapes.vocoder_shapes(config)))
    write_pickle(folder / "vocoder.pt", {"generator": state})
