"""Text graphs, tokenizer included, against the reference recipes, at lengths around each encoder's own."""

import warnings

import numpy as np
import pytest

import foley
from foley.contract import CONTEXT
from foley.prompt import PromptTruncatedWarning
from foley.verify import snr_db

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::foley.PromptTruncatedWarning")]

WORDS = (1, 6, 74, 75, 76, 118, 198)
"""Words of one letter. CLIP puts a token before and one behind them, so that 75 fill its 77 places."""
SENTENCES = ("a dog barking in the rain", "Loud thunder,  then zebras!", "naïve café 42 's", "x")
FLOOR_DB = 110
PARTS = {"clip": slice(0, 77), "t5": slice(77, 154), "clap": slice(154, 231)}


def prompt(words: int) -> str:
    return " ".join("abcdefghij"[index * 7 % 10] for index in range(words))


def contexts(pipeline: foley.Pipeline, texts: list[str]) -> np.ndarray:
    """Encode texts, nothing remembered from earlier calls, to [B,L,D]."""
    pipeline.prompts.encode(["something else"])
    encoded = pipeline.prompts.encode(texts)
    return np.stack([encoded[text][CONTEXT] for text in texts])


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize("encoder", PARTS)
def test_adapted_encoders_at_every_length(adapted, references, encoder, words):
    expected = references["adapter"].contexts([prompt(words)]).numpy()[:, PARTS[encoder]]
    got = contexts(adapted, [prompt(words)])[:, PARTS[encoder]]
    assert snr_db(expected, got) > FLOOR_DB


@pytest.mark.parametrize("words", WORDS)
def test_padded_encoder_at_every_length(plain, references, words):
    expected = references["no-adapter"].contexts([prompt(words)]).numpy()
    assert snr_db(expected, contexts(plain, [prompt(words)])) > FLOOR_DB


@pytest.mark.parametrize("layout", ["adapter", "no-adapter"])
@pytest.mark.parametrize("text", SENTENCES)
def test_sentences(request, references, layout, text):
    pipeline = request.getfixturevalue({"adapter": "adapted", "no-adapter": "plain"}[layout])
    assert snr_db(references[layout].contexts([text]).numpy(), contexts(pipeline, [text])) > FLOOR_DB


@pytest.mark.parametrize("pipeline", ["adapted", "plain"])
def test_a_batch_of_different_lengths_gives_what_each_prompt_gives_alone(request, pipeline):
    """Longer prompts in the batch pad the others further, and T5 and CLAP see every position."""
    pipeline = request.getfixturevalue(pipeline)
    texts = [prompt(count) for count in (1, 90, 6, 118, 40)]
    alone = np.concatenate([contexts(pipeline, [text]) for text in texts])
    assert snr_db(alone, contexts(pipeline, texts)) > FLOOR_DB


def test_rows_behind_a_prompt_are_the_adapters_image_of_zero(adapted):
    short, shorter = contexts(adapted, [prompt(5), prompt(2)])
    for part in PARTS.values():
        np.testing.assert_allclose(short[part][20:], np.broadcast_to(short[part][-1], (57, 32)), rtol=0, atol=1e-6)
        np.testing.assert_allclose(short[part][-1], shorter[part][-1], rtol=0, atol=1e-6)
        assert np.abs(short[part][-1]).max() > 0.1


def test_no_prompt_is_zeros_behind_adapters(adapted):
    assert not adapted.prompts.unconditional[CONTEXT].any()
    assert adapted.prompts.unconditional[CONTEXT].shape == (231, 32)


def test_no_prompt_is_the_encoded_empty_string_without_adapters(plain, references):
    expected = references["no-adapter"].contexts([""])[0].numpy()
    assert snr_db(expected, plain.prompts.unconditional[CONTEXT]) > FLOOR_DB


def test_long_prompts_are_read_whole_by_t5_and_cut_by_clip(adapted):
    """Words behind the 77th change the vectors of the first 77 where attention looks ahead, and only there."""
    first, second = contexts(adapted, [prompt(75) + " a a a", prompt(75) + " b b b"])
    changed = {name: np.abs(first[part] - second[part]).max() > 1e-4 for name, part in PARTS.items()}
    assert changed == {"clip": False, "t5": True, "clap": True}


def test_a_cut_prompt_is_told(plain):
    with pytest.warns(PromptTruncatedWarning, match="more than 77 tokens"):
        contexts(plain, [prompt(76)])
    with warnings.catch_warnings():
        warnings.simplefilter("error", PromptTruncatedWarning)
        contexts(plain, [prompt(75)])
