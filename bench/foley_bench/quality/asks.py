"""What is asked of a source of clips: held-out captions, each with its scene and a seed of its own."""

from dataclasses import dataclass

from foley_export.demo_model.corpus import held_out_captions
from foley_export.demo_model.scenes import Scene


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

    Seeds count up from 0 over all clips, so that any run of asks is one call of `Pipeline.generate`.
    """
    drawn = held_out_captions(captions)
    return [
        Ask(held_out.caption, held_out.scene, turn * captions + number)
        for turn in range(seeds)
        for number, held_out in enumerate(drawn)
    ]
