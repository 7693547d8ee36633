"""The byte-pair vocabulary of the captions, in the files of a CLIP tokenizer."""

import json
from pathlib import Path
from typing import Final

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from foley_export.demo_model.captions import draw_caption
from foley_export.demo_model.files import write_json
from foley_export.demo_model.scenes import draw_scene

BEGIN: Final = "<|startoftext|>"
END: Final = "<|endoftext|>"
MERGES: Final = 320
"""At most; the captions' words need 306, and then each is one token."""
MAX_TOKENS: Final = 77
TEXTS: Final = 20_000
SEED: Final = 13
WORDS: Final = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
"""How CLIP's tokenizer parts a text before any merging."""


def write_vocabulary(folder: Path) -> None:
    """Learn the merges from captions and write vocab.json, merges.txt and the two configs of a CLIP tokenizer."""
    folder.mkdir(parents=True, exist_ok=True)
    letters = _letters()
    merges = _learn_merges()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), BEGIN, END]
    write_json(folder / "vocab.json", {token: index for index, token in enumerate(tokens)})
    lines = ["#version: 0.2", *map(" ".join, merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": BEGIN, "eos_token": END, "pad_token": END, "unk_token": END}
    write_json(folder / "special_tokens_map.json", special)
    config = {"do_lower_case": True, "errors": "replace", "model_max_length": MAX_TOKENS}
    write_json(folder / "tokenizer_config.json", {**special, **config, "tokenizer_class": "CLIPTokenizer"})


def vocabulary_size(folder: Path) -> int:
    """Count the tokens of a written vocabulary."""
    return len(json.loads((folder / "vocab.json").read_text(encoding="utf-8")))


def _learn_merges() -> list[tuple[str, str]]:
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Lowercase()
    split = pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    letters = _letters()
    trainer = trainers.BpeTrainer(
        vocab_size=2 * len(letters) + MERGES,
        initial_alphabet=letters,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    rng = np.random.default_rng(SEED)
    tokenizer.train_from_iterator((draw_caption(draw_scene(rng), rng) for _ in range(TEXTS)), trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return [tuple(merge) for merge in model["merges"]][:MERGES]


def _letters() -> list[str]:
    """Give the 256 printable stand-ins of byte-level coding, in CLIP's order: printable bytes first."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in printable] + [chr(256 + n) for n in range(256 - len(printable))]
