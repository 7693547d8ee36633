"""What engines are built for: clips at a time, lengths and guidance → the sizes of every graph's axes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from foley.contract import LATENTS, MEL, ROW_SLOT, STATE
from foley.errors import UsageError
from foley.manifest import Graph, Manifest, Tensor
from foley.prompt import ENCODER_BATCH
from foley.request import make_request
from foley_engines import TensorSpec
from foley_engines.profiles import Profile, Sizes, exactly, fixed, split_axis, symbols_of

Rows = Literal["guided", "unguided", "both"]
"""Two U-Net rows a clip, one, or a profile for either."""
MOST_SLOTS: Final = 64
PROMPTS: Final = Sizes(1, 1, ENCODER_BATCH)
"""Prompts that a text encoder takes at once: it is small, and they come in any number."""
ONE: Final = fixed(1)
TIME_AXIS: Final = {"width": -1, "height": -2}


@dataclass(frozen=True)
class Wish:
    """What one profile is for."""

    slots: Sizes
    """Clips denoised together."""
    rows: Sizes
    columns: Sizes
    """Latent columns."""
    words: str


@dataclass(frozen=True)
class Problem:
    """An axis that no size of a wish fits."""

    tensor: str
    message: str


def wishes(
    manifest: Manifest, slots: str | None = None, seconds: str | None = None, rows: Rows | None = None
) -> list[Wish]:
    """Make one wish of each of `slots` (`1,4,1..8`; None: 1), each of `seconds` (`10.24,1..20.48`) and each of `rows`.

    What is None is the bundle's own: its length, and guided if its guidance is. A range is fastest at its upper end.

    Raises:
        UsageError: the texts are no such lists.
        RequestError: the runtime takes no such length.
    """
    lengths = list(_lengths(seconds or str(manifest.defaults.seconds)))
    guided: Rows = "guided" if manifest.defaults.guidance > 1 else "unguided"
    return [
        Wish(count, _rows(count, each), _columns(manifest, *length), f"{_slots(count)}, {words} s")
        for count in _counts(slots or "1")
        for words, length in lengths
        for each in _rows_a_slot(rows or guided)
    ]


def profiles_of(manifest: Manifest, graphs: Sequence[str], wanted: Sequence[Wish]) -> dict[str, list[Profile]]:
    """Give the profiles to build for each of some graphs, each once.

    Raises:
        UsageError: a graph has an axis that no wish decides, or that cannot be as wished.
    """
    profiles: dict[str, list[Profile]] = {name: [] for name in graphs}
    for wish in wanted:
        for name, found in profiles.items():
            sizes = _possible(manifest, name, wish)
            if sizes not in found:
                found.append(sizes)
    return profiles


def profile_for(manifest: Manifest, name: str, sizes: Mapping[str, int]) -> Profile:
    """Give what a graph is built for when these sizes are asked for and nothing was built before.

    Just these; but a text encoder takes any number of prompts, and of tokens where these are not padded to one length.
    """
    encoders = {encoder.graph for encoder in manifest.conditioning.encoders}
    return _possible(manifest, name, wishes(manifest)[0]) if name in encoders else exactly(sizes)


def _possible(manifest: Manifest, name: str, wish: Wish) -> Profile:
    graph = manifest.graphs[name]
    sizes, problems = profile(manifest, name, graph, wish)
    if problems:
        raise UsageError(f"{name}: {problems[0].tensor}: {problems[0].message}; export the bundle again")
    inputs = [TensorSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in graph.inputs]
    missing = [symbol for symbol in symbols_of(inputs) if symbol not in sizes]
    if missing:
        raise UsageError(f"{name}: nothing says how large its axis {missing[0]!r} may be; this foley cannot build it")
    return sizes


def _rows_a_slot(rows: Rows) -> tuple[int, ...]:
    return {"guided": (2,), "unguided": (1,), "both": (2, 1)}[rows]


def _slots(count: Sizes) -> str:
    ends = dict.fromkeys((count.low, count.high))
    return f"{'..'.join(map(str, ends))} slot{'' if count.high == 1 else 's'}"


def profile(manifest: Manifest, name: str, graph: Graph, wish: Wish) -> tuple[Profile, list[Problem]]:
    """Give the sizes of a graph's symbols under a wish, and the axes at which it cannot be had."""
    found: dict[str, Sizes] = {}
    problems = []
    for tensor in graph.inputs:
        for index, sizes in _extents(manifest, name, tensor, wish).items():
            axis = tensor.shape[index]
            message = _settle(axis, sizes, found)
            problems += [Problem(tensor.name, message)] if message else []
    return found, problems


def _settle(axis: int | str, sizes: Sizes, found: dict[str, Sizes]) -> str | None:
    """Solve an axis for its symbol; give what is wrong."""
    if isinstance(axis, int):
        return None if sizes.low == axis == sizes.high else f"its axis is fixed at {axis}, asked for is {sizes}"
    factor, symbol = split_axis(axis)
    if any(size % factor for size in (sizes.low, sizes.usual, sizes.high)):
        return f"its axis {axis!r} cannot be {sizes}, which is no multiple of {factor}"
    solved = Sizes(sizes.low // factor, sizes.usual // factor, sizes.high // factor)
    if found.setdefault(symbol, solved) != solved:
        return f"its axis {axis!r} would make {symbol} {solved}, another axis makes it {found[symbol]}"
    return None


def _extents(manifest: Manifest, graph: str, tensor: Tensor, wish: Wish) -> dict[int, Sizes]:
    """Give the sizes of the axes of an input that a wish decides, by their index."""
    per_column = manifest.latents.frames_per_column
    rank = len(tensor.shape)
    time = rank + TIME_AXIS[manifest.latents.time_axis]
    frames = Sizes(wish.columns.low * per_column, wish.columns.usual * per_column, wish.columns.high * per_column)
    known = {
        STATE: {0: wish.slots, time: wish.columns},
        ROW_SLOT: {0: wish.rows},
        LATENTS: {0: ONE, time: wish.columns},
        MEL: {0: ONE, rank - 1: frames},
    }
    return known.get(tensor.name) or _tokens(manifest, graph, tensor)


def _tokens(manifest: Manifest, graph: str, tensor: Tensor) -> dict[int, Sizes]:
    """Give the sizes of a text encoder's dynamic axes; it takes prompts one by one where it has none."""
    for encoder in manifest.conditioning.encoders:
        for tokenizer in encoder.tokenizers:
            if (encoder.graph, tokenizer.ids) == (graph, tensor.name):
                least = min(tokenizer.pad_to, tokenizer.max_tokens)
                both = (PROMPTS, Sizes(least, least, tokenizer.max_tokens))
                return {index: sizes for index, sizes in enumerate(both) if isinstance(tensor.shape[index], str)}
    return {}


def _rows(slots: Sizes, per_slot: int) -> Sizes:
    return Sizes(per_slot * slots.low, per_slot * slots.usual, per_slot * slots.high)


def _columns(manifest: Manifest, low: float, high: float) -> Sizes:
    least, most = (
        make_request(manifest.defaults, ["length"], seconds=seconds).columns(manifest.latents, manifest.audio)
        for seconds in (low, high)
    )
    return Sizes(least, most, most)


def _counts(text: str) -> Iterator[Sizes]:
    for part, low, high in _ranges("--slots", text):
        if not (low.is_integer() and high.is_integer() and 1 <= low <= high <= MOST_SLOTS):
            raise UsageError(f"--slots {part}: expected whole numbers from 1 to {MOST_SLOTS}, as in 1,4,1..8")
        yield Sizes(int(low), int(high), int(high))


def _lengths(text: str) -> Iterator[tuple[str, tuple[float, float]]]:
    for part, low, high in _ranges("--seconds", text):
        if not 0 < low <= high:
            raise UsageError(f"--seconds {part}: expected seconds above 0, as in 10.24 or 1..20.48")
        yield part, (low, high)


def _ranges(option: str, text: str) -> Iterator[tuple[str, float, float]]:
    for part in text.split(","):
        low, mark, high = part.strip().partition("..")
        try:
            yield part.strip(), float(low), float(high if mark else low)
        except ValueError as error:
            raise UsageError(f"{option} {text}: {part!r} is no number and no range; expected 1, or 1..8") from error
