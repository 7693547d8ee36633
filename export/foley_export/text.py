"""Text encoders as `hidden = encoder(input_ids, token_mask)`."""

from dataclasses import dataclass
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers.models.clap.configuration_clap import ClapTextConfig

from foley.errors import CheckpointError
from foley_export.checkpoint import Checkpoint
from foley_export.tokenizer import Kind, Tokenizer, load_tokenizer
from foley_export.weights import State, build, read_state, tensors, without_prefix


@dataclass(frozen=True)
class TextModel:
    """A text encoder of a checkpoint, before its weights are read."""

    kind: Kind
    folder: str
    """Its folder in the checkpoint."""
    max_tokens: int
    pad_id: int
    width: int
    """D of its hidden states."""
    tokenizer: Tokenizer

    @property
    def causal(self) -> bool:
        """Whether a token's vector does not depend on what follows it, so that padding needs no mask."""
        return self.kind == "clip"


def text_model(checkpoint: Checkpoint, folder: str, tokenizer_folder: str) -> TextModel:
    """Tell what kind of encoder a folder holds, as Auffusion's loader does: by the first architecture's name.

    Raises:
        CheckpointError: the architecture is none of CLIP, T5 and CLAP.
    """
    config = checkpoint.config(f"{folder}/config.json")
    checkpoint.weights(folder)
    architecture = str((config.get("architectures") or [""])[0])
    kind = _kind(architecture)
    if kind is None:
        raise CheckpointError(
            f"{folder}/config.json has architecture {architecture or 'none'!r}, expected CLIPTextModel, T5EncoderModel "
            "or ClapTextModelWithProjection"
        )
    width, longest = _sizes(kind, config)
    tokenizer = load_tokenizer(checkpoint, tokenizer_folder, kind)
    return TextModel(kind, folder, longest, _pad_id(kind, config, tokenizer), width, tokenizer)


def _kind(architecture: str) -> Kind | None:
    if architecture == "CLIPTextModel":
        return "clip"
    lowered = architecture.lower()
    return "t5" if "t5" in lowered else "clap" if "clap" in lowered else None


def _sizes(kind: Kind, config: dict[str, Any]) -> tuple[int, int]:
    """Give the hidden width and the longest sequence."""
    try:
        if kind == "clip":
            return int(config["hidden_size"]), int(config["max_position_embeddings"])
        if kind == "clap":  # RoBERTa numbers its positions from pad_id + 1
            return int(config["hidden_size"]), int(config["max_position_embeddings"]) - 2
        return int(config["d_model"]), int(config.get("n_positions", 512))
    except KeyError as error:
        raise CheckpointError(f"a {kind} text encoder's config.json lacks the key {error}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"a {kind} text encoder's config.json: {error}") from error


def _pad_id(kind: Kind, config: dict[str, Any], tokenizer: Tokenizer) -> int:
    """Give the id that fills a sequence.

    CLIP's comes from the tokenizer, as in diffusers: the config of released CLIP models holds legacy ids that mean
    other tokens. RoBERTa finds its positions from the config's.
    """
    if kind == "clip" and tokenizer.pad_token_id is not None:
        return int(tokenizer.pad_token_id)
    defaults = {"clip": 49407, "t5": 0, "clap": 1}
    return int(config.get("pad_token_id", defaults[kind]))


def load_text_model(checkpoint: Checkpoint, model: TextModel) -> nn.Module:
    """Read an encoder's weights into a transformers model.

    Raises:
        CheckpointError: weights are missing, unreadable or do not fit the config.
    """
    make = {"clip": _make_clip, "t5": _make_t5, "clap": _make_clap}[model.kind]
    config = checkpoint.config(f"{model.folder}/config.json")
    state = tensors(read_state(checkpoint.weights(model.folder)))
    state = {name: value for name, value in state.items() if not name.endswith("position_ids")}
    return build(model.folder, lambda: make(config), _spell(model.kind, config, state))


def _spell(kind: Kind, config: dict[str, Any], state: State) -> State:
    """Give an encoder's tensors the names of the installed transformers."""
    if kind == "t5":
        shared = state.get("shared.weight", state.get("encoder.embed_tokens.weight"))
        return state if shared is None else {**state, "shared.weight": shared, "encoder.embed_tokens.weight": shared}
    if kind == "clap":
        return {**_roberta_buffers(config), **state}
    with torch.device("meta"):
        wanted = set(_make_clip(config).state_dict())
    return without_prefix(state, "text_model.", wanted)


def _roberta_buffers(config: dict[str, Any]) -> State:
    """Give the index buffers that some files carry and some do not."""
    positions = int(config["max_position_embeddings"])
    return {
        "text_model.embeddings.position_ids": torch.arange(positions)[None],
        "text_model.embeddings.token_type_ids": torch.zeros(1, positions, dtype=torch.int64),
    }


def _make_clip(config: dict[str, Any]) -> nn.Module:
    model: nn.Module = transformers.CLIPTextModel(transformers.CLIPTextConfig(**_known(config)))
    return model


def _make_t5(config: dict[str, Any]) -> nn.Module:
    model: nn.Module = transformers.T5EncoderModel(transformers.T5Config(**_known(config)))
    return model


def _make_clap(config: dict[str, Any]) -> nn.Module:
    model: nn.Module = transformers.ClapTextModelWithProjection(ClapTextConfig(**_known(config)))
    return model


def _known(config: dict[str, Any]) -> dict[str, Any]:
    """Leave out what says how a file was written, not what it holds."""
    dropped = {"architectures", "torch_dtype", "dtype", "transformers_version", "model_type", "_name_or_path"}
    return {key: value for key, value in config.items() if key not in dropped}


class HiddenStates(nn.Module):
    """A transformers text model's last hidden states."""

    def __init__(self, model: nn.Module, *, masked: bool) -> None:
        super().__init__()
        self.model = model
        self.masked = masked

    def forward(self, input_ids: Tensor, token_mask: Tensor | None) -> Tensor:
        """Encode ids [B,L] to [B,L,D]; a causal model needs no mask."""
        mask = token_mask.to(torch.int64) if self.masked and token_mask is not None else None
        hidden: Tensor = self.model(input_ids=input_ids, attention_mask=mask).last_hidden_state
        return hidden
