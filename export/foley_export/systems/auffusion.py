"""Auffusion: Stable Diffusion 1.x over pictures of mel spectrograms, and a HiFi-GAN.

Two layouts were released. The *adapter* repositories (`auffusion/auffusion`, `auffusion/auffusion-full`) list their
text encoders in `condition_config.json`, each with a linear adapter behind it; the *no-adapter* repository
(`auffusion/auffusion-full-no-adapter`) is a StableDiffusionPipeline folder with `vocoder/` beside it
(Xue et al. 2024; constants from the authors' `auffusion_pipeline.py` and `converter.py`).
"""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import Tensor, nn

from foley import contract
from foley.errors import CheckpointError
from foley.manifest import Audio, Conditioning, Defaults, LatentSpace, TextEncoder
from foley_export.adapter import ConditionAdapter, adapter_state
from foley_export.checkpoint import Checkpoint
from foley_export.graphs import AdaptedContext, DenoiseStep, LatentDecoder, PaddedContext, Vocoder
from foley_export.lora import Lora, fuse_text_encoder, fuse_unet, lora_parts
from foley_export.model import GraphPlan, Model
from foley_export.scheduler_config import default_sampler, noise_schedule
from foley_export.text import HiddenStates, TextModel, load_text_model, text_model, write_tokenizer
from foley_export.vocoder import Generator, VocoderConfig, vocoder_config
from foley_export.weights import build, fold_weight_norm, read_state, respell_vae, tensors

LAYOUTS: Final = (
    "condition_config.json (Auffusion with adapters), or model_index.json and vocoder/ (Auffusion without adapters)"
)
ADAPTER_CONTEXT: Final = 77
"""The reference pads every encoder's hidden states to 77 rows, whatever the encoder."""
SCALING_FACTOR: Final = 0.18215
"""Stable Diffusion's, where vae/config.json does not say."""
TRAINED_COLUMNS: Final = 128  # 10.24 s at 80 ms a column
GOLDEN_SEED: Final = 20240103


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
    for component in ("unet", "vae"):
        checkpoint.weights(component)
    checkpoint.file("vocoder/vocoder.pt")
    text = (
        _adapted_text(checkpoint, loras) if checkpoint.has("condition_config.json") else _plain_text(checkpoint, loras)
    )
    latents = _latents(unet, vae, vocoder)
    _check_width(unet, text.width)
    return Model(
        system="auffusion",
        audio=Audio(sample_rate_hz=vocoder.sample_rate_hz, hop_samples=vocoder.hop_samples, mel_bins=vocoder.mel_bins),
        latents=latents,
        conditioning=text.conditioning(),
        schedule=noise_schedule(scheduler),
        defaults=Defaults(steps=100, guidance=7.5, sampler=default_sampler(scheduler), seconds=10.0),
        graphs=(
            *text.graphs,
            _denoise_plan(checkpoint, unet, latents, text, loras),
            _decoder_plan(checkpoint, vae, latents),
            _vocoder_plan(checkpoint, vocoder),
        ),
        tokenizers=text.tokenizers,
        loras=tuple(map(str, loras)),
    )


class _Text:
    """The text side of a layout: encoders, their graphs and tokenizers."""

    def __init__(self, unconditional: str) -> None:
        self.unconditional = unconditional
        self.encoders: list[TextEncoder] = []
        self.graphs: list[GraphPlan] = []
        self.tokenizers: dict[str, Callable[[Path], None]] = {}
        self.length = 0
        self.width = 0

    def add(self, checkpoint: Checkpoint, model: TextModel, tokenizer_folder: str, plan: GraphPlan) -> None:
        """Take one more encoder, whose context follows the others'."""
        file = f"tokenizer/{plan.name}.json"
        dynamic = isinstance(plan.inputs[contract.INPUT_IDS][1], str)
        length, width = plan.output[1][1], plan.output[1][2]
        if self.width not in (0, width):
            raise CheckpointError(f"{plan.name} gives {width} columns, the encoders before it {self.width}")
        self.encoders.append(
            TextEncoder(
                graph=plan.name,
                tokenizer=file,
                max_tokens=model.max_tokens,
                pad_to=int(length),
                pad_id=model.pad_id,
                dynamic_length=dynamic,
            )
        )
        self.graphs.append(plan)
        self.tokenizers[file] = partial(write_tokenizer, checkpoint, tokenizer_folder, model.kind)
        self.length += int(length)
        self.width = int(width)

    def conditioning(self) -> Conditioning:
        """Give the manifest's part."""
        return Conditioning(
            encoders=tuple(self.encoders),
            context_length=self.length,
            context_width=self.width,
            unconditional=self.unconditional,  # type: ignore[arg-type]
        )


def _plain_text(checkpoint: Checkpoint, loras: Sequence[Lora]) -> _Text:
    """Stable Diffusion's recipe: every prompt padded to the encoder's length, "" for no prompt."""
    model = text_model(checkpoint, "text_encoder")
    if not model.causal:
        raise CheckpointError(f"text_encoder/ holds a {model.kind} model, expected CLIP in the no-adapter layout")
    length = model.max_tokens

    def load() -> nn.Module:
        return PaddedContext(HiddenStates(_fused_text(checkpoint, model, loras), masked=False))

    plan = GraphPlan(
        name=contract.TEXT_ENCODER,
        build=load,
        inputs={contract.INPUT_IDS: ("B", length)},
        output=(contract.CONTEXT, ("B", length, model.width)),
        example=lambda: {contract.INPUT_IDS: _example_ids(model, length)[0]},
    )
    text = _Text("empty_prompt")
    text.add(checkpoint, model, "tokenizer", plan)
    return text


def _adapted_text(checkpoint: Checkpoint, loras: Sequence[Lora]) -> _Text:
    """Auffusion's recipe: prompts encoded without padding, padded with zeros, adapted; zeros for no prompt."""
    entries = checkpoint.json("condition_config.json")
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise CheckpointError("condition_config.json holds no list of conditions, expected one object a text encoder")
    text = _Text("zeros")
    for index, entry in enumerate(entries):
        name = contract.TEXT_ENCODER if len(entries) == 1 else f"{contract.TEXT_ENCODER}_{index}"
        _add_adapted(checkpoint, text, name, entry, loras if index == 0 else ())
    return text


def _add_adapted(checkpoint: Checkpoint, text: _Text, name: str, entry: dict[str, Any], loras: Sequence[Lora]) -> None:
    try:
        encoder_folder, adapter_folder = entry["text_encoder_name"], entry["condition_adapter_name"]
    except KeyError as error:
        raise CheckpointError(f"condition_config.json lacks the key {error} in entry {len(text.graphs)}") from error
    model = text_model(checkpoint, encoder_folder)
    sizes = checkpoint.config(f"{adapter_folder}/config.json")
    checkpoint.file(f"{adapter_folder}/condition_adapter.pt")
    width = int(sizes.get("cross_attention_dim", entry.get("cross_attention_dim", 768)))
    # Longer prompts: CLIP has no positions for them, so they are cut; the others are encoded whole and cut afterwards.
    length: int | str = ADAPTER_CONTEXT if model.causal else "L"

    def load() -> nn.Module:
        encoder = HiddenStates(_fused_text(checkpoint, model, loras), masked=not model.causal)
        adapter = _load_adapter(checkpoint, adapter_folder, model.width, width)
        return AdaptedContext(encoder, adapter, ADAPTER_CONTEXT)

    plan = GraphPlan(
        name=name,
        build=load,
        inputs={contract.INPUT_IDS: ("B", length), contract.TOKEN_MASK: ("B", length)},
        output=(contract.CONTEXT, ("B", ADAPTER_CONTEXT, width)),
        example=lambda: dict(
            zip((contract.INPUT_IDS, contract.TOKEN_MASK), _example_ids(model, ADAPTER_CONTEXT), strict=True)
        ),
        half=model.kind != "t5",  # T5's feed-forward layers overflow half precision
    )
    text.add(checkpoint, model, encoder_folder, plan)


def _load_adapter(checkpoint: Checkpoint, folder: str, inner: int, outer: int) -> ConditionAdapter:
    state = adapter_state(tensors(read_state(checkpoint.file(f"{folder}/condition_adapter.pt"))))
    return build(folder, lambda: ConditionAdapter(inner, outer), state)


def _fused_text(checkpoint: Checkpoint, model: TextModel, loras: Sequence[Lora]) -> nn.Module:
    encoder = load_text_model(checkpoint, model)
    for lora in loras:
        if "text_encoder" in lora_parts(lora):
            fuse_text_encoder(encoder, lora)
    return encoder


def _latents(unet: dict[str, Any], vae: dict[str, Any], vocoder: VocoderConfig) -> LatentSpace:
    factor = 2 ** (len(vae["block_out_channels"]) - 1)
    if vocoder.mel_bins % factor:
        raise CheckpointError(f"vocoder/config.json has num_mels {vocoder.mel_bins}, expected a multiple of {factor}")
    return LatentSpace(
        channels=int(unet.get("in_channels", 4)),
        height=vocoder.mel_bins // factor,
        column_multiple=2 ** (len(unet["block_out_channels"]) - 1),
        default_columns=TRAINED_COLUMNS,
        frames_per_column=factor,
    )


def _check_width(unet: dict[str, Any], width: int) -> None:
    expected = unet.get("cross_attention_dim", 1280)
    if expected != width:
        raise CheckpointError(f"unet/config.json has cross_attention_dim {expected}, the text encoders give {width}")


def _denoise_plan(
    checkpoint: Checkpoint, config: dict[str, Any], latents: LatentSpace, text: _Text, loras: Sequence[Lora]
) -> GraphPlan:
    C, H, K, L, D = latents.channels, latents.height, contract.STATE_SLOTS, text.length, text.width
    columns = f"{latents.column_multiple}*n"

    def load() -> nn.Module:
        unet = _load_unet(checkpoint, config)
        for lora in loras:
            fuse_unet(unet, lora)
        return DenoiseStep(unet)

    return GraphPlan(
        name=contract.DENOISE_STEP,
        build=load,
        inputs={
            contract.STATE: ("S", K, C, H, columns),
            contract.STEP_MATRIX: ("S", K, K + 2),
            contract.TIMESTEP: ("S",),
            contract.NOISE: ("S", C, H, columns),
            contract.ROW_SLOT: ("R",),
            contract.ROW_MIX: ("S", "R"),
            contract.CONTEXT: ("R", L, D),
            contract.KNOWN: ("S", 2, C, H, columns),
            contract.KNOWN_MIX: ("S", 2),
            contract.REPAINT: ("S", 1, H, columns),
        },
        output=(contract.NEXT_STATE, ("S", K, C, H, columns)),
        example=partial(_example_step, latents, L, D),
    )


def _decoder_plan(checkpoint: Checkpoint, config: dict[str, Any], latents: LatentSpace) -> GraphPlan:
    def load() -> nn.Module:
        vae = _load_vae(checkpoint, config)
        return LatentDecoder(vae.post_quant_conv, vae.decoder, float(config.get("scaling_factor", SCALING_FACTOR)))

    factor = latents.frames_per_column
    return GraphPlan(
        name=contract.LATENT_DECODER,
        build=load,
        inputs={contract.LATENTS: ("B", latents.channels, latents.height, "W")},
        output=(contract.MEL, ("B", latents.height * factor, f"{factor}*W")),
        example=lambda: {contract.LATENTS: _normal(2, latents.channels, latents.height, 2 * latents.column_multiple)},
    )


def _vocoder_plan(checkpoint: Checkpoint, config: VocoderConfig) -> GraphPlan:
    def load() -> nn.Module:
        stored = read_state(checkpoint.file("vocoder/vocoder.pt"))
        generator = stored.get("generator")
        if not isinstance(generator, dict):
            raise CheckpointError(f"vocoder/vocoder.pt has keys {', '.join(stored) or 'none'}, expected 'generator'")
        return Vocoder(build("vocoder", lambda: Generator(config), fold_weight_norm(tensors(generator))))

    return GraphPlan(
        name=contract.VOCODER,
        build=load,
        inputs={contract.MEL: ("B", config.mel_bins, "T")},
        output=(contract.WAVEFORM, ("B", f"{config.hop_samples}*T")),
        example=lambda: {contract.MEL: _normal(2, config.mel_bins, 40) * 2 - 4},  # the range of a log-mel
    )


def _load_unet(checkpoint: Checkpoint, config: dict[str, Any]) -> nn.Module:
    state = tensors(read_state(checkpoint.weights("unet")))
    return build("unet", lambda: cast("nn.Module", UNet2DConditionModel.from_config(config)), state)


def _load_vae(checkpoint: Checkpoint, config: dict[str, Any]) -> Any:  # noqa: ANN401 — diffusers has no types
    state = respell_vae(tensors(read_state(checkpoint.weights("vae"))))
    return build("vae", lambda: cast("nn.Module", AutoencoderKL.from_config(config)), state)


def _example_step(latents: LatentSpace, length: int, width: int) -> dict[str, Tensor]:
    """Give a step of two clips over three rows in which every input takes part."""
    S, R, K, C, H, W = 2, 3, contract.STATE_SLOTS, latents.channels, latents.height, 2 * latents.column_multiple
    generator = torch.Generator().manual_seed(GOLDEN_SEED)
    return {
        contract.STATE: _normal(S, K, C, H, W),
        contract.STEP_MATRIX: torch.randn(S, K, K + 2, generator=generator),
        contract.TIMESTEP: torch.tensor([981.0, 7.0]),
        contract.NOISE: torch.randn(S, C, H, W, generator=generator),
        contract.ROW_SLOT: torch.tensor([0, 0, 1]),
        contract.ROW_MIX: torch.tensor([[-6.5, 7.5, 0.0], [0.0, 0.0, 1.0]]),
        contract.CONTEXT: torch.randn(R, length, width, generator=generator),
        contract.KNOWN: torch.randn(S, 2, C, H, W, generator=generator),
        contract.KNOWN_MIX: torch.rand(S, 2, generator=generator),
        contract.REPAINT: torch.rand(S, 1, H, W, generator=generator),
    }


def _example_ids(model: TextModel, length: int) -> tuple[Tensor, Tensor]:
    """Give ids of two prompts, one of them nearly full, and their mask; low ids are words in every vocabulary."""
    ids = torch.full((2, length), model.pad_id, dtype=torch.int64)
    mask = torch.zeros(2, length)
    for row, count in enumerate((9, length - 3)):
        ids[row, :count] = torch.arange(count) % 90 + 5
        mask[row, :count] = 1.0
    return ids, mask


def _normal(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(GOLDEN_SEED))
