"""What is asked of a source of clips: held-out captions, each with its scene and a seed of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from foley_export.demo_model.corpus import HELD_OUT_SEED, HeldOut, held_out_captions
from foley_export.demo_model.scenes import Scene

SCORE_SEED: Final = 777
CHOSEN_BY: Final = ((200, HELD_OUT_SEED), (400, 4242))
"""Counts and seeds of captions by which the model, its world and its defaults were chosen: those of `draw_asks`, and
some by which changes of the model were measured."""


@dataclass(frozen=True)
class Ask:
    """One clip to be made."""

    caption: str
    scene: Scene
    """What the caption states, for the checks."""
    seed: int


@dataclass(frozen=True)
class Setting:
    """How clips are made."""

    sampler: str
    """A key of `foley.SAMPLERS`."""
    steps: int
    guidance: float

    def __str__(self) -> str:
        """Name it as a person would."""
        return f"{self.sampler}, {self.steps} steps, guidance {self.guidance:g}"


def draw_asks(captions: int, seeds: int) -> list[Ask]:
    """Draw `captions` different held-out captions, half of one event and half of two, each `seeds` times.

    Seeds count up from 0 over all clips, so that any run of asks is one call of `Pipeline.generate`. Choose by these:
    settings, the length of a training, the world of sounds.
    """
    return _asked(held_out_captions(captions), seeds)


def draw_score_asks(captions: int, seeds: int) -> list[Ask]:
    """Draw as `draw_asks` does, other captions, by which nothing has been chosen: for a score that is told."""
    looked_at = {held_out.caption for chosen in CHOSEN_BY for held_out in held_out_captions(*chosen)}
    many = captions + sum(count for count, _ in CHOSEN_BY)
    drawn = [each for each in held_out_captions(many, SCORE_SEED) if each.caption not in looked_at]
    one, two = ([each for each in drawn if len(each.scene.events) == events] for events in (1, 2))
    return _asked([*one[: captions - captions // 2], *two[: captions // 2]], seeds)


def _asked(drawn: Sequence[HeldOut], seeds: int) -> list[Ask]:
    return [
        Ask(held_out.caption, held_out.scene, turn * len(drawn) + number)
        for turn in range(seeds)
        for number, held_out in enumerate(drawn)
    ]
