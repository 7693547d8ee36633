"""Tensor name → shape of every released weight file, without allocating a tensor.

Text encoders, adapter and vocoder are spelled out here, because the released names are older than the installed
transformers' (CLIP lost its `text_model.` prefix in version 5); U-Net and VAE come from diffusers on the meta device.
"""

from math import prod
from typing import Any, TypeAlias

import diffusers
import torch

from foley_bench.checkpoints.configs import Config, Encoder

Shape: TypeAlias = tuple[int, ...]
Shapes: TypeAlias = dict[str, Shape]

TIED = {"encoder.embed_tokens.weight": "shared.weight"}  # T5: one embedding under two names
INDICES = ("position_ids", "token_type_ids")  # int64 buffers that older files carry


def unet_shapes(config: Config) -> Shapes:
    """Return the tensors of unet/diffusion_pytorch_model."""
    return _meta_shapes(diffusers.UNet2DConditionModel, config)


def vae_shapes(config: Config) -> Shapes:
    """Return the tensors of vae/diffusion_pytorch_model under their current names (to_q, to_k, to_v, to_out.0)."""
    return _meta_shapes(diffusers.AutoencoderKL, config)


def encoder_shapes(encoder: Encoder, config: Config) -> Shapes:
    """Return the tensors of a text encoder's weight file."""
    return {"clip": _clip_shapes, "t5": _t5_shapes, "clap": _clap_shapes}[encoder](config)


def adapter_shapes(width: int, cross_attention_dim: int) -> Shapes:
    """Return the tensors of condition_adapter.pt: Linear(width → cross_attention_dim), then LayerNorm."""
    return {**_linear("proj", cross_attention_dim, width), **_norm("norm", cross_attention_dim)}


def vocoder_shapes(config: Config) -> Shapes:
    """Return the tensors of vocoder.pt["generator"]: HiFi-GAN with its weight norm unfolded (weight_g, weight_v)."""
    channels = config["upsample_initial_channel"]
    shapes = _normed_conv("conv_pre", (channels, config["num_mels"], 7), channels)
    kernels = config["resblock_kernel_sizes"]
    for stage, kernel in enumerate(config["upsample_kernel_sizes"]):
        shapes |= _normed_conv(f"ups.{stage}", (channels, channels // 2, kernel), channels // 2)
        channels //= 2
        for branch, size in enumerate(kernels):
            shapes |= _resblock(f"resblocks.{stage * len(kernels) + branch}", channels, size)
    return shapes | _normed_conv("conv_post", (1, channels, 7), 1)


def parameters(shapes: Shapes) -> int:
    """Return the number of elements, a tied tensor counted once."""
    return sum(prod(shape) for name, shape in shapes.items() if name not in TIED)


def _meta_shapes(model: Any, config: Config) -> Shapes:  # noqa: ANN401 - diffusers has no types
    known = {key: value for key, value in config.items() if key in model._get_init_keys(model)}
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in model(**known).state_dict().items()}


def _clip_shapes(config: Config) -> Shapes:
    width, inner = config["hidden_size"], config["intermediate_size"]
    shapes: Shapes = {
        "text_model.embeddings.token_embedding.weight": (config["vocab_size"], width),
        "text_model.embeddings.position_embedding.weight": (config["max_position_embeddings"], width),
    }
    for layer in range(config["num_hidden_layers"]):
        root = f"text_model.encoder.layers.{layer}"
        for part in ("k_proj", "v_proj", "q_proj", "out_proj"):
            shapes |= _linear(f"{root}.self_attn.{part}", width, width)
        shapes |= _norm(f"{root}.layer_norm1", width)
        shapes |= _linear(f"{root}.mlp.fc1", inner, width) | _linear(f"{root}.mlp.fc2", width, inner)
        shapes |= _norm(f"{root}.layer_norm2", width)
    return shapes | _norm("text_model.final_layer_norm", width)


def _t5_shapes(config: Config) -> Shapes:
    width, heads = config["d_model"], config["num_heads"]
    inner = heads * config["d_kv"]
    embedding = (config["vocab_size"], width)
    shapes: Shapes = {"shared.weight": embedding, "encoder.embed_tokens.weight": embedding}
    for block in range(config["num_layers"]):
        root = f"encoder.block.{block}.layer"
        shapes |= {f"{root}.0.SelfAttention.{part}.weight": (inner, width) for part in "qkv"}
        shapes[f"{root}.0.SelfAttention.o.weight"] = (width, inner)
        if block == 0:
            buckets = config["relative_attention_num_buckets"]
            shapes[f"{root}.0.SelfAttention.relative_attention_bias.weight"] = (buckets, heads)
        shapes[f"{root}.0.layer_norm.weight"] = (width,)
        shapes |= {f"{root}.1.DenseReluDense.{part}.weight": (config["d_ff"], width) for part in ("wi_0", "wi_1")}
        shapes[f"{root}.1.DenseReluDense.wo.weight"] = (width, config["d_ff"])
        shapes[f"{root}.1.layer_norm.weight"] = (width,)
    return shapes | {"encoder.final_layer_norm.weight": (width,)}


def _clap_shapes(config: Config) -> Shapes:
    width, positions = config["hidden_size"], config["max_position_embeddings"]
    table = "text_model.embeddings"
    shapes: Shapes = {f"{table}.{name}": (1, positions) for name in INDICES}
    shapes[f"{table}.word_embeddings.weight"] = (config["vocab_size"], width)
    shapes[f"{table}.position_embeddings.weight"] = (positions, width)
    shapes[f"{table}.token_type_embeddings.weight"] = (config["type_vocab_size"], width)
    shapes |= _norm(f"{table}.LayerNorm", width)
    for layer in range(config["num_hidden_layers"]):
        shapes |= _bert_layer(f"text_model.encoder.layer.{layer}", width, config["intermediate_size"])
    projection = config["projection_dim"]
    return (
        shapes
        | _linear("text_model.pooler.dense", width, width)
        | _linear("text_projection.linear1", projection, width)
        | _linear("text_projection.linear2", projection, projection)
    )


def _bert_layer(root: str, width: int, inner: int) -> Shapes:
    shapes: Shapes = {}
    for part in ("query", "key", "value"):
        shapes |= _linear(f"{root}.attention.self.{part}", width, width)
    shapes |= _linear(f"{root}.attention.output.dense", width, width)
    shapes |= _norm(f"{root}.attention.output.LayerNorm", width)
    shapes |= _linear(f"{root}.intermediate.dense", inner, width)
    return shapes | _linear(f"{root}.output.dense", width, inner) | _norm(f"{root}.output.LayerNorm", width)


def _resblock(root: str, channels: int, kernel: int) -> Shapes:
    shapes: Shapes = {}
    for half in ("convs1", "convs2"):
        for layer in range(3):
            shapes |= _normed_conv(f"{root}.{half}.{layer}", (channels, channels, kernel), channels)
    return shapes


def _normed_conv(name: str, shape: Shape, outputs: int) -> Shapes:
    return {f"{name}.bias": (outputs,), f"{name}.weight_g": (shape[0], 1, 1), f"{name}.weight_v": shape}


def _linear(name: str, outputs: int, inputs: int) -> Shapes:
    return {f"{name}.weight": (outputs, inputs), f"{name}.bias": (outputs,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}
