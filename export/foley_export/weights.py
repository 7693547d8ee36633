"""Read weights of every released spelling into a module, and name what does not fit."""

import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from foley.errors import CheckpointError

State = dict[str, Tensor]
Module = TypeVar("Module", bound=nn.Module)

VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""diffusers before 0.18 → now."""
LDM_ATTENTION = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}
"""CompVis latent diffusion, whose projections are 1×1 convolutions → diffusers."""


def read_state(path: Path) -> State:
    """Read a safetensors file or a pickled state dict, with no code run from it.

    Raises:
        CheckpointError: the file is truncated, no such file, or a pickle that holds more than tensors.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else _unpickle(path)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(f"{path} cannot be read: {reason}; download it again") from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, expected tensors by name")
    return state


def _unpickle(path: Path) -> Any:  # noqa: ANN401 — whatever the pickle holds
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.load(path, map_location="cpu", weights_only=True)


def tensors(state: dict[str, Any]) -> State:
    """Keep the tensors of a state, floating ones as float32."""
    kept = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    return {name: value.float() if value.is_floating_point() else value for name, value in kept.items()}


def respell_vae(state: State) -> State:
    """Give a VAE's attention its present names and shapes."""
    return dict(_respell(name, tensor) for name, tensor in state.items())


def _respell(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    head, mark, tail = name.partition(".attentions.0.")
    if not mark:
        return name, tensor
    module, _, kind = tail.rpartition(".")
    module = {**VAE_ATTENTION, **LDM_ATTENTION}.get(module, module)
    if tensor.ndim == 4 and tensor.shape[2:] == (1, 1):
        tensor = tensor[:, :, 0, 0]
    return f"{head}{mark}{module}.{kind}", tensor


def without_prefix(state: State, prefix: str, wanted: set[str]) -> State:
    """Take a prefix off, or put it on, where that is what the module's own names need."""
    if wanted & set(state):
        return state
    if any(name.startswith(prefix) for name in state):
        return {name.removeprefix(prefix): value for name, value in state.items()}
    return {prefix + name: value for name, value in state.items()}


def fold_weight_norm(state: State) -> State:
    """Multiply weight norm out: w = g · v / ‖v‖ over all axes but the first (Salimans & Kingma 2016)."""
    folded = {name: value for name, value in state.items() if not name.endswith((".weight_g", ".weight_v"))}
    for name, direction in state.items():
        if name.endswith(".weight_v"):
            module = name.removesuffix("_v")
            if f"{module}_g" not in state:
                raise CheckpointError(f"vocoder: {name} has no {module}_g beside it; the file is incomplete")
            norm = torch.linalg.vector_norm(direction, dim=tuple(range(1, direction.ndim)), keepdim=True)
            folded[module] = state[f"{module}_g"] * direction / norm
    return folded


def build(component: str, make: Callable[[], Module], state: State) -> Module:
    """Make a module without allocating its weights, then give it the checkpoint's.

    Raises:
        CheckpointError: a tensor is missing or has the wrong shape; the message names it.
    """
    from accelerate import init_empty_weights

    with init_empty_weights(include_buffers=False):
        module = make()
    _check(component, module.state_dict(), state)
    module.load_state_dict(state, strict=False, assign=True)
    module.eval().requires_grad_(requires_grad=False)
    return module


def _check(component: str, expected: State, state: State) -> None:
    missing = [name for name in expected if name not in state]
    if missing:
        raise CheckpointError(
            f"{component}: {len(missing)} of {len(expected)} tensors are missing, first {missing[0]}; "
            "its config.json and its weights do not belong together, or the file is incomplete"
        )
    for name, tensor in expected.items():
        if tuple(state[name].shape) != tuple(tensor.shape):
            raise CheckpointError(
                f"{component}: {name} has shape {list(state[name].shape)}, expected {list(tensor.shape)} by config.json"
            )
