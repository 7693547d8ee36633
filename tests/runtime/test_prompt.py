"""Prompts to ids, and ids to what a row of the denoising step takes."""

import warnings
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import mini_model

import foley
from foley import manifest
from foley.errors import BundleError
from foley.prompt import PromptEncoder, PromptTokenizer, PromptTruncatedWarning

WORDS = mini_model.VOCABULARY
LONG = "a dog barking in the rain and cat bell wind loud soft"  # 12 words, 14 ids with both ends


@pytest.fixture
def facts(pipeline: foley.Pipeline) -> manifest.Tokenizer:
    return pipeline.bundle.manifest.conditioning.encoders[0].tokenizers[0]


@pytest.fixture
def tokenizer(mini_bundle: Path, facts: manifest.Tokenizer) -> PromptTokenizer:
    return PromptTokenizer(mini_bundle, facts)


def encoder(pipeline: foley.Pipeline, **changes: object) -> PromptEncoder:
    conditioning = msgspec.structs.replace(pipeline.bundle.manifest.conditioning, **changes)
    return PromptEncoder(conditioning, pipeline.bundle.folder, {"text_encoder": pipeline.graph("text_encoder")})


def words(ids: list[int]) -> str:
    return " ".join(WORDS[index] for index in ids)


def context(text: str) -> np.ndarray:
    """Encode up to six words of the vocabulary by hand."""
    ids = [1, *map(WORDS.index, text.split()), 2]
    ids = np.array([ids + [0] * (8 - len(ids))])
    return mini_model.text_encoder(ids, ids > 0)[0]


def test_a_batch_is_padded_and_masked(tokenizer: PromptTokenizer):
    inputs = tokenizer.inputs(["a dog", "Rain on THE roof"])
    assert [words(row) for row in inputs["input_ids"]] == [
        "[BOS] a dog [EOS] [PAD] [PAD] [PAD] [PAD]",
        "[BOS] rain on the roof [EOS] [PAD] [PAD]",
    ]
    assert inputs["token_mask"].tolist() == [[1] * 4 + [0] * 4, [1] * 6 + [0] * 2]
    assert {name: array.dtype for name, array in inputs.items()} == {"input_ids": np.int64, "token_mask": np.float32}


def test_a_long_prompt_lengthens_the_batch(tokenizer: PromptTokenizer):
    inputs = tokenizer.inputs(["a dog", "a dog barking in the rain and cat"])
    assert {array.shape for array in inputs.values()} == {(2, 10)}
    assert words(inputs["input_ids"][1]).endswith("and cat [EOS]")


def test_padding_and_names_are_the_manifests(mini_bundle: Path, facts: manifest.Tokenizer):
    other = msgspec.structs.replace(facts, pad_id=9, pad_to=5, ids="tokens", mask=None)
    inputs = PromptTokenizer(mini_bundle, other).inputs(["cat"])
    assert {name: array.tolist() for name, array in inputs.items()} == {"tokens": [[1, 10, 2, 9, 9]]}


def test_a_cut_prompt_warns_and_keeps_its_end_token(tokenizer: PromptTokenizer):
    with pytest.warns(PromptTruncatedWarning, match="has more than 12 tokens"):
        ids = tokenizer.ids(LONG)
    assert words(ids) == "[BOS] a dog barking in the rain and cat bell wind [EOS]"


def test_a_prompt_that_just_fits_does_not_warn(tokenizer: PromptTokenizer):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(tokenizer.ids(" ".join(LONG.split()[:10]))) == 12


def test_contexts_are_the_models(pipeline: foley.Pipeline):
    """A short prompt's context does not depend on the long one beside it."""
    found = encoder(pipeline).encode(["a dog", "a dog barking in the rain and cat"])
    assert np.allclose(found["a dog"]["context"], context("a dog"), atol=1e-6)
    assert {row["context"].shape for row in found.values()} == {(8, 6)}


def test_encoders_are_joined_along_the_tokens(pipeline: foley.Pipeline):
    both = encoder(pipeline, encoders=pipeline.bundle.manifest.conditioning.encoders * 2)
    [row] = both.encode(["a dog"]).values()
    assert np.allclose(row["context"], np.concatenate([context("a dog")] * 2), atol=1e-6)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of every batch that is tokenized while a test runs."""
    seen, inputs = [], PromptTokenizer.inputs
    monkeypatch.setattr(PromptTokenizer, "inputs", lambda self, texts: seen.append(list(texts)) or inputs(self, texts))
    return seen


def test_each_text_is_encoded_once(pipeline: foley.Pipeline, read: list[list[str]]):
    prompts = encoder(pipeline)
    first = prompts.encode(["dog", "cat", "dog"])
    second = prompts.encode(["cat", "rain"])
    prompts.encode(["dog"])
    assert read == [["dog", "cat"], ["rain"], ["dog"]]  # the dog was forgotten between
    assert list(first) == ["dog", "cat"]
    assert first["cat"] is second["cat"]


def test_many_prompts_are_encoded_in_blocks(pipeline: foley.Pipeline, read: list[list[str]]):
    """Memory does not grow with their number, and each has the context that it has alone."""
    texts = [f"{first} {second}" for first in WORDS[4:] for second in WORDS[4:]]
    found = encoder(pipeline).encode(texts)
    assert (sum(map(len, read)), max(map(len, read))) == (len(texts), 16)
    for text in ("soft bell", texts[0], texts[-1]):
        assert np.allclose(found[text]["context"], context(text), atol=1e-6)


def test_no_prompt_is_zeros(pipeline: foley.Pipeline):
    none = encoder(pipeline, unconditional="zeros").unconditional
    assert none["context"].shape == (8, 6)
    assert not none["context"].any()


def test_no_prompt_is_the_empty_prompt(pipeline: foley.Pipeline):
    none = encoder(pipeline, unconditional="empty_prompt").unconditional
    assert np.allclose(none["context"], context(""), atol=1e-6)
    assert none["context"].any()


def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, facts: manifest.Tokenizer):
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text("{}")
    with pytest.raises(BundleError, match=r"tokenizer.json is not a tokenizer: .*export the bundle again"):
        PromptTokenizer(tmp_path, facts)
