"""How many clips follow their captions: overall, and by relation, kind and attribute."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foley_bench.prompt_following.checks import Check, checks
from foley_export.demo_model.scenes import Scene

Scored = tuple[Scene, tuple[Check, ...]]


@dataclass(frozen=True)
class Tally:
    """How many of so many passed."""

    passed: int
    total: int

    @property
    def fraction(self) -> float:
        """Share that passed, 0 to 1; 0 of none."""
        return self.passed / max(self.total, 1)

    def __add__(self, other: "Tally") -> "Tally":
        """Count both."""
        return Tally(self.passed + other.passed, self.total + other.total)

    def __str__(self) -> str:
        """Give the share and the counts: 97.5 % (39 of 40)."""
        return f"{100 * self.fraction:.1f} % ({self.passed} of {self.total})"


@dataclass(frozen=True)
class Summary:
    """What followed: whole clips, and what was asked of them by name."""

    overall: Tally
    """Clips that hold all that their scenes state."""
    relations: Mapping[str, Tally]
    """The same, of the clips of a relation."""
    kinds: Mapping[str, Tally]
    """Events that hold all that is stated of them, of a kind."""
    attributes: Mapping[str, Tally]
    """Checks that passed, of an attribute."""

    def figures(self) -> dict[str, object]:
        """Give a row's figures, for JSON: fractions, and beside each the count that it is of."""
        groups = {"relations": self.relations, "kinds": self.kinds, "attributes": self.attributes}
        by_name = {
            group: {name: _figure(tally) for name, tally in tallies.items()} for group, tallies in groups.items()
        }
        return {"overall": _figure(self.overall), **by_name}


def summarise(pairs: Iterable[tuple[Scene, npt.NDArray[np.float32]]]) -> Summary:
    """Score clips, float32 [40960] each, against their scenes; raises as `checks` does."""
    return summarise_checks([(scene, checks(clip, scene)) for scene, clip in pairs])


def summarise_checks(scored: list[Scored]) -> Summary:
    """Count what passed in checks that were made before."""
    clips = [(scene.relation, _all(found)) for scene, found in scored]
    return Summary(
        overall=sum((tally for _, tally in clips), Tally(0, 0)),
        relations=_by_name(clips),
        kinds=_by_name(event for scene, found in scored for event in _events(scene, found)),
        attributes=_by_name((check.attribute, _all((check,))) for _, found in scored for check in found),
    )


def _events(scene: Scene, found: tuple[Check, ...]) -> Iterator[tuple[str, Tally]]:
    """Give each event's kind and whether all its checks passed."""
    for number, event in enumerate(scene.events):
        yield event.kind, _all(tuple(check for check in found if check.event == number))


def _all(found: tuple[Check, ...]) -> Tally:
    return Tally(int(all(check.passed for check in found)), 1)


def _by_name(counted: Iterable[tuple[str, Tally]]) -> dict[str, Tally]:
    totals: dict[str, Tally] = {}
    for name, tally in counted:
        totals[name] = totals.get(name, Tally(0, 0)) + tally
    return dict(sorted(totals.items()))


def _figure(tally: Tally) -> dict[str, float]:
    return {"fraction": round(tally.fraction, 4), "passed": tally.passed, "total": tally.total}
