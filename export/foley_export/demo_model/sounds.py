"""The procedural sounds that the demo model is trained on: no recording is used.

Each kind of sound is a short function that fills [n] samples; `render` places the events of a scene in a clip. What
words of attributes mean lies apart (a "low" pitch is 200 Hz, a "mid" one at least 500 Hz), so that a caption is either
true or not.

It is a small world on purpose: a few notes, lengths and spacings; sounds start, and pulses follow each other, at
multiples of 80 ms, a column of the autoencoder's latents (clicks 5 ms after them). Of a caption there are a few
renderings, not a continuum, which a denoiser of 4 M parameters learns in hours; from a continuum it learnt pitches that
drift, beeps that disagree.

Partials lie on multiples of 100 Hz, and glides step over them. A vocoder that is a stack of convolutions has no memory
of phase: from frames that are all alike, 100 a second, it can only make what repeats 100 times a second. So all but
noise follows from its mels.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

import numpy as np
import numpy.typing as npt

from foley_export.demo_model.scenes import NOISY, PITCHES, PULSED, Event, Kind, Scene

SAMPLE_RATE_HZ: Final = 16000
CLIP_SAMPLES: Final = 256 * 160  # 40960 samples = 2.56 s: 256 frames of the mel front-end
GRID_HZ: Final = 100
GRID_SAMPLES: Final = SAMPLE_RATE_HZ // GRID_HZ  # 160 samples = 10 ms, the mel front-end's hop
PHASES: Final = np.random.default_rng(100).random(SAMPLE_RATE_HZ // GRID_HZ)
"""In cycles, of the harmonics of 100 Hz at every multiple of 10 ms: not all alike, which would make pulses of noise."""
COLUMN_S: Final = 0.08
"""Time of a column of latents: eight frames."""
PITCH_HZ: Final = {"low": (200,), "mid": (500, 700), "high": (1800, 2400, 3000)}
"""Notes by the stated name of their pitch."""
SPACING_S: Final = {"slow": (0.40, 0.48), "fast": (0.16,), None: (0.24, 0.32, 0.40)}
"""Of pulses, by their stated speed."""
PEAK: Final = {"quiet": 0.075, "loud": 0.84, None: 0.34}
"""Peak amplitude of an event by its stated level; full scale is 1."""
BACKGROUND_PEAK: Final = 0.11
LENGTH_S: Final = {"short": (0.48, 0.56), "long": (1.60, 2.00), None: (0.64, 0.80, 0.96)}
SWEEP_S: Final = {"fast": (0.40, 0.48), "slow": (1.60, 2.00), None: (0.64, 0.80, 0.96)}
SWEEP_HZ: Final = ((500, 700), (2400, 3000))
"""Lower and upper ends of rising and falling sounds."""
SWING_S: Final = {"slow": 0.96, "fast": 0.24, None: 0.40}
"""Of a siren, up and down, by its stated speed."""
FULL_S: Final = (2.00, 2.24)
"""Lengths of what nobody states a length of."""
ALONE_AT_S, SECOND_AT_S, OVER_AT_S = 0.08, 1.36, 0.40
"""When an event alone (and the first of two in turn) starts, the second of two, and one over a background."""
ALONE_ROOM_S, HALF_ROOM_S, OVER_ROOM_S = 2.4, 1.12, 1.92

Floats = npt.NDArray[np.float64]
T = TypeVar("T")
Rng = np.random.Generator


def render(scene: Scene, rng: Rng) -> npt.NDArray[np.float32]:
    """Render a scene as float32 [40960] in [-1,1], 16 kHz: 2.56 s.

    The generator decides all that the scene does not state; the same state gives the same clip.
    """
    return np.clip(sum(render_apart(scene, rng)), -1, 1).astype(np.float32)


def render_apart(scene: Scene, rng: Rng) -> tuple[Floats, Floats]:
    """Render as `render` does, the noise of noisy kinds apart: two arrays [40960] whose sum is not clipped yet."""
    clear, noise = np.zeros(CLIP_SAMPLES), np.zeros(CLIP_SAMPLES)
    first, last = (noise if event.kind in NOISY else clear for event in (scene.events[0], scene.events[-1]))
    if scene.relation == "alone":
        _place(first, _event(scene.events[0], rng, ALONE_ROOM_S), ALONE_AT_S)
    elif scene.relation == "then":
        _place(first, _event(scene.events[0], rng, HALF_ROOM_S), ALONE_AT_S)
        _place(last, _event(scene.events[1], rng, HALF_ROOM_S), SECOND_AT_S)
    else:
        _place(first, _event(scene.events[0], rng, OVER_ROOM_S) * 1.3, OVER_AT_S)
        _place(last, _background(scene.events[1], rng), 0.0)
    return clear, noise


def _place(clip: Floats, sound: Floats, start_s: float) -> None:
    start = round(start_s * SAMPLE_RATE_HZ)
    stop = min(len(clip), start + len(sound))
    clip[start:stop] += sound[: stop - start]


def _event(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give one event at its level, no longer than its room."""
    sound = _pulses(event, rng, room_s) if event.kind in PULSED else SOUNDS[event.kind](event, rng, room_s)
    return _fade(sound / np.abs(sound).max()) * PEAK[event.level]


def _background(event: Event, rng: Rng) -> Floats:
    """Give a background that lasts the whole clip, well below a foreground."""
    seconds = CLIP_SAMPLES / SAMPLE_RATE_HZ
    sound = {"wind": _wind, "hum": _hum, "noise": _noise}[event.kind](event, rng, seconds, seconds)
    return _fade(sound / np.abs(sound).max()) * BACKGROUND_PEAK


def _pulses(event: Event, rng: Rng, room_s: float) -> Floats:
    """Repeat one pulse `count` times at an even spacing."""
    most_s = (room_s - 0.25) / max(event.count - 1, 1)
    spacing = round(_one(rng, [each for each in SPACING_S[event.speed] if each <= most_s]) * SAMPLE_RATE_HZ)
    pulse = PULSES[event.kind](event, rng)
    train = np.zeros(spacing * (event.count - 1) + len(pulse))
    for number in range(event.count):
        start = number * spacing
        train[start : start + len(pulse)] += pulse
    return train


def _tone(event: Event, rng: Rng, room_s: float) -> Floats:
    pitch_hz, t = _pitch_hz(event, rng), _time(_length_s(event, rng, room_s))
    partials = [(1, 1.0), (2, 0.15), (3, 0.07)]
    return _adsr(_mix(level * _partial(pitch_hz * k, t) for k, level in partials), attack_s=0.015, release_s=0.03)


def _rise(event: Event, rng: Rng, room_s: float) -> Floats:
    return _sweep(event, rng, room_s, *(_one(rng, ends) for ends in SWEEP_HZ))


def _fall(event: Event, rng: Rng, room_s: float) -> Floats:
    return _sweep(event, rng, room_s, *(_one(rng, ends) for ends in reversed(SWEEP_HZ)))


def _sweep(event: Event, rng: Rng, room_s: float, start_hz: float, stop_hz: float) -> Floats:
    """Glide from one frequency to another, evenly in octaves."""
    t = _time(_fitting(rng, SWEEP_S[event.speed], room_s))
    frequency_hz = start_hz * (stop_hz / start_hz) ** (t / t[-1])
    return _adsr(_glide(frequency_hz), attack_s=0.015, release_s=0.03)


def _siren(event: Event, rng: Rng, room_s: float) -> Floats:
    """Swing up and down around a middle frequency, starting low; at least one whole swing."""
    t = _time(_fitting(rng, FULL_S, room_s))
    frequency_hz = 1500 * 2 ** (-0.6 * np.cos(2 * np.pi * t / SWING_S[event.speed]))
    return _adsr(_glide(frequency_hz), attack_s=0.02, release_s=0.04)


def _glide(frequency_hz: Floats) -> Floats:
    """Step over the grid after a frequency [n], each step faded into the next within 10 ms; with a second partial."""
    t = np.arange(len(frequency_hz)) / SAMPLE_RATE_HZ
    centres = np.arange(GRID_SAMPLES // 2, len(frequency_hz), GRID_SAMPLES)
    steps = np.round(frequency_hz[centres] / GRID_HZ).astype(int)
    return _mix(
        np.interp(np.arange(len(t)), centres, steps == step)
        * (_partial(step * GRID_HZ, t) + 0.2 * _partial(2 * step * GRID_HZ, t))
        for step in np.unique(steps)
    )


def _noise(event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """White noise without its lowest octaves: a burst when short, a hiss when long."""
    t = _time(length_s or _length_s(event, rng, room_s))
    return _adsr(_band(rng, len(t), 800.0, 8000.0), attack_s=0.01, release_s=0.05)


def _wind(event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """Noise in a band that swells with gusts: below 620 Hz when low, around 2 kHz when high."""
    pitch = event.pitch or _one(rng, PITCHES["wind"])
    t = _time(length_s or _fitting(rng, FULL_S, room_s))
    centre_hz, width = (270.0, 0.9) if pitch == "low" else (2000.0, 0.6)
    noise = _band(rng, len(t), centre_hz * 2**-width, centre_hz * 2**width)
    gusts = 0.7 + 0.3 * np.sin(2 * np.pi * (t / 1.28 + _one(rng, (0.0, 0.25, 0.5, 0.75))))
    return _adsr(noise * gusts, attack_s=0.15, release_s=0.2)


def _pluck(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give a plucked string: harmonics that die the faster the higher they are."""
    pitch_hz, t = _pitch_hz(event, rng), _time(min(room_s, 1.12))
    harmonics = [k for k in range(1, 9) if k * pitch_hz < 7500]
    return _mix(k**-1.1 * np.exp(-t * 5.7 * (0.7 + 0.3 * k)) * _partial(k * pitch_hz, t) for k in harmonics)


def _bell(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give a struck bell: inharmonic partials that ring long (a minor-third bell, Fletcher and Rossing)."""
    pitch_hz, t = _pitch_hz(event, rng), _time(_fitting(rng, FULL_S, room_s))
    partials = [(1.0, 1.0, 1.0), (1.19, 0.35, 1.2), (1.5, 0.25, 1.4), (2.0, 0.4, 1.6), (2.74, 0.2, 2.2)]
    return _mix(
        level * np.exp(-t * 1.5 * speed) * _partial(ratio * pitch_hz, t)
        for ratio, level, speed in partials
        if ratio * pitch_hz < 7500
    )


def _hum(_event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """Give an engine: a steady low buzz of many harmonics that throbs."""
    t = _time(length_s or _fitting(rng, FULL_S, room_s))
    buzz = _mix(k**-0.8 * _partial(k * GRID_HZ, t) for k in range(1, 9))
    throb = 1 + 0.25 * np.sin(np.pi * t / COLUMN_S)
    return _adsr(buzz * throb, attack_s=0.06, release_s=0.1)


def _click(_event: Event, _rng: Rng) -> Floats:
    """Give a tick: partials from 2 to 7.2 kHz for 20 ms, loudest in the middle of the vocoder's second frame."""
    t = _time(0.03)
    swell = np.interp(t, (0.005, 0.015, 0.025), (0.0, 1.0, 0.0))
    return _mix(_partial(k * GRID_HZ, t) for k in range(20, 73, 2)) * swell


def _knock(_event: Event, _rng: Rng) -> Floats:
    """Give a knuckle on wood: two damped resonances of the board and a little noise."""
    t, pitch_hz = _time(0.16), 350.0
    board = np.sin(2 * np.pi * pitch_hz * t) + 0.6 * np.sin(2 * np.pi * 2.3 * pitch_hz * t)
    knuckle = 0.15 * np.random.default_rng(2).standard_normal(len(t)) * np.exp(-t / 0.004)
    return board * np.exp(-t / 0.022) + knuckle


def _drum(_event: Event, _rng: Rng) -> Floats:
    """Give a bass drum: a tone that falls from 170 to 60 Hz within a tenth of a second."""
    t = _time(0.28)
    frequency_hz = 62 + 110 * np.exp(-t / 0.03)
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ) * np.exp(-t / 0.07)


def _beep(event: Event, rng: Rng) -> Floats:
    t = _time(COLUMN_S)
    return _adsr(_partial(_pitch_hz(event, rng), t), attack_s=0.006, release_s=0.01)


def _pitch_hz(event: Event, rng: Rng) -> float:
    """Draw a note of the stated pitch, or of one of those that the kind has."""
    return float(_one(rng, PITCH_HZ[event.pitch or _one(rng, PITCHES[event.kind])]))


def _length_s(event: Event, rng: Rng, room_s: float) -> float:
    return _fitting(rng, LENGTH_S[event.length], room_s)


def _fitting(rng: Rng, lengths_s: Sequence[float], room_s: float) -> float:
    return min(_one(rng, lengths_s), room_s)


def _one(rng: Rng, choices: Sequence[T]) -> T:
    return choices[int(rng.integers(len(choices)))]


def _time(seconds: float) -> Floats:
    return np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _partial(frequency_hz: float, t: Floats) -> Floats:
    """Give a sine on the multiple of 100 Hz that is nearest to a frequency, at that multiple's phase."""
    harmonic = round(frequency_hz / GRID_HZ)
    sine: Floats = np.sin(2 * np.pi * (harmonic * GRID_HZ * t + PHASES[harmonic]))
    return sine


def _mix(partials: Iterable[Floats]) -> Floats:
    mixed: Floats = np.sum(list(partials), axis=0, dtype=np.float64)
    return mixed


def _band(rng: Rng, samples: int, low_hz: float, high_hz: float) -> Floats:
    """Give noise [samples] between two frequencies, with edges a sixth of an octave wide."""
    frequency_hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE_HZ)
    octave = np.log2(np.maximum(frequency_hz, 1.0))
    edges = np.minimum(octave - np.log2(low_hz), np.log2(high_hz) - octave)
    spectrum = np.fft.rfft(rng.standard_normal(samples)) / (1 + np.exp(-np.clip(edges * 24, -60, 60)))
    noise: Floats = np.fft.irfft(spectrum, samples)
    return noise


def _adsr(sound: Floats, attack_s: float, release_s: float) -> Floats:
    """Ramp the start and the end."""
    t = np.arange(len(sound)) / SAMPLE_RATE_HZ
    ramp: Floats = np.minimum(1.0, np.minimum(t / attack_s, (t[-1] - t) / release_s))
    return sound * ramp


def _fade(sound: Floats) -> Floats:
    """End without a step: 5 ms."""
    return _adsr(sound, attack_s=1 / SAMPLE_RATE_HZ, release_s=0.005)


SOUNDS: Final[dict[Kind, Callable[[Event, Rng, float], Floats]]] = {
    "tone": _tone,
    "rise": _rise,
    "fall": _fall,
    "siren": _siren,
    "noise": _noise,
    "wind": _wind,
    "pluck": _pluck,
    "bell": _bell,
    "hum": _hum,
}
PULSES: Final[dict[Kind, Callable[[Event, Rng], Floats]]] = {
    "clicks": _click,
    "knocks": _knock,
    "drums": _drum,
    "beeps": _beep,
}
