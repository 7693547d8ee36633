"""Captions in natural language for scenes, and the split that keeps some of them from training."""

from collections.abc import Sequence
from typing import Final
from zlib import crc32

import numpy as np

from foley_export.demo_model.scenes import PULSED, Event, Kind, Scene

NOUNS: Final[dict[Kind, tuple[str, ...]]] = {
    "tone": ("tone", "steady tone", "sine tone", "held note"),
    "rise": ("rising siren", "rising chirp", "upward sweep", "rising tone", "glide up"),
    "fall": ("falling siren", "falling chirp", "downward sweep", "falling tone", "glide down"),
    "siren": ("wailing siren", "siren going up and down", "wailing alarm", "oscillating siren"),
    "noise": ("white noise", "static", "noise"),
    "wind": ("wind", "wind blowing", "gusty wind", "gusts of wind"),
    "clicks": ("click", "tick"),
    "knocks": ("knock", "knock on wood", "knock on a door"),
    "drums": ("drum beat", "drum hit", "bass drum hit", "thump of a drum"),
    "pluck": ("plucked string", "string pluck", "guitar pluck"),
    "bell": ("bell", "ringing bell", "bell strike", "chime"),
    "hum": ("hum", "engine hum", "engine humming", "motor droning", "buzzing engine"),
    "beeps": ("beep", "electronic beep"),
}
MASS: Final = frozenset({"white noise", "static", "noise", "wind", "wind blowing", "gusty wind", "gusts of wind"})
"""Nouns without an article."""
PLURALS: Final = {
    "knock on wood": "knocks on wood",
    "knock on a door": "knocks on a door",
    "thump of a drum": "thumps of a drum",
}
COUNTS: Final = ((), ("a", "one", "a single"), ("two", "2"), ("three", "3"), ("four", "4"), ("five", "5"))
PITCH_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "low": ("low", "deep", "low-pitched"),
    "mid": ("mid-range", "medium-pitched", "middle-pitched"),
    "high": ("high", "high-pitched", "shrill"),
}
WIND_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "low": ("low", "deep", "rumbling"),
    "high": ("high", "whistling", "high-pitched"),
}
SPEED_WORDS: Final[dict[str, tuple[str, ...]]] = {"slow": ("slow", "unhurried"), "fast": ("fast", "quick", "rapid")}
LENGTH_WORDS: Final[dict[str, tuple[str, ...]]] = {
    "short": ("short", "brief"),
    "long": ("long", "sustained", "continuous"),
}
LEVEL_WORDS: Final[dict[str, tuple[str, ...]]] = {"quiet": ("quiet", "soft", "faint"), "loud": ("loud", "strong")}
ALONE: Final = ("{a}", "{a}", "{a}", "the sound of {a}", "{a} on its own", "there is {a}", "we hear {a}")
THEN: Final = (
    "{a}, then {b}",
    "{a} and then {b}",
    "{a} followed by {b}",
    "{a} before {b}",
    "{b} after {a}",
    "first {a}, then {b}",
)
OVER: Final = (
    "{a} over {b}",
    "{a} with {b} in the background",
    "{a} on top of {b}",
    "{a} against {b}",
    "{b} with {a} over it",
)
HELD_OUT_PAIRS: Final = 6
"""One ordered pair of kinds in so many is never trained on."""
HELD_OUT_EVENTS: Final = 6
"""So is one combination of stated attributes of a single event in so many, where it has two or more."""
HELD_OUT_TEXTS: Final = 10
"""So is one caption in so many, whatever its scene."""


def draw_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Word a scene; one scene has from tens to thousands of wordings."""
    phrases = [_phrase(event, rng) for event in scene.events]
    template = _one(rng, {"alone": ALONE, "then": THEN, "over": OVER}[scene.relation])
    return template.format(**dict(zip("ab", phrases, strict=False)))


def held_out(scene: Scene, caption: str) -> bool:
    """Say whether a scene or its caption is kept from training.

    Whole pairs of kinds and whole combinations of attributes are, so that following them is composition, not memory.
    """
    return _held_out_scene(scene) or crc32(caption.encode()) % HELD_OUT_TEXTS == 0


def _held_out_scene(scene: Scene) -> bool:
    if scene.relation == "alone":
        (event,) = scene.events
        return _stated(event) >= 2 and crc32(repr(event).encode()) % HELD_OUT_EVENTS == 0
    kinds = f"{scene.events[0].kind} {scene.relation} {scene.events[1].kind}"
    return crc32(kinds.encode()) % HELD_OUT_PAIRS == 0


def _stated(event: Event) -> int:
    attributes = (event.pitch, event.speed, event.length, event.level)
    return sum(attribute is not None for attribute in attributes) + (event.kind in PULSED and event.count > 1)


def _phrase(event: Event, rng: np.random.Generator) -> str:
    noun = _one(rng, NOUNS[event.kind])
    adjectives = _adjectives(event, rng)
    if event.kind == "noise" and event.length == "short":
        return _with_article("burst of " + noun, adjectives)
    if event.kind not in PULSED:
        return " ".join((*adjectives, noun)) if noun in MASS else _with_article(noun, adjectives)
    count = _one(rng, COUNTS[event.count])
    if count == "a":
        return _with_article(noun, adjectives)
    return " ".join((count, *adjectives, noun if event.count == 1 else PLURALS.get(noun, noun + "s")))


def _adjectives(event: Event, rng: np.random.Generator) -> list[str]:
    """Word what is stated, in any order."""
    pitches: dict[str, tuple[str, ...]] = WIND_WORDS if event.kind == "wind" else PITCH_WORDS
    stated = (event.pitch, event.speed, event.length, event.level)
    tables: tuple[dict[str, tuple[str, ...]], ...] = (pitches, SPEED_WORDS, LENGTH_WORDS, LEVEL_WORDS)
    words = [_one(rng, table[value]) for value, table in zip(stated, tables, strict=True) if value is not None]
    return [words[index] for index in rng.permutation(len(words))]


def _with_article(noun: str, adjectives: Sequence[str]) -> str:
    words = " ".join((*adjectives, noun))
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _one(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]
