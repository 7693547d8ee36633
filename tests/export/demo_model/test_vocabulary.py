"""The vocabulary: files of a CLIP tokenizer, short for captions, and open to any text."""

import json
import re

import numpy as np
import pytest
from transformers import CLIPTokenizerFast

from foley_export.checkpoint import open_checkpoint
from foley_export.demo_model.captions import draw_caption
from foley_export.demo_model.reading import Reader
from foley_export.demo_model.scenes import draw_scene
from foley_export.demo_model.vocabulary import BEGIN, END, MERGES, vocabulary_size, write_vocabulary
from foley_export.tokenizer import load_tokenizer

LETTERS = 2 * 256
STRANGE = ("Ünïcode 犬", "zebra's quiz, 1987!", "naïve café", "\N{DOG FACE} barks")


@pytest.fixture(scope="module")
def size(vocabulary):
    return vocabulary_size(vocabulary)


@pytest.fixture(scope="module")
def tokenizer(vocabulary):
    return CLIPTokenizerFast.from_pretrained(str(vocabulary))


@pytest.fixture(scope="module")
def captions():
    rng = np.random.default_rng(7)
    return [draw_caption(draw_scene(rng), rng) for _ in range(500)]


def test_ids_are_numbered_without_a_gap(vocabulary, size):
    ids = json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8"))
    assert sorted(ids.values()) == list(range(size))
    assert (ids[BEGIN], ids[END]) == (size - 2, size - 1)


def test_merges_make_tokens_that_are_there(vocabulary, size):
    ids = json.loads((vocabulary / "vocab.json").read_text(encoding="utf-8"))
    head, *merges = (vocabulary / "merges.txt").read_text(encoding="utf-8").splitlines()
    assert head == "#version: 0.2"
    assert len(merges) == size - LETTERS - 2 <= MERGES
    for number, merge in enumerate(merges):
        left, right = merge.split(" ")
        assert ids[left + right] == LETTERS + number
        assert max(ids[left], ids[right]) < LETTERS + number


def test_writing_again_gives_the_same_files(vocabulary, tmp_path):
    write_vocabulary(tmp_path / "new")
    for file in sorted(vocabulary.iterdir()):
        assert (tmp_path / "new" / file.name).read_bytes() == file.read_bytes()


def test_captions_come_back_from_their_ids(tokenizer, captions, size):
    for caption in captions:
        ids = tokenizer(caption).input_ids
        assert (ids[0], ids[-1]) == (size - 2, size - 1)
        assert max(ids[1:-1]) < size - 2
        spaced = caption.replace(",", " ,").replace("-", " - ")  # CLIP's decoder parts punctuation from words
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() in {caption, spaced}


def test_captions_are_short(tokenizer, captions):
    """Every word of a caption is one token, and so is what stands between words."""
    for caption in captions:
        assert len(tokenizer(caption).input_ids) - 2 == len(re.findall(r"[a-z]+|[^a-z ]", caption)), caption


@pytest.mark.parametrize("text", STRANGE)
def test_unseen_text_falls_back_to_bytes(tokenizer, size, text):
    ids = tokenizer(text).input_ids
    assert all(0 <= token < size - 2 for token in ids[1:-1])
    shown = tokenizer.decode(ids, skip_special_tokens=True)
    assert "".join(shown.split()) == "".join(text.lower().split())


def test_case_and_spaces_do_not_matter(tokenizer):
    assert tokenizer("A  Loud\n BELL ").input_ids == tokenizer("a loud bell").input_ids


def test_a_reader_pads_and_cuts_to_77(vocabulary, tokenizer, size):
    ids = Reader(vocabulary)(["a bell", "", "a bell then " * 40])
    assert ids.shape == (3, 77)
    assert ids[1].tolist() == [size - 2] + [size - 1] * 76
    assert (ids[0, len(tokenizer("a bell").input_ids) :] == size - 1).all()
    assert (ids[2] != size - 1).sum() == 76


def test_export_reads_the_tokenizer_alike(vocabulary, tokenizer, captions):
    read = load_tokenizer(open_checkpoint(str(vocabulary.parent)), vocabulary.name, "clip")
    for text in (*captions[:50], *STRANGE, ""):
        assert read(text).input_ids == tokenizer(text).input_ids
