"""What is not plain noise in a random checkpoint: the few tensors that keep its signal useful, and older spellings."""

import re
from typing import Literal, TypeAlias

import torch

from foley_bench.checkpoints.weights import State

VaeAttention: TypeAlias = Literal["to_q", "query", "ldm"]

_SPELLINGS = {"query": ("query", "key", "value", "proj_attn"), "ldm": ("q", "k", "v", "proj_out")}


def with_denoising_path(state: State) -> State:
    """Return the U-Net's state with a straight way from the sample to the output, so that a denoising loop converges.

    A random network's noise prediction has nothing to do with its input, and the loop divides such a sample by
    √ᾱ_T ≈ 0.07. Here conv_in copies each latent channel into pairs of channels (+x, −x), the last skip connection
    keeps them, and conv_out subtracts each pair: SiLU(x) − SiLU(−x) = x. The random part stays, at half its size.
    """
    first, last = state["conv_in.weight"], state["conv_out.weight"]
    shortcut = next(name for name in reversed(state) if name.endswith("conv_shortcut.weight"))
    width, latents = first.shape[:2]
    sign = torch.tensor([1.0, -1.0]).repeat(width // 2)
    latent = torch.arange(width) // 2 % latents
    pairs = (sign[:, None] * torch.nn.functional.one_hot(latent, latents)).to(first.dtype)
    copies = torch.eye(width, dtype=first.dtype)
    mixed = {"conv_in.weight": 0.5 * first, shortcut: 0.5 * state[shortcut], "conv_out.weight": 0.5 * last}
    mixed["conv_in.weight"][:, :, 1, 1] += pairs
    mixed[shortcut][:, width:, 0, 0] += copies
    mixed["conv_out.weight"][:, :, 1, 1] += pairs.T * (2 * latents / width)
    return state | mixed


def with_narrow_posterior(state: State) -> State:
    """Return the VAE's state with latents of about the size that `scaling_factor` expects, and little encoder noise.

    quant_conv gives mean and log-variance: the means grow eightfold, the log-variances fall by 8.
    """
    weight, bias = state["quant_conv.weight"].clone(), state["quant_conv.bias"].clone()
    half = len(bias) // 2
    weight[:half] *= 8
    bias[half:] -= 8
    return state | {"quant_conv.weight": weight, "quant_conv.bias": bias}


def without_offset(state: State) -> State:
    """Return the vocoder's state with a last convolution that hears changes only, so that the waveform has no DC."""
    taps = state["conv_post.weight_v"]
    return state | {
        "conv_post.weight_v": taps - taps.mean(-1, keepdim=True),
        "conv_post.bias": state["conv_post.bias"] / 10,
    }


def respelled(state: State, spelling: VaeAttention) -> State:
    """Return the VAE's state with its two attention blocks named as an older release would.

    `query`: diffusers before 0.18, linear. `ldm`: q, k, v, proj_out as 1×1 convolutions [C,C,1,1]. Same values.
    """
    if spelling == "to_q":
        return state
    return dict(_respelled(name, tensor, spelling) for name, tensor in state.items())


def _respelled(name: str, tensor: torch.Tensor, spelling: VaeAttention) -> tuple[str, torch.Tensor]:
    match = re.fullmatch(r"(.*mid_block\.attentions\.0)\.(to_q|to_k|to_v|to_out\.0)\.(weight|bias)", name)
    if match is None:
        return name, tensor
    column = ("to_q", "to_k", "to_v", "to_out.0").index(match[2])
    convolution = spelling == "ldm" and match[3] == "weight"
    return f"{match[1]}.{_SPELLINGS[spelling][column]}.{match[3]}", tensor[:, :, None, None] if convolution else tensor
