"""What a clip of the demo model holds: events with attributes, and how two of them stand to each other."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Final, Literal, TypeVar, get_args

import numpy as np

T = TypeVar("T")
Kind = Literal[
    "tone", "rise", "fall", "siren", "noise", "wind", "clicks", "knocks", "drums", "pluck", "bell", "hum", "beeps"
]
Pitch = Literal["low", "mid", "high"]
Speed = Literal["slow", "fast"]
Length = Literal["short", "long"]
Level = Literal["quiet", "loud"]
Relation = Literal["alone", "then", "over"]

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PULSED: Final[tuple[Kind, ...]] = ("clicks", "knocks", "drums", "beeps")
"""Kinds that come as a count of equal pulses."""
NOISY: Final[tuple[Kind, ...]] = ("noise", "wind")
"""Kinds whose every rendering is another."""
BACKGROUNDS: Final[tuple[Kind, ...]] = ("wind", "hum", "noise")
"""Kinds that others can sound over."""
FOREGROUNDS: Final[tuple[Kind, ...]] = ("clicks", "knocks", "drums", "pluck", "bell", "beeps", "rise", "fall")
"""Kinds that can sound over a background."""
PITCHES: Final[dict[Kind, tuple[Pitch, ...]]] = {
    "tone": ("low", "mid", "high"),
    "pluck": ("low", "mid", "high"),
    "bell": ("mid", "high"),
    "beeps": ("mid", "high"),
    "wind": ("low", "high"),
}
SPEEDS: Final[frozenset[Kind]] = frozenset({"rise", "fall", "siren"})
"""Kinds whose speed may be stated whatever their count; pulses have a speed from three on."""
LENGTHS: Final[frozenset[Kind]] = frozenset({"tone", "noise"})
MOST_PULSES: Final[dict[Kind, int]] = {"clicks": 5, "knocks": 4, "drums": 4, "beeps": 5}


@dataclass(frozen=True)
class Event:
    """One sound. An attribute that is None is not stated: the sound has one all the same, drawn at random."""

    kind: Kind
    pitch: Pitch | None = None
    speed: Speed | None = None
    length: Length | None = None
    level: Level | None = None
    count: int = 1


@dataclass(frozen=True)
class Scene:
    """The events of a clip: one alone, one then another, or a foreground over a background."""

    events: tuple[Event, ...]
    relation: Relation = "alone"


def draw_scene(rng: np.random.Generator) -> Scene:
    """Draw a scene: four in ten of one event, four of two in turn, two of one over another."""
    relation: Relation = ("alone", "then", "over")[rng.choice(3, p=(0.4, 0.4, 0.2))]
    if relation == "alone":
        return Scene((draw_event(rng, _one(rng, KINDS)),))
    if relation == "then":
        first, second = (draw_event(rng, _one(rng, KINDS), relation) for _ in range(2))
        return Scene((first, second), relation)
    background = Event(_one(rng, BACKGROUNDS))
    if background.kind in PITCHES and rng.random() < 0.4:
        background = Event(background.kind, pitch=_one(rng, PITCHES[background.kind]))
    return Scene((draw_event(rng, _one(rng, FOREGROUNDS), relation), background), relation)


def draw_event(rng: np.random.Generator, kind: Kind, relation: Relation = "alone") -> Event:
    """Draw the stated attributes of an event; of two events, neither is longer than half the clip or very loud."""
    count = int(rng.integers(1, _most(kind, relation) + 1))
    stated = 0.6 if relation == "alone" else 0.35
    return Event(
        kind=kind,
        pitch=_one(rng, PITCHES[kind]) if kind in PITCHES and rng.random() < 0.7 else None,
        speed=_one(rng, get_args(Speed)) if _has_speed(kind, count, relation) and rng.random() < stated else None,
        length=_one(rng, get_args(Length)) if _has_length(kind, relation) and rng.random() < stated else None,
        level=_one(rng, get_args(Level)) if relation == "alone" and rng.random() < 0.3 else None,
        count=count,
    )


def all_events(relation: Relation) -> Iterator[Event]:
    """Give every event that `draw_event` can draw for a relation, in a fixed order."""
    for kind in KINDS:
        for count in range(1, _most(kind, relation) + 1):
            yield from (
                Event(kind, *stated, count=count)
                for stated in product(
                    (None, *PITCHES.get(kind, ())),
                    (None, *(get_args(Speed) if _has_speed(kind, count, relation) else ())),
                    (None, *(get_args(Length) if _has_length(kind, relation) else ())),
                    (None, *(get_args(Level) if relation == "alone" else ())),
                )
            )


def _has_speed(kind: Kind, count: int, relation: Relation) -> bool:
    return relation == "alone" and (kind in SPEEDS or (kind in PULSED and count >= 3))


def _has_length(kind: Kind, relation: Relation) -> bool:
    return relation == "alone" and kind in LENGTHS


def _most(kind: Kind, relation: Relation) -> int:
    most = MOST_PULSES.get(kind, 1)
    return most if relation == "alone" else min(most, 3)


def _one(rng: np.random.Generator, choices: tuple[T, ...]) -> T:
    return choices[int(rng.integers(len(choices)))]
