"""Clips as they come are checked and measured, and let go."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from foley_bench.fidelity.frechet import Floats
from foley_bench.prompt_following import Check, Summary, Tally, checks, summarise_checks
from foley_bench.quality.asks import Ask, Setting
from foley_bench.quality.frechet import features
from foley_bench.quality.sources import Source
from foley_export.demo_model.scenes import Scene

Tell = Callable[[int], None]
"""Takes the number of clips that were made since it was last told."""


@dataclass(frozen=True, eq=False)
class Heard:
    """What was found in a source's clips, one entry a clip in the order of the asks."""

    scored: list[tuple[Scene, tuple[Check, ...]]]
    features: Floats
    """[n,96]; see `features`."""

    @property
    def verdicts(self) -> list[bool]:
        """Whether each clip follows its caption: all its checks pass."""
        return [all(check.passed for check in found) for _, found in self.scored]

    @property
    def summary(self) -> Summary:
        """How many follow, by relation, kind and attribute."""
        return summarise_checks(self.scored)


def listen(source: Source, asks: Sequence[Ask], setting: Setting, batch: int, tell: Tell = lambda _: None) -> Heard:
    """Make the asks' clips, `batch` in a call, and check and measure them."""
    scored: list[tuple[Scene, tuple[Check, ...]]] = []
    measured: list[Floats] = []
    for first in range(0, len(asks), batch):
        some = asks[first : first + batch]
        clips = source.clips(some, setting)
        scored += [(ask.scene, checks(clip, ask.scene)) for ask, clip in zip(some, clips, strict=True)]
        measured.append(features(np.stack(clips)))
        tell(len(some))
    return Heard(scored, np.concatenate(measured))


def by_events(summary: Summary) -> tuple[Tally, Tally]:
    """Give how many clips of one event follow, and how many of two."""
    relations = {"alone": Tally(0, 0), "then": Tally(0, 0), "over": Tally(0, 0), **summary.relations}
    return relations["alone"], relations["then"] + relations["over"]
