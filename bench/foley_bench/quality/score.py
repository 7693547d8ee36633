"""How many clips follow their captions: a reference's, bundles' and real sounds, on the same captions and noise."""

from collections.abc import Sequence
from typing import Any, Final

from foley_bench.prompt_following import Tally
from foley_bench.quality.asks import Ask, Setting, draw_score_asks
from foley_bench.quality.listening import Heard, by_events, listen
from foley_bench.quality.progress import Progress
from foley_bench.quality.sources import RealSounds, Source

Figures = dict[str, Any]

NAME: Final = "quality score"
"""Name of the rows."""


def score(sources: Sequence[Source], setting: Setting, captions: int, seeds: int, batch: int) -> dict[str, Figures]:
    """Score real sounds and every source on the same asks; give figures by source.

    Each source's `agrees` is the number of clips whose verdict is that of the first source given.
    """
    asks = draw_score_asks(captions, seeds)
    progress = Progress(len(asks) * (len(sources) + 1))
    heard = {source.name: _listen(source, asks, setting, batch, progress) for source in (RealSounds(), *sources)}
    first = heard[sources[0].name]
    return {name: figures(found) | {"agrees": _agrees(found, first)} for name, found in heard.items()}


def figures(heard: Heard) -> Figures:
    """Give fractions with their counts, for JSON: overall, and by number of events, relation, kind and attribute."""
    summary = heard.summary
    one, two = by_events(summary)
    return {**summary.figures(), "events": {"one": tally_figures(one), "two": tally_figures(two)}}


def tally_figures(tally: Tally) -> dict[str, float]:
    """Give a share from 0 to 1, and the counts that it is of."""
    return {"fraction": round(tally.fraction, 4), "passed": tally.passed, "total": tally.total}


def _listen(source: Source, asks: Sequence[Ask], setting: Setting, batch: int, progress: Progress) -> Heard:
    progress.what = source.name
    return listen(source, asks, setting, batch, progress.advance)


def _agrees(found: Heard, first: Heard) -> int:
    return sum(a == b for a, b in zip(found.verdicts, first.verdicts, strict=True))
