"""Auffusion: Stable Diffusion 1.x over pictures of mel spectrograms, and a HiFi-GAN.

Two layouts were released. The *adapter* repositories (`auffusion/auffusion`, `auffusion/auffusion-full`) list their
text encoders in `condition_config.json`, each with a linear adapter behind it; the *no-adapter* repository
(`auffusion/auffusion-full-no-adapter`) is a StableDiffusionPipeline folder with `vocoder/` beside it
(Xue et al. 2024; constants from the authors' `auffusion_pipeline.py` and `converter.py`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, cast

from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from foley import contract
from foley.errors import CheckpointError
from foley.manifest import Audio, Conditioning, Defaults, LatentSpace, TextEncoder, Tokenizer
from foley_export.adapter import ConditionAdapter, adapter_state
from foley_export.checkpoint import Checkpoint
from foley_export.graphs import AdaptedContext, LatentDecoder, PaddedContext, Vocoder
from foley_export.lora import Lora, fuse_text_encoder, fuse_unet, lora_parts
from foley_export.model import GraphPlan, Model
from foley_export.plans import decoder_plan, denoise_plan, example_ids, vocoder_plan
from foley_export.scheduler_config import default_sampler, noise_schedule
from foley_export.text import HiddenStates, TextModel, load_text_model, text_model
from foley_export.tokenizer import write_tokenizer
from foley_export.vocoder import Generator, VocoderConfig, vocoder_config
from foley_export.weights import build, fold_weight_norm, read_state, respell_vae, tensors

LAYOUTS: Final = (
    "condition_config.json (Auffusion with adapters), or model_index.json and vocoder/ (Auffusion without adapters)"
)
ADAPTER_CONTEXT: Final = 77
"""The reference pads every encoder's hidden states to 77 rows, whatever the encoder."""
SCALING_FACTOR: Final = 0.18215
"""Stable Diffusion's, where vae/config.json does not say."""
CLIP_LORA_PREFIXES: Final = {
    "encoder.model.text_model.": "text_encoder.text_model.",  # transformers before 5.6
    "encoder.model.": "text_encoder.text_model.",
}


@dataclass(frozen=True)
class Text:
    """One text encoder of a layout: its place in the manifest, its graph and what writes its tokenizer."""

    encoder: TextEncoder
    plan: GraphPlan
    write_tokenizer: Callable[[Path], None]
    length: int
    """L of its context."""
    width: int
    """D of its context."""


def recognises(checkpoint: Checkpoint) -> bool:
    """Say whether a folder has one of the two layouts."""
    return checkpoint.has("condition_config.json") or (checkpoint.has("model_index.json") and checkpoint.has("vocoder"))


def read_model(checkpoint: Checkpoint, loras: Sequence[Lora] = ()) -> Model:
    """Read configs and plan the graphs; weights are read when a graph is built.

    Raises:
        CheckpointError: a file or key is missing, or a LoRA does not belong to this model.
    """
    unet = checkpoint.config("unet/config.json")
    vae = checkpoint.config("vae/config.json")
    scheduler = checkpoint.config("scheduler/scheduler_config.json")
    vocoder = vocoder_config(checkpoint.config("vocoder/config.json"))
    _check_weights(checkpoint)
    for lora in loras:
        lora_parts(lora)  # unreadable or of another kind: said before anything is written
    adapted = checkpoint.has("condition_config.json")
    texts = _adapted_texts(checkpoint, loras) if adapted else [_plain_text(checkpoint, loras)]
    return Model(
        system="auffusion",
        audio=Audio(sample_rate_hz=vocoder.sample_rate_hz, hop_samples=vocoder.hop_samples, mel_bins=vocoder.mel_bins),
        latents=_latents(unet, vae, vocoder),
        conditioning=_conditioning(texts, "zeros" if adapted else "empty_prompt"),
        schedule=noise_schedule(scheduler),
        defaults=Defaults(steps=100, guidance=7.5, sampler=default_sampler(scheduler), seconds=10.0),
        graphs=_graphs(checkpoint, texts, unet, vae, vocoder, loras),
        tokenizers={text.encoder.tokenizers[0].file: text.write_tokenizer for text in texts},
        loras=tuple(map(str, loras)),
    )


def _check_weights(checkpoint: Checkpoint) -> None:
    """Miss a file now, not after minutes of tracing."""
    for component in ("unet", "vae"):
        checkpoint.weights(component)
    checkpoint.file("vocoder/vocoder.pt")


def _graphs(
    checkpoint: Checkpoint,
    texts: Sequence[Text],
    unet: dict[str, Any],
    vae: dict[str, Any],
    vocoder: VocoderConfig,
    loras: Sequence[Lora],
) -> tuple[GraphPlan, ...]:
    length, width = sum(text.length for text in texts), texts[0].width
    if unet.get("cross_attention_dim", 1280) != width:
        expected = unet.get("cross_attention_dim", 1280)
        raise CheckpointError(f"unet/config.json has cross_attention_dim {expected}, the text encoders give {width}")
    latents = _latents(unet, vae, vocoder)
    return (
        *(text.plan for text in texts),
        denoise_plan(partial(_load_unet, checkpoint, unet, loras), latents, length, width),
        decoder_plan(partial(_load_decoder, checkpoint, vae), latents),
        vocoder_plan(partial(_load_vocoder, checkpoint, vocoder), vocoder),
    )


def _latents(unet: dict[str, Any], vae: dict[str, Any], vocoder: VocoderConfig) -> LatentSpace:
    factor = _halvings("vae", vae)
    if vocoder.mel_bins % factor:
        raise CheckpointError(f"vocoder/config.json has num_mels {vocoder.mel_bins}, expected a multiple of {factor}")
    return LatentSpace(
        channels=int(unet.get("in_channels", 4)),
        bins=vocoder.mel_bins // factor,
        time_axis="width",
        column_multiple=_halvings("unet", unet),
        frames_per_column=factor,
    )


def _halvings(component: str, config: dict[str, Any]) -> int:
    """Give by how much a component's lowest level is smaller than its highest."""
    levels = config.get("block_out_channels")
    if not isinstance(levels, list) or not levels:
        raise CheckpointError(f"{component}/config.json has block_out_channels {levels!r}, expected a list of widths")
    return 1 << (len(levels) - 1)


def _conditioning(texts: Sequence[Text], unconditional: Literal["zeros", "empty_prompt"]) -> Conditioning:
    for text in texts:
        if text.width != texts[0].width:
            raise CheckpointError(
                f"{text.plan.name} gives {text.width} columns, the encoder before it {texts[0].width}; "
                "contexts are joined along the token axis and need one width"
            )
    return Conditioning(encoders=tuple(text.encoder for text in texts), unconditional=unconditional)


def _plain_text(checkpoint: Checkpoint, loras: Sequence[Lora]) -> Text:
    """Stable Diffusion's recipe: every prompt padded to the encoder's length, "" for no prompt."""
    model = text_model(checkpoint, "text_encoder", "tokenizer")
    if not model.causal:
        raise CheckpointError(f"text_encoder/ holds a {model.kind} model, expected CLIP in the no-adapter layout")

    def load() -> nn.Module:
        return PaddedContext(HiddenStates(_load_text(checkpoint, model, loras), masked=False))

    length = model.max_tokens
    plan = GraphPlan(
        name=contract.TEXT_ENCODER,
        build=load,
        inputs={contract.INPUT_IDS: ("B", length)},
        outputs={contract.CONTEXT: ("B", length, model.width)},
        example=lambda: {contract.INPUT_IDS: example_ids(model.pad_id, length)[0]},
        lora_prefixes=CLIP_LORA_PREFIXES,
    )
    return _text(model, plan, length, model.width)


def _adapted_texts(checkpoint: Checkpoint, loras: Sequence[Lora]) -> list[Text]:
    """Auffusion's recipe: prompts encoded without padding, padded with zeros, adapted; zeros for no prompt."""
    entries = checkpoint.json("condition_config.json")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError("condition_config.json holds no list of conditions, expected one object a text encoder")
    names = [contract.TEXT_ENCODER] if len(entries) == 1 else [f"text_encoder_{i}" for i in range(len(entries))]
    return [
        _adapted_text(checkpoint, name, entry, loras, first=index == 0)
        for index, (name, entry) in enumerate(zip(names, entries, strict=True))
    ]


def _adapted_text(
    checkpoint: Checkpoint, name: str, entry: dict[str, Any], loras: Sequence[Lora], *, first: bool
) -> Text:
    """Plan one text encoder; LoRA files know of the first."""
    try:
        folder, adapter = entry["text_encoder_name"], entry["condition_adapter_name"]
    except KeyError as error:
        raise CheckpointError(f"condition_config.json lacks the key {error} in the entry of {name}") from error
    model = text_model(checkpoint, folder, folder)
    sizes = checkpoint.config(f"{adapter}/config.json")
    checkpoint.file(f"{adapter}/condition_adapter.pt")
    width = int(sizes.get("cross_attention_dim", entry.get("cross_attention_dim", 768)))

    def load() -> nn.Module:
        encoder = HiddenStates(_load_text(checkpoint, model, loras if first else ()), masked=not model.causal)
        return AdaptedContext(encoder, _load_adapter(checkpoint, adapter, model.width, width), ADAPTER_CONTEXT)

    # Longer prompts: CLIP has no positions for them, so they are cut; the others are encoded whole and cut afterwards.
    axes = ("B", ADAPTER_CONTEXT if model.causal else "L")
    plan = GraphPlan(
        name=name,
        build=load,
        inputs={contract.INPUT_IDS: axes, contract.TOKEN_MASK: axes},
        outputs={contract.CONTEXT: ("B", ADAPTER_CONTEXT, width)},
        example=lambda: dict(
            zip((contract.INPUT_IDS, contract.TOKEN_MASK), example_ids(model.pad_id, ADAPTER_CONTEXT), strict=True)
        ),
        half=model.kind != "t5",  # its feed-forward layers overflow half for some words, and it runs once a clip
        lora_prefixes=CLIP_LORA_PREFIXES if first and model.kind == "clip" else {},
    )
    return _text(model, plan, ADAPTER_CONTEXT, width)


def _text(model: TextModel, plan: GraphPlan, length: int, width: int) -> Text:
    tokenizer = Tokenizer(
        file=f"tokenizer/{plan.name}.json",
        ids=contract.INPUT_IDS,
        mask=contract.TOKEN_MASK if contract.TOKEN_MASK in plan.inputs else None,
        max_tokens=model.max_tokens,
        pad_to=length,
        pad_id=model.pad_id,
    )
    writer = partial(write_tokenizer, model.tokenizer)
    return Text(TextEncoder(graph=plan.name, tokenizers=(tokenizer,)), plan, writer, length, width)


def _load_text(checkpoint: Checkpoint, model: TextModel, loras: Sequence[Lora]) -> nn.Module:
    encoder = load_text_model(checkpoint, model)
    for lora in loras:
        if "text_encoder" in lora_parts(lora):
            fuse_text_encoder(encoder, lora)
    return encoder


def _load_adapter(checkpoint: Checkpoint, folder: str, inner: int, outer: int) -> ConditionAdapter:
    state = adapter_state(tensors(read_state(checkpoint.file(f"{folder}/condition_adapter.pt"))))
    return build(folder, lambda: ConditionAdapter(inner, outer), state)


def _load_unet(checkpoint: Checkpoint, config: dict[str, Any], loras: Sequence[Lora]) -> nn.Module:
    state = tensors(read_state(checkpoint.weights("unet")))
    unet = build("unet", lambda: cast("nn.Module", UNet2DConditionModel.from_config(config)), state)
    for lora in loras:
        fuse_unet(unet, lora)
    return unet


def _load_decoder(checkpoint: Checkpoint, config: dict[str, Any]) -> LatentDecoder:
    state = respell_vae(tensors(read_state(checkpoint.weights("vae"))))
    vae: Any = build("vae", lambda: cast("nn.Module", AutoencoderKL.from_config(config)), state)
    return LatentDecoder(vae.post_quant_conv, vae.decoder, float(config.get("scaling_factor", SCALING_FACTOR)))


def _load_vocoder(checkpoint: Checkpoint, config: VocoderConfig) -> Vocoder:
    stored = read_state(checkpoint.file("vocoder/vocoder.pt"))
    generator = stored.get("generator")
    if not isinstance(generator, dict):
        raise CheckpointError(f"vocoder/vocoder.pt has keys {', '.join(stored) or 'none'}, expected 'generator'")
    return Vocoder(build("vocoder", lambda: Generator(config), fold_weight_norm(tensors(generator))))
