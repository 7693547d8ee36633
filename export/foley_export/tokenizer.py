"""Tokenizers of every released form, as one `tokenizer.json`."""

from pathlib import Path
from typing import Any, Final, Literal, Protocol

import transformers

from foley.errors import CheckpointError
from foley_export.checkpoint import Checkpoint

Kind = Literal["clip", "t5", "clap"]

TOKENIZER_FILES: Final = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "added_tokens.json",
)


class Tokenizer(Protocol):
    """What Foley reads of a transformers tokenizer."""

    pad_token_id: int | None
    backend_tokenizer: Any


def load_tokenizer(checkpoint: Checkpoint, folder: str, kind: Kind) -> Tokenizer:
    """Read a tokenizer from its folder in a checkpoint.

    Raises:
        CheckpointError: its files are missing or unreadable.
    """
    _check_vocabulary(checkpoint, folder, kind)
    for name in sorted(path.name for path in (checkpoint.folder / folder).glob("*")):
        if name in TOKENIZER_FILES:
            checkpoint.file(f"{folder}/{name}")
    loader = {
        "clip": transformers.CLIPTokenizerFast,
        "t5": transformers.T5TokenizerFast,
        "clap": transformers.RobertaTokenizerFast,
    }[kind]
    try:
        tokenizer: Tokenizer = loader.from_pretrained(str(checkpoint.folder / folder), local_files_only=True)
    except (OSError, ValueError, TypeError, ImportError) as error:
        raise CheckpointError(
            f"{checkpoint.name}: no {kind} tokenizer can be read from {folder}/ "
            f"(looked for {', '.join(TOKENIZER_FILES)}): {' '.join(str(error).split())}"
        ) from error
    return tokenizer


def write_tokenizer(tokenizer: Tokenizer, target: Path) -> None:
    """Write a tokenizer as one file that the tokenizers library reads."""
    target.parent.mkdir(parents=True, exist_ok=True)
    # Its own save() raises a bare Exception where the disk is full.
    target.write_text(tokenizer.backend_tokenizer.to_str(pretty=True), encoding="utf-8")


def _check_vocabulary(checkpoint: Checkpoint, folder: str, kind: Kind) -> None:
    """Miss a vocabulary before transformers does, which makes an empty tokenizer without one and says nothing."""
    other = ("spiece.model",) if kind == "t5" else ("vocab.json", "merges.txt")
    ways = (("tokenizer.json",), other)
    if not any(all(checkpoint.has(f"{folder}/{name}") for name in way) for way in ways):
        raise CheckpointError(
            f"{checkpoint.name} lacks a {kind} tokenizer in {folder}/; expected tokenizer.json, or "
            f"{' and '.join(other)}"
        )
