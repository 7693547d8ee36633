"""What a caption's scene states, checked on a clip: kinds, pitches, counts, speeds, lengths, levels and order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from foley.errors import UsageError
from foley_bench.prompt_following.features import Features, measure
from foley_bench.prompt_following.kinds import LOW_MID_HZ, MID_HIGH_HZ, background_of, kind_of
from foley_bench.prompt_following.spectra import FRAME_S, Floats, Spectra, level_db, quietest, spectra
from foley_export.demo_model.scenes import PULSED, Kind, Scene
from foley_export.demo_model.sounds import CLIP_SAMPLES

SPACING_S: Final = 0.26
"""Between fast and slow pulses: 0.17 and 0.40 s."""
RATE_HZ: Final = 2.0
"""Between slow and fast swings of a siren: 1.15 and 3.5 a second."""
LENGTH_S: Final = 0.94
"""Between short and long: 0.56 and 1.6 s; a slow sweep is a long one."""
QUIET_DB, LOUD_DB = -16.0, -5.7
"""Peaks between quiet and plain (0.09 and 0.28) and between plain and loud (0.40 and 0.75), which a vocoder blunts."""
WIND_HZ: Final = 750.0
"""Between the centroids of low and high wind: 300 and 1900 Hz."""
CREST_DB: Final[dict[Kind, float]] = {
    **dict.fromkeys(("tone", "rise", "fall", "siren", "beeps", "drums"), 3.5),
    **dict.fromkeys(("pluck", "hum", "bell"), 6.8),
    "noise": 11.0,
    "wind": 9.5,
    "clicks": 10.7,
    "knocks": 8.2,
}
"""From the RMS of a kind's loudest 32 ms to its peak, as rendered."""
GAP_AT_S: Final = 1.285
"""Where the gap of two events in turn is looked for first, …"""
GAP_DB_S: Final = 100.0
"""… and what a gap elsewhere must be quieter by, for each second away."""
GAP_WITHIN_S: Final = (0.9, 1.7)
BETWEEN_SHARE, OVER_SHARE = 0.04, 0.15
"""Share of frames, the quietest, that are taken for what sounds between events."""
FLOOR_FACTOR: Final = 2.0
OVER_FACTOR: Final[dict[str, float]] = {"wind": 30.0, "noise": 6.0, "hum": 8.0}
"""Gusts rise by 8 dB above the quietest, and a noise's single frequencies by as much again."""


@dataclass(frozen=True)
class Check:
    """One thing that a scene states, and what was measured."""

    attribute: str
    """"kind", "background", "pitch", "count", "speed", "length", "level" or "order"."""
    asked: str
    measured: float | str
    """A kind, or a number in Hz, pulses, s, swings a second, or dB of full scale."""
    passed: bool
    event: int | None = None
    """Place in the scene of the event that states it; none for the order of two."""


@dataclass(frozen=True)
class Parts:
    """Measures of a clip's events, in the scene's order."""

    events: tuple[Features, ...]
    heard: tuple[str, ...]
    """Kind that each event is by its measures."""


def checks(clip: npt.NDArray[np.float32], scene: Scene) -> tuple[Check, ...]:
    """Check all that a scene states on a clip, float32 [40960] in [-1,1], 16 kHz.

    Raises UsageError for another shape or dtype, and for samples that are not finite.
    """
    _require_clip(clip)
    parts = {"alone": _alone, "then": _in_turn, "over": _over}[scene.relation](spectra(clip))
    found = [check for number in range(len(scene.events)) for check in _event_checks(scene, number, parts)]
    return (*found, _order(scene, parts)) if scene.relation == "then" else tuple(found)


def follows(clip: npt.NDArray[np.float32], scene: Scene) -> bool:
    """Say whether a clip, float32 [40960], holds all that its scene states; raises as `checks` does."""
    return all(check.passed for check in checks(clip, scene))


def _require_clip(clip: npt.NDArray[np.float32]) -> None:
    if clip.shape != (CLIP_SAMPLES,) or clip.dtype != np.float32:
        raise UsageError(
            f"a clip to score is {clip.dtype} {list(clip.shape)}; expected float32 [{CLIP_SAMPLES}]: generate 2.56 s"
        )
    if not np.isfinite(clip).all():
        raise UsageError("a clip to score holds samples that are not finite; run `foley verify` on its bundle")


def _alone(sound: Spectra) -> Parts:
    return _heard_above_silence(sound, (sound,))


def _in_turn(sound: Spectra) -> Parts:
    gap = _gap(level_db(sound.middle))
    return _heard_above_silence(sound, (sound.part(0, gap), sound.part(gap, len(sound.middle))))


def _heard_above_silence(sound: Spectra, parts: tuple[Spectra, ...]) -> Parts:
    floor = sound.mean(quietest(sound.sharp, BETWEEN_SHARE))
    floor_db = float(level_db(floor.middle)[0])
    events = tuple(measure(part.above(floor, FLOOR_FACTOR), floor_db) for part in parts)
    return Parts(events, tuple(map(kind_of, events)))


def _over(sound: Spectra) -> Parts:
    """Measure a foreground above what sounds between its events, and that background itself."""
    between = quietest(sound.sharp, OVER_SHARE)
    floor = sound.mean(between)
    background = measure(floor, -np.inf)
    heard = background_of(background, float(level_db(floor.middle)[0]))
    foreground = measure(sound.above(floor, OVER_FACTOR.get(heard, OVER_FACTOR["hum"])), np.inf)
    return Parts((foreground, background), (kind_of(foreground), heard))


def _gap(level: Floats) -> int:
    """Find the frame that parts two events in turn: the quietest of a level [T], near where the gap should be."""
    times = np.arange(len(level)) * FRAME_S
    smooth = np.convolve(np.maximum(level, level.max() - 40), np.full(9, 1 / 9), mode="same")
    cost = smooth + GAP_DB_S * np.abs(times - GAP_AT_S)
    cost[(times < GAP_WITHIN_S[0]) | (times > GAP_WITHIN_S[1])] = np.inf
    return int(cost.argmin())


def _order(scene: Scene, parts: Parts) -> Check:
    asked = " then ".join(event.kind for event in scene.events)
    measured = " then ".join(parts.heard)
    return Check("order", asked, measured, asked == measured)


def _event_checks(scene: Scene, number: int, parts: Parts) -> Iterator[Check]:
    event, features, heard = scene.events[number], parts.events[number], parts.heard[number]
    role = "background" if scene.relation == "over" and number == 1 else "kind"
    yield Check(role, event.kind, heard, heard == event.kind, number)
    if event.kind in PULSED:
        count = len(_pulses(event.kind, features))
        yield Check("count", str(event.count), float(count), count == event.count, number)
    for attribute, asked, ask in (
        ("pitch", event.pitch, _pitch),
        ("speed", event.speed, _speed),
        ("length", event.length, _length),
        ("level", event.level, _level),
    ):
        if asked is not None:
            measured, found = ask(event.kind, features)
            yield Check(attribute, asked, measured, found == asked, number)


def _pulses(kind: Kind, features: Features) -> tuple[float, ...]:
    return features.ticks if kind == "clicks" else features.pulses


def _pitch(kind: Kind, features: Features) -> tuple[float, str]:
    """Give the pitch, or the centroid of wind, in Hz, and its word."""
    if kind == "wind":
        return features.centroid_hz, "low" if features.centroid_hz < WIND_HZ else "high"
    hz = features.pitch_hz
    return hz, "low" if hz < LOW_MID_HZ else "mid" if hz < MID_HIGH_HZ else "high"


def _speed(kind: Kind, features: Features) -> tuple[float, str]:
    """Give the spacing of pulses in s, a siren's swings a second, or a sweep's length in s, and its word."""
    if kind in PULSED:
        spacing_s = _typical_step(_pulses(kind, features))
        return spacing_s, "fast" if spacing_s < SPACING_S else "slow"
    if kind == "siren":
        rate_hz = 0.5 / max(_typical_step(features.turns), FRAME_S)
        return rate_hz, "slow" if rate_hz < RATE_HZ else "fast"
    return features.length_s, "fast" if features.length_s < LENGTH_S else "slow"


def _typical_step(times: tuple[float, ...]) -> float:
    return float(np.median(np.diff(times))) if len(times) > 1 else 0.0


def _length(_: Kind, features: Features) -> tuple[float, str]:
    return features.length_s, "short" if features.length_s < LENGTH_S else "long"


def _level(kind: Kind, features: Features) -> tuple[float, str]:
    """Give the peak in dB of full scale, and its word.

    It is the middle of the clip's peak and of the one that this kind has at such a short-time level: a vocoder's phases
    change the first, chance the second.
    """
    peak_db = (features.peak_db + features.level_db + CREST_DB[kind]) / 2
    return peak_db, "quiet" if peak_db < QUIET_DB else "loud" if peak_db > LOUD_DB else "plain"
