"""Tokenizer folders in the released file formats: CLIP (BPE, </w>), RoBERTa (byte-level BPE, Ġ), T5 (Unigram)."""

import json
from pathlib import Path
from typing import Any

import sentencepiece.sentencepiece_model_pb2 as sentencepiece_model
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from foley_bench.checkpoints.configs import (
    CLAP_VOCABULARY,
    CLIP_TOKENS,
    CLIP_VOCABULARY,
    T5_VOCABULARY,
    Encoder,
    Size,
    encoder_config,
)
from foley_bench.checkpoints.files import write_json
from foley_bench.checkpoints.merges import WORDS, Pair, byte_alphabet, merges_for

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_SENTINELS = 100  # T5's <extra_id_0> … <extra_id_99>, the last ids
_SPARE_ROWS = 28  # rows of T5's embedding that no token has


def write_tokenizer(encoder: Encoder, folder: Path, size: Size) -> None:
    """Write a text encoder's tokenizer files into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    {"clip": _write_clip, "t5": _write_t5, "clap": _write_roberta}[encoder](folder, size)


def _write_clip(folder: Path, size: Size) -> None:
    letters = byte_alphabet()
    merges = merges_for(
        [(*word[:-1], word[-1] + "</w>") for word in WORDS], CLIP_VOCABULARY[size] - 2 * len(letters) - 2, suffix="</w>"
    )
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), _BEGIN, _END]
    _write_bpe(folder, tokens, merges)
    write_json(
        folder / "special_tokens_map.json",
        {"bos_token": _special(_BEGIN), "eos_token": _special(_END), "pad_token": _END, "unk_token": _special(_END)},
    )
    write_json(
        folder / "tokenizer_config.json",
        {
            "add_prefix_space": False,
            "bos_token": _special(_BEGIN, typed=True),
            "clean_up_tokenization_spaces": True,
            "do_lower_case": True,
            "eos_token": _special(_END, typed=True),
            "errors": "replace",
            "model_max_length": CLIP_TOKENS,
            "pad_token": _END,
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": _special(_END, typed=True),
        },
    )


def _write_roberta(folder: Path, size: Size) -> None:
    letters = byte_alphabet()
    first, last = ["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"]
    if size == "full":  # RoBERTa's own padding of its vocabulary
        last = [_END, "madeupword0000", "madeupword0001", "madeupword0002", *last]
    room = CLAP_VOCABULARY[size] - len(letters) - len(first) - len(last)
    merges = merges_for([("Ġ", *word) for word in WORDS], room, prefix="Ġ")
    tokens = [*first, *letters, *map("".join, merges), *last]
    _write_bpe(folder, tokens, merges)
    roberta = {"bos_token": "<s>", "cls_token": "<s>", "eos_token": "</s>", "mask_token": "<mask>"}
    roberta |= {"pad_token": "<pad>", "sep_token": "</s>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", roberta)
    extra = {
        "add_prefix_space": False,
        "errors": "replace",
        "model_max_length": encoder_config("clap", size)["max_position_embeddings"] - 2,
        "trim_offsets": True,
    }
    write_json(folder / "tokenizer_config.json", {**roberta, **extra, "tokenizer_class": "RobertaTokenizer"})
    _roberta_object(tokens, merges).save(str(folder / "tokenizer.json"))


def _roberta_object(tokens: list[str], merges: list[Pair]) -> tokenizers.Tokenizer:
    ids = {token: index for index, token in enumerate(tokens)}
    tokenizer = tokenizers.Tokenizer(models.BPE(vocab=ids, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), True, False)
    tokenizer.add_special_tokens(["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    return tokenizer


def _write_t5(folder: Path, size: Size) -> None:
    pieces = _t5_pieces(T5_VOCABULARY[size] - _SPARE_ROWS - _SENTINELS)
    (folder / "spiece.model").write_bytes(_sentencepiece(pieces))
    sentinels = [f"<extra_id_{index}>" for index in range(_SENTINELS)]
    names = {"eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    write_json(folder / "special_tokens_map.json", {"additional_special_tokens": sentinels, **names})
    extra = {"extra_ids": _SENTINELS, "model_max_length": 512, "sp_model_kwargs": {}}
    table = {"additional_special_tokens": sentinels, **names, **extra, "tokenizer_class": "T5Tokenizer"}
    write_json(folder / "tokenizer_config.json", table)
    _t5_object(pieces, sentinels).save(str(folder / "tokenizer.json"))


def _t5_pieces(count: int) -> list[tuple[str, float]]:
    """Return `count` (piece, log-probability): pad, end, unknown, then words, and ever longer strings of letters."""
    letters = [chr(code) for code in range(33, 127)]
    whole = ["▁", *("▁" + word for word in WORDS), *("▁" + letter for letter in letters), *letters]
    made = ("".join(pair).replace("Ġ", "▁") for pair in merges_for([("Ġ", *w) for w in WORDS], count, prefix="Ġ"))
    ranked = list(dict.fromkeys([*whole, *made]))[: count - 3]
    return [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), *((p, -5.0 - 8.0 * i / count) for i, p in enumerate(ranked))]


def _sentencepiece(pieces: list[tuple[str, float]]) -> bytes:
    proto = sentencepiece_model.ModelProto()  # the class is made at import
    kinds = {"<pad>": 3, "</s>": 3, "<unk>": 2}  # CONTROL, UNKNOWN; the rest NORMAL
    for piece, score in pieces:
        proto.pieces.add(piece=piece, score=score, type=kinds.get(piece, 1))
    spec = proto.trainer_spec
    spec.model_type, spec.vocab_size = 1, len(pieces)  # UNIGRAM
    spec.pad_id, spec.eos_id, spec.unk_id, spec.bos_id = 0, 1, 2, -1
    proto.normalizer_spec.name = "identity"
    proto.normalizer_spec.add_dummy_prefix = True
    proto.normalizer_spec.remove_extra_whitespaces = True
    proto.normalizer_spec.escape_whitespaces = True
    return bytes(proto.SerializeToString(deterministic=True))


def _t5_object(pieces: list[tuple[str, float]], sentinels: list[str]) -> tokenizers.Tokenizer:
    last_first = [(name, 0.0) for name in reversed(sentinels)]  # <extra_id_99> comes first, <extra_id_0> last
    tokenizer = tokenizers.Tokenizer(models.Unigram([*pieces, *last_first], unk_id=2, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Strip(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    tokenizer.add_special_tokens(["<pad>", "</s>", "<unk>", *sentinels])
    return tokenizer


def _write_bpe(folder: Path, tokens: list[str], merges: list[Pair]) -> None:
    ids = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(ids, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in merges)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _special(token: str, *, typed: bool = False) -> dict[str, Any]:
    kind = {"__type": "AddedToken"} if typed else {}
    return {**kind, "content": token, "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
