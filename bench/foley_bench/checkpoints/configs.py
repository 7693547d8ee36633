"""The configuration files of a checkpoint, as data, at two sizes.

`full` is Stable Diffusion 1.x with CLIP ViT-L/14 (OpenAI), FLAN-T5-large (Google), the AudioLDM CLAP text branch and
the Auffusion HiFi-GAN; `tiny` keeps every structural number (levels, layers, heads, strides) and shrinks the widths.
"""

from typing import Any, Literal, TypeAlias

Size: TypeAlias = Literal["tiny", "full"]
Encoder: TypeAlias = Literal["clip", "t5", "clap"]
Config: TypeAlias = dict[str, Any]

CLIP_TOKENS = 77  # rows of conditioning that one encoder gives the U-Net
CLIP_VOCABULARY = {"tiny": 768, "full": 49408}
CLAP_VOCABULARY = {"tiny": 640, "full": 50265}
T5_VOCABULARY = {"tiny": 512, "full": 32128}  # rows of the embedding; the tokenizer holds 28 fewer, as in FLAN-T5
CROSS_ATTENTION_DIM = {"tiny": 32, "full": 768}

_IGNORED_EMA_KEYS: Config = {
    "decay": 0.9999,
    "inv_gamma": 1.0,
    "min_decay": 0.0,
    "optimization_step": 100000,
    "power": 0.6667,
    "update_after_step": 0,
    "use_ema_warmup": False,
}


def unet_config(size: Size) -> Config:
    """Return unet/config.json: UNet2DConditionModel, with the EMA keys that training left in the released file."""
    return {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": "0.18.2",
        "act_fn": "silu",
        "attention_head_dim": 8,
        "block_out_channels": {"tiny": [32, 64, 64, 64], "full": [320, 640, 1280, 1280]}[size],
        "center_input_sample": False,
        "cross_attention_dim": CROSS_ATTENTION_DIM[size],
        "down_block_types": ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"],
        "downsample_padding": 1,
        "flip_sin_to_cos": True,
        "freq_shift": 0,
        "in_channels": 4,
        "layers_per_block": 2,
        "mid_block_scale_factor": 1,
        "norm_eps": 1e-05,
        "norm_num_groups": {"tiny": 16, "full": 32}[size],
        "out_channels": 4,
        "sample_size": 64,
        "up_block_types": ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3,
        **_IGNORED_EMA_KEYS,
    }


def vae_config(size: Size) -> Config:
    """Return vae/config.json: AutoencoderKL, 3 image channels, 4 latent channels, factor 8."""
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": "0.18.2",
        "act_fn": "silu",
        "block_out_channels": {"tiny": [32, 32, 32, 32], "full": [128, 256, 512, 512]}[size],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "in_channels": 3,
        "latent_channels": 4,
        "layers_per_block": {"tiny": 1, "full": 2}[size],
        "norm_num_groups": {"tiny": 16, "full": 32}[size],
        "out_channels": 3,
        "sample_size": 512,
        "scaling_factor": 0.18215,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
    }


def vocoder_config(size: Size) -> Config:
    """Return vocoder/config.json of the Auffusion HiFi-GAN: 256 mels at 100 frames/s to 16 kHz."""
    return {
        "resblock": "1",
        "num_gpus": 0,
        "batch_size": 16,
        "learning_rate": 0.0002,
        "adam_b1": 0.8,
        "adam_b2": 0.99,
        "lr_decay": 0.999,
        "seed": 1234,
        "upsample_rates": [5, 4, 4, 2],
        "upsample_kernel_sizes": [11, 8, 8, 4],
        "upsample_initial_channel": {"tiny": 32, "full": 512}[size],
        "resblock_kernel_sizes": [3, 7, 11],
        "resblock_dilation_sizes": [[1, 3, 5], [1, 3, 5], [1, 3, 5]],
        "segment_size": 5120,
        "num_mels": 256,
        "num_freq": 2049,
        "n_fft": 2048,
        "hop_size": 160,
        "win_size": 1024,
        "sampling_rate": 16000,
        "fmin": 0,
        "fmax": None,
        "fmax_for_loss": None,
        "num_workers": 4,
        "dist_config": {"dist_backend": "nccl", "dist_url": "tcp://localhost:54321", "world_size": 1},
    }


def scheduler_config(prediction_type: str) -> Config:
    """Return scheduler/scheduler_config.json: PNDM with the constants of Stable Diffusion 1.5."""
    return {
        "_class_name": "PNDMScheduler",
        "_diffusers_version": "0.18.2",
        "beta_end": 0.012,
        "beta_schedule": "scaled_linear",
        "beta_start": 0.00085,
        "clip_sample": False,
        "num_train_timesteps": 1000,
        "prediction_type": prediction_type,
        "set_alpha_to_one": False,
        "skip_prk_steps": True,
        "steps_offset": 1,
        "timestep_spacing": "leading",
        "trained_betas": None,
    }


def encoder_config(encoder: Encoder, size: Size) -> Config:
    """Return the config.json of a text encoder."""
    return {"clip": _clip_config, "t5": _t5_config, "clap": _clap_config}[encoder](size)


def encoder_width(encoder: Encoder, size: Size) -> int:
    """Return D, the width of the encoder's last hidden state: the adapter's input."""
    config = encoder_config(encoder, size)
    return int(config["d_model"] if encoder == "t5" else config["hidden_size"])


def _clip_config(size: Size) -> Config:
    """Give the config of CLIP ViT-L/14. Its special ids are legacy ones of no meaning; the tokenizer has the true."""
    return {
        "architectures": ["CLIPTextModel"],
        "attention_dropout": 0.0,
        "bos_token_id": 0,
        "dropout": 0.0,
        "eos_token_id": 2,
        "hidden_act": "quick_gelu",
        "hidden_size": {"tiny": 32, "full": 768}[size],
        "initializer_factor": 1.0,
        "initializer_range": 0.02,
        "intermediate_size": {"tiny": 128, "full": 3072}[size],
        "layer_norm_eps": 1e-05,
        "max_position_embeddings": CLIP_TOKENS,
        "model_type": "clip_text_model",
        "num_attention_heads": {"tiny": 4, "full": 12}[size],
        "num_hidden_layers": {"tiny": 2, "full": 12}[size],
        "pad_token_id": 1,
        "projection_dim": {"tiny": 32, "full": 768}[size],
        "torch_dtype": "float32",
        "vocab_size": CLIP_VOCABULARY[size],
    }


def _t5_config(size: Size) -> Config:
    return {
        "architectures": ["T5EncoderModel"],
        "d_ff": {"tiny": 96, "full": 2816}[size],
        "d_kv": {"tiny": 8, "full": 64}[size],
        "d_model": {"tiny": 48, "full": 1024}[size],
        "decoder_start_token_id": 0,
        "dropout_rate": 0.1,
        "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu",
        "initializer_factor": 1.0,
        "is_encoder_decoder": True,
        "layer_norm_epsilon": 1e-06,
        "model_type": "t5",
        "num_heads": {"tiny": 4, "full": 16}[size],
        "num_layers": {"tiny": 2, "full": 24}[size],
        "pad_token_id": 0,
        "relative_attention_max_distance": 128,
        "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False,
        "torch_dtype": "float32",
        "use_cache": True,
        "vocab_size": T5_VOCABULARY[size],
    }


def _clap_config(size: Size) -> Config:
    return {
        "architectures": ["ClapTextModelWithProjection"],
        "attention_probs_dropout_prob": 0.1,
        "bos_token_id": 0,
        "classifier_dropout": None,
        "eos_token_id": 2,
        "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1,
        "hidden_size": {"tiny": 40, "full": 768}[size],
        "initializer_factor": 1.0,
        "intermediate_size": {"tiny": 80, "full": 3072}[size],
        "layer_norm_eps": 1e-12,
        "max_position_embeddings": {"tiny": 130, "full": 514}[size],  # two more than the longest prompt
        "model_type": "clap_text_model",
        "num_attention_heads": {"tiny": 4, "full": 12}[size],
        "num_hidden_layers": {"tiny": 2, "full": 12}[size],
        "pad_token_id": 1,
        "position_embedding_type": "absolute",
        "projection_dim": {"tiny": 16, "full": 512}[size],
        "projection_hidden_act": "relu",
        "torch_dtype": "float32",
        "type_vocab_size": 1,
        "use_cache": True,
        "vocab_size": CLAP_VOCABULARY[size],
    }


_CONDITIONS = {  # condition_type, pretrained_model_name_or_path; only the first is in a released file
    "clip": ("clip-vit-large-patch14_text", "openai/clip-vit-large-patch14"),
    "t5": ("flan-t5-large_text", "google/flan-t5-large"),
    "clap": ("clap-htsat-unfused_text", "laion/clap-htsat-unfused"),
}


def condition_config(encoder: Encoder, size: Size, index: int) -> Config:
    """Return one entry of condition_config.json, which lists the encoders of an adapter checkpoint."""
    kind, origin = _CONDITIONS[encoder]
    return {
        "text_encoder_name": f"text_encoder_{index}",
        "condition_adapter_name": f"condition_adapter_{index}",
        "condition_type": kind,
        "pretrained_model_name_or_path": origin,
        "condition_max_length": CLIP_TOKENS,
        "condition_dim": encoder_width(encoder, size),
        "cross_attention_dim": CROSS_ATTENTION_DIM[size],
    }


MODEL_INDEX: Config = {
    "_class_name": "StableDiffusionPipeline",
    "_diffusers_version": "0.18.2",
    "feature_extractor": ["transformers", "CLIPImageProcessor"],
    "requires_safety_checker": False,
    "safety_checker": [None, None],
    "scheduler": ["diffusers", "PNDMScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "unet": ["diffusers", "UNet2DConditionModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}

FEATURE_EXTRACTOR: Config = {  # CLIP's picture preprocessing; nothing reads it without a safety checker
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "feature_extractor_type": "CLIPFeatureExtractor",
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 0.00392156862745098,
    "size": {"shortest_edge": 224},
}
