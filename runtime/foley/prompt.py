"""Prompts to token ids, and token ids to the conditioning that the U-Net attends to."""

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from foley.contract import CONTEXT, INPUT_IDS, TOKEN_MASK
from foley.errors import BundleError, RequestError
from foley.manifest import Conditioning, TextEncoder
from foley_engines import Array, Engine

Context = NDArray[np.float32]  # [L,D]

ENCODER_BATCH: Final = 16
"""Prompts that a text encoder reads at once."""


class PromptTruncatedWarning(UserWarning):
    """A prompt has more tokens than the text encoder reads; the rest is not heard."""


@dataclass(frozen=True)
class Part:
    """A prompt and how much it pulls; a negative weight pushes away."""

    text: str
    weight: float = 1.0


Prompt = str | Sequence[Part]
"""One text, or several weighted ones that guide the same clip together."""


def parts(prompt: Prompt) -> tuple[Part, ...]:
    """Give a prompt's parts.

    Raises:
        RequestError: there are none, a text is empty, or a weight is not finite or zero.
    """
    if not isinstance(prompt, str | Iterable):
        raise RequestError(f"the prompt is {prompt!r}, expected a text or a list of `Part`s")
    found = (Part(prompt),) if isinstance(prompt, str) else tuple(prompt)
    if not found:
        raise RequestError("the prompt has no parts, expected at least one text")
    for part in found:
        _check_part(part)
    return found


def _check_part(part: Part) -> None:
    if not isinstance(part, Part):
        raise RequestError(f"a part of the prompt is {part!r}, expected a `Part`; a list of prompts is no prompt")
    if not isinstance(part.text, str) or not part.text.strip():
        raise RequestError(f"the prompt is {part.text!r}, expected some text that says what should be heard")
    is_number = isinstance(part.weight, int | float | np.number) and not isinstance(part.weight, bool)
    if not is_number or not math.isfinite(part.weight) or part.weight == 0:
        raise RequestError(f"the weight of {part.text!r} is {part.weight!r}, expected a finite number other than 0")


class PromptTokenizer:
    """The tokenizer of one text encoder."""

    def __init__(self, file: Path, encoder: TextEncoder) -> None:
        """Load `tokenizer.json`.

        Raises:
            BundleError: the tokenizers library cannot read it.
        """
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"{file} is not a tokenizer: {error}; export the bundle again") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(encoder.max_tokens)
        self._encoder = encoder

    def ids(self, text: str) -> list[int]:
        """Give a text's ids with the special tokens, at most `max_tokens`; a longer text is cut with a warning."""
        encoding = self._tokenizer.encode(text)
        if encoding.overflowing:
            lost = sum(len(rest.ids) for rest in encoding.overflowing)
            warnings.warn(
                f"the prompt {text[:40]!r}… has more than {self._encoder.max_tokens} tokens; "
                f"about {lost} at its end are not heard",
                PromptTruncatedWarning,
                stacklevel=2,
            )
        return encoding.ids

    def batch(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Give padded ids int64 [B,L] and their mask float32 [B,L], 1 for a token."""
        rows = [self.ids(text) for text in texts]
        length = max(self._encoder.pad_to, *(len(row) for row in rows))
        ids = np.full((len(rows), length), self._encoder.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.float32)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1.0
        return ids, mask


class PromptEncoder:
    """All text encoders of a bundle, in order."""

    def __init__(self, conditioning: Conditioning, folder: Path, engines: Mapping[str, Engine]) -> None:
        """Load the tokenizers; `engines` are the opened graphs by name."""
        self._conditioning = conditioning
        self._encoders = [
            (PromptTokenizer(folder / encoder.tokenizer, encoder), engines[encoder.graph])
            for encoder in conditioning.encoders
        ]
        self._known: dict[str, Context] = {}

    def contexts(self, texts: Sequence[str]) -> dict[str, Context]:
        """Encode texts to contexts float32 [L,D], each distinct text once; texts of the last call are remembered."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        encoded = dict(zip(new, self._encode(new), strict=True)) if new else {}
        self._known = {text: self._known.get(text, encoded.get(text)) for text in texts}  # type: ignore[misc]
        return dict(self._known)

    @cached_property
    def unconditional(self) -> Context:
        """The context [L,D] that stands for no prompt."""
        if self._conditioning.unconditional == "zeros":
            shape = (self._conditioning.context_length, self._conditioning.context_width)
            return np.zeros(shape, dtype=np.float32)
        return self._encode([""])[0]

    def _encode(self, texts: Sequence[str]) -> list[Context]:
        blocks = [texts[first : first + ENCODER_BATCH] for first in range(0, len(texts), ENCODER_BATCH)]
        return [context for block in blocks for context in self._encode_block(block)]

    def _encode_block(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.concatenate([_run(engine, *tok.batch(texts)) for tok, engine in self._encoders], axis=1)


def _run(engine: Engine, ids: NDArray[np.int64], mask: NDArray[np.float32]) -> NDArray[np.float32]:
    given: dict[str, Array] = {INPUT_IDS: ids, TOKEN_MASK: mask}
    wanted = {name: given[name] for name in engine.inputs}
    session = engine.bind(**{name: array.shape for name, array in wanted.items()})
    for name, array in wanted.items():
        session[name].write(array)
    session.run()
    return cast("NDArray[np.float32]", session[CONTEXT].read())
