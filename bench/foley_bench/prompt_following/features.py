"""What can be measured of a part of a clip with plain signal processing: levels, pulses, a pitch track, timbre."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from foley_bench.prompt_following.spectra import FINE, FRAME_S, MIDDLE, SHARP, Bools, Floats, Spectra, level_db
from foley_export.demo_model.sounds import SAMPLE_RATE_HZ

RANGE_DB: Final = 30.0
"""An event is what lies less than this below its peak …"""
ABOVE_FLOOR_DB: Final = 10.0
"""… and this much above what sounds between events,"""
LEAST_RANGE_DB: Final = 14.0
"""but at least what lies less than this below the peak."""
GAP_S: Final = 0.06
"""A shorter hole in a sound does not part it."""
BODY_DB, TAIL_DB = 10.0, 20.0
DIP: Final = 5
"""Frames of a dip that is filled: 25 ms, as a vocoder's phases may leave."""
EDGE: Final = 6
"""Frames left out at each end where a slope is fitted: 30 ms."""
PULSE_DB: Final = 7.0
"""How far the level rises to a pulse, and falls after it."""
PULSE_RANGE_DB: Final = 12.0
"""How far a pulse may lie below the strongest."""
HIGH_HZ: Final = 4000.0
LEAP_COST, LACK_COST = 20.0, 4.0
"""What a pitch track pays for an octave, and at most for a frame's power elsewhere, in nepers of power: an overtone
that is the strongest for less than 50 ms is not followed."""
SWING_OCT: Final = 0.5
"""How far a pitch goes up or down for it to be a swing."""
PARTIAL_DB: Final = 10.0
"""A pitch is the lowest partial that is less than this below the strongest."""


@dataclass(frozen=True)
class Features:
    """Measures of one part of a clip."""

    level_db: float
    """RMS of the loudest 32 ms, dB of full scale."""
    peak_db: float
    """Largest sample, dB of full scale; the floor is in it."""
    length_s: float
    """From where the sound first rises above its threshold to where it last falls below it."""
    filled: float
    """Share of that length in which it sounds without a hole."""
    body_s: float
    """Longest time within 10 dB of the peak."""
    tail_s: float
    """Longest time within 20 dB of the peak."""
    pulses: tuple[float, ...]
    """Times of pulses in windows of 32 ms, s."""
    ticks: tuple[float, ...]
    """Times of pulses above 4 kHz in windows of 8 ms, s."""
    tick_s: float
    """How long the longest tick is within 10 dB of its peak, s."""
    tick_bright: float
    """Share of power above 1.5 kHz in the 8 ms around the ticks."""
    tick_high: float
    """Share of power above 4 kHz in the 8 ms around the ticks."""
    decay_db_s: float
    """How fast the level falls from start to end; a steady sound has 0."""
    concentration: float
    """Share of power within 31 Hz of the strongest frequency."""
    pitch_hz: float
    """Lowest strong partial of the whole part."""
    centroid_hz: float
    high_share: float
    """Share of power above 4 kHz."""
    low_share: float
    """Share of power below 250 Hz."""
    inharmonic: float
    """Share of power between the first partial and its octave."""
    buzz: float
    """Autocorrelation at periods of 8 to 13 ms; 1 for a periodic sound of 77 to 125 Hz."""
    rise_oct: float
    """From the first to the last pitch."""
    range_oct: float
    """From the lowest to the highest pitch."""
    jitter_oct: float
    """How far the strongest frequency typically strays from a smooth track."""
    turns: tuple[float, ...]
    """Times at which the pitch turns by at least half an octave, s."""


def measure(part: Spectra, floor_db: float) -> Features:
    """Measure a part, from which the floor is already taken, above a floor of so many dB of full scale."""
    level = _without_dips(level_db(part.middle))
    active = _active(level, floor_db)
    strongest, track = _strongest(part.middle[active]), _track(part.middle[active])
    mean = part.sharp[active].mean(0)
    ticks = _peaks(level_db(part.fine[:, _hz(FINE) >= HIGH_HZ]))
    times = np.flatnonzero(active) * FRAME_S
    return Features(
        level_db=float(level.max()),
        peak_db=float(20 * np.log10(max(part.peak.max(), 1e-6))),
        length_s=float(times[-1] - times[0]) + FRAME_S,
        filled=_filled(active),
        body_s=_longest(level >= level.max() - BODY_DB) * FRAME_S,
        tail_s=_longest(level >= level.max() - TAIL_DB) * FRAME_S,
        pulses=tuple(t * FRAME_S for t in _peaks(level)),
        ticks=tuple(t * FRAME_S for t in ticks),
        tick_s=_tick_s(part.fine, ticks),
        tick_bright=_share(part.fine[ticks].sum(0), 1500.0),
        tick_high=_share(part.fine[ticks].sum(0), HIGH_HZ),
        decay_db_s=_decay(level, active),
        concentration=_concentration(mean),
        pitch_hz=_lowest_partial(mean),
        centroid_hz=float(_hz(SHARP) @ mean / max(mean.sum(), 1e-30)),
        high_share=_share(mean, HIGH_HZ),
        low_share=_share(mean, 0.0, 250.0),
        inharmonic=_inharmonic(part.sharp, active),
        buzz=_buzz(mean),
        rise_oct=float(track[-5:].mean() - track[:5].mean()),
        range_oct=float(np.ptp(np.quantile(track, (0.03, 0.97)))),
        jitter_oct=_jitter(strongest),
        turns=tuple(times[t] for t in turning_points(track, SWING_OCT)[1:-1]),
    )


def turning_points(values: Floats, least: float) -> list[int]:
    """Give where a track [T] starts, turns by at least so much, and ends its last such move."""
    turns, low, high, direction = [0], 0, 0, 0
    for t, value in enumerate(values):
        high = t if value > values[high] else high
        low = t if value < values[low] else low
        if direction <= 0 and value - values[low] >= least:
            turns += [low] if direction < 0 else []
            direction, high = 1, t
        elif direction >= 0 and values[high] - value >= least:
            turns += [high] if direction > 0 else []
            direction, low = -1, t
        if direction > 0:
            low = high
        elif direction < 0:
            high = low
    return [*turns, high if direction > 0 else low]


def _active(level: Floats, floor_db: float) -> Bools:
    peak = level.max()
    return np.asarray(level >= min(max(peak - RANGE_DB, floor_db + ABOVE_FLOOR_DB), peak - LEAST_RANGE_DB))


def _filled(active: Bools) -> float:
    """Give the longest run's share of the whole, where short holes count as filled."""
    times = np.flatnonzero(active)
    runs = np.split(times, np.flatnonzero(np.diff(times) > GAP_S / FRAME_S) + 1)
    return float(max(run[-1] - run[0] + 1 for run in runs) / (times[-1] - times[0] + 1))


def _longest(chosen: Bools) -> int:
    edges = np.flatnonzero(np.diff(np.concatenate(([0], chosen.astype(int), [0]))))
    return int((edges[1::2] - edges[::2]).max())


def _peaks(level: Floats) -> list[int]:
    """Find the pulses of an envelope [T] in dB: what rises and falls by 7 dB and is among the strongest."""
    bottom = level.max() - 2 * PULSE_RANGE_DB
    framed = np.concatenate(([bottom], np.maximum(level, bottom), [bottom]))
    maxima = turning_points(framed, PULSE_DB)[1:-1:2]
    return [t - 1 for t in maxima if framed[t] >= level.max() - PULSE_RANGE_DB]


def _tick_s(fine: Floats, ticks: list[int]) -> float:
    """Give the length of the longest of the ticks in power [T,65], s; none is told longer than 0.4 s."""
    high = level_db(fine[:, _hz(FINE) >= HIGH_HZ])
    lengths = [_longest(high[max(t - 40, 0) : t + 41] >= high[t] - BODY_DB) for t in ticks]
    return max(lengths, default=0) * FRAME_S


def _without_dips(level: Floats) -> Floats:
    """Fill dips of a level [T] that are shorter than 25 ms: the lowest of the highest around."""
    highest = _around(level, DIP).max(-1)
    return np.asarray(_around(highest, DIP).min(-1))


def _around(values: Floats, width: int) -> Floats:
    """Give each value's neighbours: [T,width], the ends repeated."""
    return np.lib.stride_tricks.sliding_window_view(np.pad(values, width // 2, mode="edge"), width)


def _decay(level: Floats, active: Bools) -> float:
    """Fit a line to the level [T] where it sounds, but for its ends."""
    times = np.flatnonzero(active)[EDGE:-EDGE]
    if len(times) < EDGE:
        return 0.0
    return float(-np.polyfit(times * FRAME_S, level[times], 1)[0])


def _strongest(power: Floats) -> Floats:
    """Give the strongest frequency of power [T,257]: log2 of Hz [T], without outliers of up to 15 ms."""
    band = _band(power)
    return np.asarray(np.median(_around(_octaves(band, band.argmax(1)), 7), axis=-1))


def _track(power: Floats) -> Floats:
    """Follow the pitch through power [T,257]: log2 of Hz [T].

    The path of most power that pays for each leap, by dynamic programming, as pitch trackers find theirs (Talkin 1995).
    """
    band = _band(power)
    octaves = np.log2(np.arange(1, band.shape[1] + 1))
    lacking = np.minimum(band.max(1, keepdims=True) - band, LACK_COST)
    costs = [lacking[0]]
    for each in lacking[1:]:
        costs.append(each + _reached(costs[-1], LEAP_COST * octaves))
    path = [int(costs[-1].argmin())]
    for cost in costs[-2::-1]:
        path.append(int((cost + LEAP_COST * np.abs(octaves - octaves[path[-1]])).argmin()))
    return _octaves(band, np.array(path[::-1]))


def _reached(cost: Floats, place: Floats) -> Floats:
    """Give the least cost [F] of getting to each place [F], ascending, from any: what it costs there, and the way."""
    upward = np.minimum.accumulate(cost - place) + place
    downward = np.minimum.accumulate((cost + place)[::-1])[::-1] - place
    return np.asarray(np.minimum(upward, downward))


def _band(power: Floats) -> Floats:
    """Give the log of power [T,257] from 31 to 4469 Hz: [T,143]."""
    return np.asarray(np.log(np.maximum(power[:, 1:144], 1e-30)))


def _octaves(band: Floats, peak: npt.NDArray[np.intp]) -> Floats:
    """Give log2 of Hz [T] of a peak in each frame of a band [T,143], between its bins."""
    inner = np.clip(peak, 1, band.shape[1] - 2)
    return np.asarray(np.log2((inner + 1 + _vertex(band, inner)) * SAMPLE_RATE_HZ / MIDDLE))


def _vertex(band: Floats, peak: npt.NDArray[np.intp]) -> Floats:
    """Give the offset [T] in bins of a parabola's top through three bins around each peak."""
    rows = np.arange(len(peak))
    left, mid, right = (band[rows, peak + step] for step in (-1, 0, 1))
    bend = left - 2 * mid + right
    return np.clip(np.where(bend < 0, 0.5 * (left - right) / np.where(bend < 0, bend, 1.0), 0.0), -0.5, 0.5)


def _jitter(track: Floats) -> float:
    """Give the mean distance of a track [T] from its neighbours' middle, 20 ms before and after."""
    if len(track) < 12:
        return 0.0
    return float(np.abs(track[4:-4] - (track[:-8] + track[8:]) / 2).mean())


def _hz(window: int) -> Floats:
    return np.fft.rfftfreq(window, 1 / SAMPLE_RATE_HZ).astype(np.float64)


def _share(mean: Floats, low_hz: float, high_hz: float = SAMPLE_RATE_HZ) -> float:
    """Give the share of a spectrum's [F] power in a band."""
    hz = _hz(2 * (len(mean) - 1))
    return float(mean[(hz >= low_hz) & (hz < high_hz)].sum() / max(mean.sum(), 1e-30))


def _concentration(mean: Floats) -> float:
    peak_hz = _hz(SHARP)[mean.argmax()]
    return _share(mean, peak_hz - 31.3, peak_hz + 31.3)


def _lowest_partial(mean: Floats) -> float:
    """Give the lowest peak of a spectrum [513] that is nearly as strong as the strongest, Hz."""
    padded = np.concatenate(([0.0], mean, [0.0]))
    tops = (padded[1:-1] > padded[:-2]) & (padded[1:-1] >= padded[2:]) & (mean >= mean.max() * 10 ** (-PARTIAL_DB / 10))
    top = np.clip(np.flatnonzero(tops)[:1], 1, len(mean) - 2) if tops.any() else np.array([1])
    offset = _vertex(np.log(np.maximum(mean, 1e-30))[None], top)
    return float((top + offset)[0] * SAMPLE_RATE_HZ / SHARP)


def _inharmonic(sharp: Floats, active: Bools) -> float:
    """Give the share of power clear of the first partial and of its octave, between them, in the first 0.4 s."""
    mean = sharp[np.flatnonzero(active)[:80]].mean(0)
    pitch_hz = _lowest_partial(mean)
    return _share(mean, max(pitch_hz * 1.12, pitch_hz + 45), min(pitch_hz * 1.75, 2 * pitch_hz - 45))


def _buzz(mean: Floats) -> float:
    """Give the highest autocorrelation at lags of 8 to 13 ms, from a mean power spectrum [513]."""
    taper = np.hanning(SHARP + 1)[:-1]
    window = np.fft.irfft(np.abs(np.fft.rfft(taper)) ** 2)
    correlation = np.fft.irfft(mean)
    lags = slice(SAMPLE_RATE_HZ * 8 // 1000, SAMPLE_RATE_HZ * 13 // 1000)
    scaled = correlation[lags] / (window[lags] / window[0])
    return float(scaled.max() / max(correlation[0], 1e-30))
