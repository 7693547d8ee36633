"""Random weights that keep a signal alive: activations of order one from the prompt to the waveform.

Every tensor has its own generator, keyed by the seed, the component and the tensor's name, so a value depends neither
on the order of writing nor on the other tensors. Matrices are fan-in scaled normals, norms are 1 ± 0.1, and what ends a
residual branch is smaller, so that depth does not blow the sum up.
"""

import hashlib
import re
from math import prod, sqrt
from typing import TypeAlias

import numpy as np
import torch

from foley_bench.checkpoints.shapes import INDICES, TIED, Shape, Shapes

State: TypeAlias = dict[str, torch.Tensor]

_GAINS = (  # first match wins; standard deviation × sqrt(fan-in)
    (r"up_blocks.*\.attn2\.to_out\.0\.weight$", 2.0),  # the prompt must be heard in the output
    (r"\.(conv2|proj_out|to_out\.0|net\.2)\.weight$", 0.4),  # ends of residual branches, U-Net and VAE
    (r"\.(out_proj|fc2|o|wo)\.weight$", 0.4),  # CLIP, T5
    (r"SelfAttention\.q\.weight$", 0.2),  # T5 does not divide its logits by sqrt(head width)
    (r"^decoder\.conv_out\.weight$", 0.9),  # the picture spreads over [-1, 1], few values beyond
)
_TABLES = (  # embeddings: standard deviation
    (r"position_embedding", 0.3),
    (r"relative_attention_bias", 0.5),
    (r"(token_embedding|word_embeddings|token_type_embeddings|^shared)\.?", 1.0),
)
_VOCODER_GAIN = {"conv_pre": 0.3, "conv_post": 1.0}


def random_state(component: str, shapes: Shapes, *, seed: int, dtype: torch.dtype) -> State:
    """Return a tensor of `dtype` for each name in `shapes`; index buffers stay int64, tied names share a tensor."""
    state: State = {}
    for name in shapes:
        if name in TIED:
            state[name] = state[TIED[name]]
        else:
            state[name] = _tensor(component, name, shapes, seed, dtype)
    return state


def _tensor(component: str, name: str, shapes: Shapes, seed: int, dtype: torch.dtype) -> torch.Tensor:
    shape = shapes[name]
    if name.endswith(INDICES):
        row = torch.arange(shape[1]) if name.endswith("position_ids") else torch.zeros(shape[1], dtype=torch.int64)
        return row.expand(shape).contiguous()
    key = hashlib.blake2b(f"{seed}/{component}/{name}".encode(), digest_size=8).digest()
    noise = torch.from_numpy(np.random.default_rng(int.from_bytes(key, "big")).standard_normal(shape, dtype=np.float32))
    mean, deviation = _moments(name, shapes)
    return noise.mul_(deviation).add_(mean).to(dtype)


def _moments(name: str, shapes: Shapes) -> tuple[float, float]:
    """Return mean and standard deviation of one tensor."""
    shape = shapes[name]
    if name.endswith("bias") and len(shape) == 1:
        return 0.0, 0.05
    if name.endswith("weight_v"):
        return 0.0, 0.01
    if name.endswith("weight_g"):
        size = _norm_of_rows(name.removesuffix(".weight_g"), shapes)
        return size, 0.1 * size
    if len(shape) == 1:
        return 1.0, 0.1
    return 0.0, _table_deviation(name) or _gain(name) / sqrt(prod(shape[1:]))


def _gain(name: str) -> float:
    return next((gain for pattern, gain in _GAINS if re.search(pattern, name)), 1.0)


def _table_deviation(name: str) -> float | None:
    return next((deviation for pattern, deviation in _TABLES if re.search(pattern, name)), None)


def _norm_of_rows(layer: str, shapes: Shapes) -> float:
    """Return weight_g: the norm over all axes but the first that keeps a signal's size through the layer."""
    shape: Shape = shapes[f"{layer}.weight_v"]
    if layer.startswith("ups."):  # transposed: the first axis is the input, and stride ≈ kernel / 2 taps overlap twice
        return sqrt(prod(shape[1:]) / (2 * shape[0]))
    return _VOCODER_GAIN.get(layer, 0.4 if "convs2" in layer else 1.0)
