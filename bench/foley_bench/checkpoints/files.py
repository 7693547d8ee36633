"""Write one file of a checkpoint: JSON, safetensors or a pickled state dict."""

import json
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import save_file

from foley_bench.checkpoints.shapes import TIED
from foley_bench.checkpoints.weights import State

Weights: TypeAlias = Literal["safetensors", "bin"]


def write_json(path: Path, content: Any) -> None:  # noqa: ANN401 - JSON
    """Write `content`, indented by two as diffusers and transformers do, with the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_pickle(path: Path, content: dict[str, Any]) -> None:
    """Write a state dict, or a dict of them, as torch.save does; tied tensors share their storage."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)


def write_weights(folder: Path, state: State, *, kind: Weights, library: Literal["diffusers", "transformers"]) -> None:
    """Write a component's weight file under the name that its library looks for.

    safetensors holds no tensor twice, so a tied name goes only into a .bin.
    """
    safe = kind == "safetensors"
    stem = "diffusion_pytorch_model" if library == "diffusers" else "model" if safe else "pytorch_model"
    path = folder / f"{stem}.{kind}"
    if not safe:
        write_pickle(path, state)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor for name, tensor in state.items() if name not in TIED}, path, metadata={"format": "pt"})
    path.chmod(0o644)  # safetensors leaves it readable by the owner only
