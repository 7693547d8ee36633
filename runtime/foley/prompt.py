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

from foley import manifest
from foley.errors import BundleError, RequestError
from foley.guidance import Conditioning
from foley_engines import Array, Engine

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
    check_text("the prompt", part.text)
    is_number = isinstance(part.weight, int | float | np.number) and not isinstance(part.weight, bool)
    if not is_number or not math.isfinite(part.weight) or part.weight == 0:
        raise RequestError(f"the weight of {part.text!r} is {part.weight!r}, expected a finite number other than 0")


def check_text(name: str, text: str) -> None:
    """Refuse what is no Unicode text; bytes of another encoding reach Python as lone surrogates.

    Raises:
        RequestError: it cannot be written as UTF-8.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(f"{name} is {text!r}, expected UTF-8 text; it is none at character {error.start}") from error


class PromptTokenizer:
    """The tokenizer of one input of a text encoder."""

    def __init__(self, folder: Path, facts: manifest.Tokenizer) -> None:
        """Load the tokenizer from a bundle's folder.

        Raises:
            BundleError: the tokenizers library cannot read it.
        """
        file = folder / facts.file
        try:
            self._tokenizer = Tokenizer.from_file(str(file))
        except Exception as error:  # the library raises bare Exception
            raise BundleError(f"{file} is not a tokenizer: {error}; export the bundle again") from error
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(facts.max_tokens)
        self._facts = facts

    def ids(self, text: str) -> list[int]:
        """Give a text's ids with the special tokens, at most `max_tokens`; a longer text is cut with a warning."""
        encoding = self._tokenizer.encode(text)
        if encoding.overflowing:
            lost = sum(len(rest.ids) for rest in encoding.overflowing)
            warnings.warn(
                f"the prompt {text[:40]!r}… has more than {self._facts.max_tokens} tokens; "
                f"about {lost} at its end are not heard",
                PromptTruncatedWarning,
                stacklevel=2,
            )
        return encoding.ids

    def inputs(self, texts: Sequence[str]) -> dict[str, Array]:
        """Give the encoder's inputs by name: padded ids int64 [B,L], and a mask float32 [B,L] where it takes one."""
        rows = [self.ids(text) for text in texts]
        length = max(self._facts.pad_to, *(len(row) for row in rows))
        ids = np.full((len(rows), length), self._facts.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), length), dtype=np.float32)
        for index, row in enumerate(rows):
            ids[index, : len(row)] = row
            mask[index, : len(row)] = 1.0
        named: dict[str, Array] = {self._facts.ids: ids}
        return named if self._facts.mask is None else {**named, self._facts.mask: mask}


class PromptEncoder:
    """All text encoders of a bundle, in order."""

    def __init__(self, facts: manifest.Conditioning, folder: Path, engines: Mapping[str, Engine]) -> None:
        """Load the tokenizers; `engines` are the opened graphs by name."""
        self._facts = facts
        self._encoders = [
            ([PromptTokenizer(folder, tokenizer) for tokenizer in encoder.tokenizers], engines[encoder.graph])
            for encoder in facts.encoders
        ]
        self._known: dict[str, Conditioning] = {}

    def encode(self, texts: Sequence[str]) -> dict[str, Conditioning]:
        """Encode texts to what one row of the denoising step takes, each distinct text once.

        The last call's texts are remembered.
        """
        known = self._known
        new = [text for text in dict.fromkeys(texts) if text not in known]
        encoded = {**known, **dict(zip(new, self._encode(new), strict=True))}
        self._known = {text: encoded[text] for text in texts}
        return self._known

    @cached_property
    def unconditional(self) -> Conditioning:
        """What stands for no prompt."""
        empty = self._encode([""])[0]
        if self._facts.unconditional == "zeros":
            return {name: np.zeros_like(array) for name, array in empty.items()}
        return empty

    def _encode(self, texts: Sequence[str]) -> list[Conditioning]:
        blocks = [texts[first : first + ENCODER_BATCH] for first in range(0, len(texts), ENCODER_BATCH)]
        return [row for block in blocks for row in self._encode_block(block)]

    def _encode_block(self, texts: Sequence[str]) -> list[Conditioning]:
        """Run every encoder; outputs of one name are joined along the token axis."""
        outputs: dict[str, list[NDArray[np.float32]]] = {}
        for tokenizers, engine in self._encoders:
            for name, array in _run(engine, tokenizers, texts).items():
                outputs.setdefault(name, []).append(array)
        joined = {name: np.concatenate(arrays, axis=1) for name, arrays in outputs.items()}
        return [{name: array[row] for name, array in joined.items()} for row in range(len(texts))]


def _run(engine: Engine, tokenizers: Sequence[PromptTokenizer], texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    given = {name: array for tokenizer in tokenizers for name, array in tokenizer.inputs(texts).items()}
    session = engine.bind(**{name: array.shape for name, array in given.items()})
    try:
        for name, array in given.items():
            session[name].write(array)
        session.run()
        return {name: cast("NDArray[np.float32]", session[name].read()) for name in engine.outputs}
    finally:
        session.close()
