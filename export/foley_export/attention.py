"""Attention traced as one node, so that each engine's dialect can spell it in its own way.

The tracer writes `com.microsoft.MultiHeadAttention`, whose inputs are the projections as they come, [B,L,heads·D].
From one node every other spelling follows by a local rewrite (`foley_export.dialect`), where finding attention again
among a dozen traced nodes may silently find nothing.
"""

from typing import Any

import torch
from torch import Tensor

from foley.errors import CheckpointError


class OneNodeAttention:
    """A diffusers attention processor that traces to one MultiHeadAttention node.

    It computes nothing in eager mode: set it for tracing only, after reference outputs were taken.
    """

    def __call__(
        self,
        attn: Any,  # noqa: ANN401 — diffusers has no types
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,  # noqa: ARG002 — only spatial normalisation reads it
    ) -> Tensor:
        """Attend as diffusers' `AttnProcessor2_0` does; tokens [B,L,C] or a picture [B,C,H,W] in, the same out."""
        _refuse(attn, masked=attention_mask is not None)
        tokens = _tokens(hidden_states)
        if attn.group_norm is not None:
            tokens = attn.group_norm(tokens.transpose(1, 2)).transpose(1, 2)
        source = tokens if encoder_hidden_states is None else encoder_hidden_states
        attended = _attend(attn.to_q(tokens), attn.to_k(source), attn.to_v(source), attn.heads, attn.scale)
        output: Tensor = attn.to_out[0](attended)
        if hidden_states.ndim == 4:
            output = output.transpose(1, 2).reshape(hidden_states.shape)
        if attn.residual_connection:
            output = output + hidden_states
        return output / attn.rescale_output_factor if attn.rescale_output_factor != 1 else output


def _refuse(attn: Any, *, masked: bool) -> None:  # noqa: ANN401
    """Stop at attention of a kind that the node would compute otherwise.

    Raises:
        CheckpointError: the U-Net or VAE has such attention; the message names its kind.
    """
    kinds = ("spatial_norm", "norm_cross", "norm_q", "norm_k", "upcast_attention", "added_kv_proj_dim")
    found = [kind for kind in kinds if getattr(attn, kind, None)] + (["attention_mask"] if masked else [])
    if found:
        raise CheckpointError(f"attention with {', '.join(found)} cannot be exported yet")


def _tokens(hidden: Tensor) -> Tensor:
    return hidden.flatten(2).transpose(1, 2) if hidden.ndim == 4 else hidden


def _attend(query: Tensor, key: Tensor, value: Tensor, heads: int, scale: float) -> Tensor:
    attended: Tensor = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        (query, key, value),
        attrs={"num_heads": heads, "scale": float(scale)},
        dtype=query.dtype,
        shape=query.shape,
        version=1,
    )
    return attended
