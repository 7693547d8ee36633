"""Optimisation profiles: the sizes of a graph's dynamic axes that an engine is built for.

An axis is called by a symbol, or by a multiple of one ("8*n"); a profile gives each symbol the sizes that it may have.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foley_engines.base import Shape, TensorSpec
from foley_engines.errors import EngineError, UsageError


@dataclass(frozen=True)
class Sizes:
    """The sizes of one symbol."""

    low: int
    usual: int
    """The size that the engine is made fast for."""
    high: int

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.usual <= self.high:
            raise UsageError(f"sizes are {self.low}, {self.usual}, {self.high}; expected 1 ≤ least ≤ usual ≤ most")

    def __contains__(self, size: int) -> bool:
        return self.low <= size <= self.high

    def __str__(self) -> str:
        if self.low == self.high:
            return f"{self.low}"
        return f"{self.low}..{self.high}" if self.usual == self.high else f"{self.low}..{self.usual}..{self.high}"


Profile = Mapping[str, Sizes]
"""Symbol → sizes."""


def fixed(size: int) -> Sizes:
    """Give sizes that leave no choice."""
    return Sizes(size, size, size)


def is_static(profile: Profile) -> bool:
    """Say whether a profile leaves no choice."""
    return all(sizes.low == sizes.high for sizes in profile.values())


def split_axis(axis: str) -> tuple[int, str]:
    """Split "8*n" in 8 and "n"; a plain symbol has the factor 1."""
    factor, mark, symbol = axis.rpartition("*")
    return (int(factor), symbol) if mark else (1, axis)


def symbols_of(specs: Sequence[TensorSpec]) -> list[str]:
    """List the symbols of tensors, in the order of their first appearance."""
    axes = (axis for spec in specs for axis in spec.shape if isinstance(axis, str))
    return list(dict.fromkeys(split_axis(axis)[1] for axis in axes))


def span(spec: TensorSpec, profile: Profile) -> tuple[Shape, Shape, Shape]:
    """Give a tensor's least, usual and largest shape.

    Raises:
        EngineError: the profile says nothing of a symbol.
    """
    axes = [_axis_sizes(spec, axis, profile) for axis in spec.shape]
    low, usual, high = (tuple(getattr(sizes, name) for sizes in axes) for name in ("low", "usual", "high"))
    return low, usual, high


def _axis_sizes(spec: TensorSpec, axis: int | str, profile: Profile) -> Sizes:
    if isinstance(axis, int):
        return fixed(axis)
    factor, symbol = split_axis(axis)
    if symbol not in profile:
        raise EngineError(f"no profile says how large the axis {axis!r} of {spec} may be")
    sizes = profile[symbol]
    return Sizes(factor * sizes.low, factor * sizes.usual, factor * sizes.high)


def sizes_in(specs: Mapping[str, TensorSpec], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """Solve bound shapes, which fit their specs, for the symbols.

    Raises:
        EngineError: an axis is no multiple of its factor, or two axes disagree on a symbol.
    """
    found: dict[str, int] = {}
    for name, shape in shapes.items():
        for axis, size in zip(specs[name].shape, shape, strict=True):
            if isinstance(axis, str):
                _solve(specs[name], axis, size, found)
    return found


def _solve(spec: TensorSpec, axis: str, size: int, found: dict[str, int]) -> None:
    factor, symbol = split_axis(axis)
    if size % factor or found.setdefault(symbol, size // factor) != size // factor:
        known = f"; {symbol} is {found[symbol]}" if symbol in found else ""
        raise EngineError(f"{spec.name}: its axis {axis!r} is {size}{known}")


def shapes_from(
    specs: Mapping[str, TensorSpec], inputs: Mapping[str, TensorSpec], shapes: Mapping[str, Shape]
) -> dict[str, Shape]:
    """Give the shapes of all tensors that follow from the inputs' and from what else is known.

    Raises:
        EngineError: a tensor's shape does not follow.
    """
    sizes = sizes_in(inputs, {name: shapes[name] for name in inputs})
    return {name: shapes[name] if name in shapes else span(spec, exactly(sizes))[0] for name, spec in specs.items()}


def admits(profile: Profile, sizes: Mapping[str, int]) -> bool:
    """Say whether a profile holds these sizes."""
    return all(symbol in profile and size in profile[symbol] for symbol, size in sizes.items())


def smallest_fit(
    profiles: Sequence[Profile], sizes: Mapping[str, int], growable: Sequence[str]
) -> dict[str, int] | None:
    """Give the sizes that a profile admits and that exceed the wanted ones least, in growable symbols alone.

    None: no profile admits any.
    """
    grown = (_grown(profile, sizes, growable) for profile in profiles)
    return min(
        (each for each in grown if each is not None),
        key=lambda each: tuple(each[name] for name in growable),
        default=None,
    )


def _grown(profile: Profile, sizes: Mapping[str, int], growable: Sequence[str]) -> dict[str, int] | None:
    larger = {
        symbol: max(size, profile[symbol].low) if symbol in growable and symbol in profile else size
        for symbol, size in sizes.items()
    }
    return larger if admits(profile, larger) else None


def breadth(profile: Profile) -> int:
    """Say how much choice a profile leaves: the less, the faster its engine."""
    return sum(sizes.high - sizes.low for sizes in profile.values())


def usual(profile: Profile) -> dict[str, int]:
    """Give the sizes that a profile's engine is made fast for."""
    return {symbol: sizes.usual for symbol, sizes in profile.items()}


def exactly(sizes: Mapping[str, int]) -> Profile:
    """Give the profile of just these sizes."""
    return {symbol: fixed(size) for symbol, size in sizes.items()}


def describe(profile: Profile) -> str:
    """Word a profile, symbols in order: `R=2 S=1 n=16`."""
    return " ".join(f"{symbol}={profile[symbol]}" for symbol in sorted(profile))
