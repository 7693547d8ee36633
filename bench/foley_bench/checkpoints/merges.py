"""Byte-pair vocabularies made on the spot: merges learnt from a short word list, then synthetic ones up to the size."""

from collections import Counter
from collections.abc import Iterator
from itertools import islice, pairwise, product
from string import ascii_lowercase
from typing import TypeAlias

Pair: TypeAlias = tuple[str, str]

_WORD_LIST = """
the a of and in on with is are at to from by as dog cat bird car rain wind water wave thunder engine bell door footsteps
music guitar piano drum voice man woman child people crowd train horse bee siren whistle clock fire gun machine keyboard
ocean river forest street barking meowing chirping racing falling blowing rolling crashing ringing knocking walking
talking singing laughing speaking passing running buzzing playing ticking crackling humming typing flowing distance loud
soft low high quality noise sound background heavy light slow fast then while followed
"""
WORDS = tuple(_WORD_LIST.split())


def byte_alphabet() -> list[str]:
    """Return the 256 printable characters that stand for bytes in byte-level BPE, in GPT-2's order.

    Printable Latin-1 stands for itself; the other 68 bytes are moved to U+0100 and up (GPT-2 `bytes_to_unicode`).
    """
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(code) for code in printable] + [chr(256 + shift) for shift in range(256 - len(printable))]


def merges_for(words: list[tuple[str, ...]], count: int, *, prefix: str = "", suffix: str = "") -> list[Pair]:
    """Return `count` different merges: those learnt from `words` (as symbols) first, then letter combinations.

    `prefix` or `suffix` marks a word's begin (RoBERTa: Ġ) or end (CLIP: </w>) in the synthetic ones.
    """
    merges: dict[Pair, None] = dict.fromkeys(islice(_learnt(words), count))
    made = {left + right for left, right in merges}
    for pair in _synthetic(prefix, suffix):
        if len(merges) == count:
            break
        if "".join(pair) not in made:
            merges[pair] = None
    return list(merges)


def _learnt(words: list[tuple[str, ...]]) -> Iterator[Pair]:
    """Yield the most frequent pair of neighbours, merge it everywhere, repeat; ties go to the smaller pair."""
    while counts := Counter(pair for word in words for pair in pairwise(word)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        yield best
        words = [_merged(word, best) for word in words]


def _merged(word: tuple[str, ...], pair: Pair) -> tuple[str, ...]:
    symbols: list[str] = []
    for symbol in word:
        if symbols and (symbols[-1], symbol) == pair:
            symbols[-1] += symbol
        else:
            symbols.append(symbol)
    return tuple(symbols)


def _synthetic(prefix: str, suffix: str) -> Iterator[Pair]:
    """Yield (ab, c) for letter strings of growing length; every left part but a letter was yielded before."""
    stems = list(ascii_lowercase)
    while True:
        if prefix:
            yield from ((prefix if len(stem) == 1 else prefix + stem[:-1], stem[-1]) for stem in stems)
        yield from product(stems, ascii_lowercase)
        if suffix:
            yield from ((stem, letter + suffix) for stem, letter in product(stems, ascii_lowercase))
        stems = [stem + letter for stem, letter in product(stems, ascii_lowercase)]
