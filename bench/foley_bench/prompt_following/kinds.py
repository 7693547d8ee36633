"""Which kind of sound a part of a clip is: a rule for each kind, that a sound of that kind alone passes.

Each bound lies midway between what two kinds measure, in octaves or decibels where those are the measure.
"""

from collections.abc import Callable
from typing import Final, Literal

from foley_bench.prompt_following.features import Features
from foley_export.demo_model.scenes import Kind

SILENT_DB: Final = -52.0
"""A part whose loudest 32 ms are below this, of full scale, is silent; a quiet click is at -33."""
STEADY_OCT: Final = 0.4
STEADY_DB_S: Final = 5.0
"""A tone keeps within 2 dB/s, a bell falls by 10 to 17."""
PLUCK_DB_S: Final = (26.0, 85.0)
"""A plucked string falls by 45 to 60 dB/s, a bell by 17 at most, a drum by 120."""
LOW_MID_HZ, MID_HIGH_HZ = 332.0, 1202.0
"""Between low and mid pitches (200 and 500 Hz), and between mid and high (800 and 1700 Hz)."""
PULSE_S: Final = 0.19
"""A beep lasts 0.08 s, the shortest tone 0.48 s."""
FLICKER_OCT: Final = 0.09
"""The pitch track of a siren strays by 0.07 octaves from a smooth one, that of noise by 0.12 or more."""
Heard = Kind | Literal["silence", "unclear"]


def kind_of(features: Features) -> Heard:
    """Name the kind of sound that was measured, "silence", or "unclear" where no rule holds."""
    if features.level_db < SILENT_DB:
        return "silence"
    return next((kind for kind, rule in RULES.items() if rule(features)), "unclear")


def background_of(features: Features, floor_db: float) -> Heard:
    """Name what sounds between the events of a clip, at a level in dB of full scale."""
    if floor_db < BACKGROUND_DB:
        return "silence"
    return next((kind for kind, rule in BACKGROUND_RULES.items() if rule(features)), "unclear")


def _held(f: Features) -> bool:
    return f.filled > 0.8 and f.body_s > PULSE_S


def _steady_pitch(f: Features) -> bool:
    return f.range_oct < STEADY_OCT and f.jitter_oct < FLICKER_OCT


def _tone(f: Features) -> bool:
    steady = abs(f.decay_db_s) < STEADY_DB_S and _steady_pitch(f)
    return _held(f) and steady and f.concentration > 0.62 and f.inharmonic < 0.04


def _rise(f: Features) -> bool:
    return _sweep(f) and f.rise_oct > 0.7 * f.range_oct


def _fall(f: Features) -> bool:
    return _sweep(f) and f.rise_oct < -0.7 * f.range_oct


def _sweep(f: Features) -> bool:
    smooth = f.jitter_oct < FLICKER_OCT and len(f.turns) < 2
    lasts = f.filled > 0.8 and f.tail_s > PULSE_S  # no pulse glides so far: where steps of a vocoder meet, it may dip
    return lasts and smooth and f.range_oct > 0.9 and f.concentration < 0.55 and f.centroid_hz > 300


def _siren(f: Features) -> bool:
    swings = len(f.turns) >= 2 and 0.7 < f.range_oct < 2.0
    return _held(f) and swings and f.jitter_oct < FLICKER_OCT and f.concentration < 0.45 and f.centroid_hz > 300


def _noise(f: Features) -> bool:
    return f.filled > 0.8 and f.body_s > 0.12 and f.high_share > 0.3 and f.concentration < 0.1


def _wind(f: Features) -> bool:
    return _held(f) and f.jitter_oct > FLICKER_OCT and _wind_band(f) and abs(f.decay_db_s) < 26


def _wind_band(f: Features) -> bool:
    return f.high_share < 0.2 and f.concentration < 0.42 and f.buzz < 0.35


def _clicks(f: Features) -> bool:
    return f.tick_s < 0.08 and f.tick_bright > 0.6 and f.tick_high > 0.2 and f.body_s < 0.08


def _knocks(f: Features) -> bool:
    wooden = 240 < f.centroid_hz < 1000 and 0.3 < f.concentration < 0.85 and f.low_share < 0.25
    return f.body_s < 0.068 and wooden and f.pitch_hz < 430


def _drums(f: Features) -> bool:
    return f.body_s < PULSE_S and f.low_share > 0.8 and f.centroid_hz < 140


def _pluck(f: Features) -> bool:
    dies = PLUCK_DB_S[0] < f.decay_db_s < PLUCK_DB_S[1] and f.tail_s > 0.2
    once = len(f.pulses) < 2
    return f.filled > 0.8 and once and dies and _steady_pitch(f) and f.concentration > 0.5 and f.inharmonic < 0.04


def _bell(f: Features) -> bool:
    rings = STEADY_DB_S < f.decay_db_s < PLUCK_DB_S[0] and f.inharmonic > 0.04
    return _held(f) and rings and _steady_pitch(f) and f.concentration > 0.45 and f.pitch_hz > LOW_MID_HZ


def _hum(f: Features) -> bool:
    return _held(f) and _steady_pitch(f) and _engine(f) and abs(f.decay_db_s) < 15


def _engine(f: Features) -> bool:
    return f.buzz > 0.4 and f.low_share > 0.4 and 0.35 < f.concentration < 0.62


def _beeps(f: Features) -> bool:
    short = 0.068 < f.body_s < PULSE_S and f.tail_s < 0.2
    return short and _steady_pitch(f) and f.concentration > 0.6 and f.pitch_hz > LOW_MID_HZ


def _hiss(f: Features) -> bool:
    return f.high_share > 0.3 and f.concentration < 0.3


BACKGROUND_DB: Final = -46.0
"""A background sounds at -38 dB of full scale or more; the hiss of a vocoder at -55."""
RULES: Final[dict[Kind, Callable[[Features], bool]]] = {
    "tone": _tone,
    "rise": _rise,
    "fall": _fall,
    "siren": _siren,
    "noise": _noise,
    "wind": _wind,
    "clicks": _clicks,
    "knocks": _knocks,
    "pluck": _pluck,  # before drums: a string at 100 Hz is as low and as short as they are, but keeps its pitch
    "drums": _drums,
    "bell": _bell,
    "hum": _hum,
    "beeps": _beeps,
}
BACKGROUND_RULES: Final[dict[Kind, Callable[[Features], bool]]] = {"wind": _wind_band, "hum": _engine, "noise": _hiss}
