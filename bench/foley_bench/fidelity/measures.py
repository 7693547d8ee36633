"""How far clips are from a reference's: by waveform, by log-mel, as a set, and by what their captions state."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

import numpy as np

from foley_bench.fidelity.asks import Ask
from foley_bench.fidelity.frechet import QUIETEST, Floats, distance, fit, statistics
from foley_bench.fidelity.mel import log_mel
from foley_bench.fidelity.runs import Made, Samples
from foley_bench.prompt_following import Tally, follows
from foley_bench.timing import spread
from foley_engines.fidelity import snr_db

DB_A_NEPER: Final = 20 / float(np.log(10))  # 8.686 dB
LEAST_DEVIATION: Final = 0.1
"""Natural-log units, 0.9 dB: what a feature is taken to vary by at least among the reference's few clips."""
EXACT: Final = "exact"


@dataclass(frozen=True, eq=False)
class Departure:
    """What a build's clips depart by from the reference's."""

    snr_db: list[float]
    """A clip's waveform against the reference's: infinity where they are equal."""
    log_mel_db: list[float]
    """Root mean square of the log-mels' difference, silence of both left at `QUIETEST`."""
    frechet: float | None
    """Between the two sets; None of a single clip."""
    score: Tally | None
    """Clips that hold all that their prompts state; None where nobody knows what they state."""


def depart(made: Made, reference: Made, asks: Sequence[Ask], rate_hz: int) -> Departure:
    """Measure a build's clips against the reference's of the same asks."""
    mels, expected = (_mels(each.samples, rate_hz) for each in (made, reference))
    return Departure(
        snr_db=[snr_db(a, b) for a, b in zip(reference.samples, made.samples, strict=True)],
        log_mel_db=[_rms_db(a, b) for a, b in zip(expected, mels, strict=True)],
        frechet=_frechet(mels, expected),
        score=_score(made.samples, asks),
    )


def _mels(clips: Sequence[Samples], rate_hz: int) -> Floats:
    """Give log-mels [n,256,T] of clips of one length, no lower than what is heard."""
    return np.stack([np.maximum(log_mel(samples, rate_hz), QUIETEST) for samples in clips])


def _rms_db(a: Floats, b: Floats) -> float:
    return DB_A_NEPER * float(np.sqrt(np.square(a - b).mean()))


def _frechet(mels: Floats, expected: Floats) -> float | None:
    if len(mels) < 2:
        return None
    found, real = statistics(mels), statistics(expected)
    away = distance(fit(found, real, LEAST_DEVIATION), fit(real, real, LEAST_DEVIATION))
    return max(0.0, away)  # rounding leaves −1e-13 between equal sets


def _score(clips: Sequence[Samples], asks: Sequence[Ask]) -> Tally | None:
    verdicts = [follows(clip, ask.scene) for clip, ask in zip(clips, asks, strict=True) if ask.scene is not None]
    return Tally(sum(verdicts), len(verdicts)) if verdicts else None


def departure_figures(found: Departure) -> dict[str, Any]:
    """Give a row's figures."""
    score = found.score
    return {
        "snr_db": {"median": told_db(median(found.snr_db)), "least": told_db(min(found.snr_db))},
        "exact_clips": sum(each == float("inf") for each in found.snr_db),
        "log_mel_db": spread(found.log_mel_db).rounded(),
        "frechet": None if found.frechet is None else round(found.frechet, 4),
        "score": None if score is None else {"fraction": round(score.fraction, 4), **vars(score)},
    }


def told_db(value: float) -> float | str | None:
    """Give decibels as JSON can hold them: "exact" for no difference at all, None where the reference is silent."""
    if value == float("inf"):
        return EXACT
    return round(value, 2) if np.isfinite(value) else None
