"""The procedural sounds that the demo model is trained on: no recording is used.

Each kind of sound is a short function that fills [n] samples; `render` places the events of a scene in a clip. Ranges
of attributes lie apart (a "low" pitch is at most 200 Hz, a "mid" one at least 500 Hz), so that a caption is either true
or not.

Partials lie on multiples of 100 Hz, glides step over them, and sounds start on multiples of 10 ms. A vocoder that is a
stack of convolutions has no memory of phase: from frames that are all alike, 100 a second, it can only make what
repeats 100 times a second. So the waveform of all but noise follows from its mels, and a small vocoder learns it soon.
"""

from collections.abc import Callable, Iterable
from typing import Final

import numpy as np
import numpy.typing as npt

from foley_export.demo_model.scenes import NOISY, PITCHES, PULSED, Event, Kind, Scene

SAMPLE_RATE_HZ: Final = 16000
CLIP_SAMPLES: Final = 256 * 160  # 40960 samples = 2.56 s: 256 frames of the mel front-end
GRID_HZ: Final = 100
GRID_SAMPLES: Final = SAMPLE_RATE_HZ // GRID_HZ  # 160 samples = 10 ms, the mel front-end's hop
PHASES: Final = np.random.default_rng(100).random(SAMPLE_RATE_HZ // GRID_HZ)
"""In cycles, of the harmonics of 100 Hz at every multiple of 10 ms: not all alike, which would make pulses of noise."""
PITCH_HZ: Final = {"low": (100, 200), "mid": (500, 800), "high": (1700, 3200)}
"""Lowest and highest pitch by its stated name."""
SLOW_SPACING_S: Final = (0.40, 0.46)
FAST_SPACING_S: Final = (0.13, 0.17)
PEAK: Final = {"quiet": (0.06, 0.09), "loud": (0.75, 0.92), None: (0.28, 0.40)}
"""Peak amplitude of an event by its stated level; full scale is 1."""
LONG_S: Final = (1.6, 2.2)
SHORT_S: Final = (0.35, 0.55)
HALF_S: Final = 1.15
"""Room of each of two events in turn; the second starts at `SECOND_AT_S`."""
SECOND_AT_S: Final = 1.34

Floats = npt.NDArray[np.float64]
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
        _place(first, _event(scene.events[0], rng, 2.4), rng.uniform(0.04, 0.12))
    elif scene.relation == "then":
        _place(first, _event(scene.events[0], rng, HALF_S), rng.uniform(0.03, 0.08))
        _place(last, _event(scene.events[1], rng, HALF_S), rng.uniform(SECOND_AT_S, SECOND_AT_S + 0.05))
    else:
        _place(first, _event(scene.events[0], rng, 1.9) * 1.3, rng.uniform(0.3, 0.5))
        _place(last, _background(scene.events[1], rng), 0.0)
    return clear, noise


def _place(clip: Floats, sound: Floats, start_s: float) -> None:
    start = _on_grid(start_s)
    stop = min(len(clip), start + len(sound))
    clip[start:stop] += sound[: stop - start]


def _event(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give one event at its level, no longer than its room."""
    sound = _pulses(event, rng, room_s) if event.kind in PULSED else SOUNDS[event.kind](event, rng, room_s)
    return _fade(sound / np.abs(sound).max()) * rng.uniform(*PEAK[event.level])


def _background(event: Event, rng: Rng) -> Floats:
    """Give a background that lasts the whole clip, well below a foreground."""
    seconds = CLIP_SAMPLES / SAMPLE_RATE_HZ
    sound = {"wind": _wind, "hum": _hum, "noise": _noise}[event.kind](event, rng, seconds, seconds)
    return _fade(sound / np.abs(sound).max()) * rng.uniform(0.09, 0.13)


def _pulses(event: Event, rng: Rng, room_s: float) -> Floats:
    """Repeat one pulse `count` times at an even spacing."""
    spacing = _on_grid(_spacing_s(event, rng, room_s))
    pulse = PULSES[event.kind](event, rng)
    train = np.zeros(spacing * (event.count - 1) + len(pulse))
    for number in range(event.count):
        start = number * spacing
        train[start : start + len(pulse)] += pulse * rng.uniform(0.9, 1.0)
    return train


def _spacing_s(event: Event, rng: Rng, room_s: float) -> float:
    """Give the spacing of pulses: as stated, else one that fits the room."""
    if event.speed is not None:
        return float(rng.uniform(*(SLOW_SPACING_S if event.speed == "slow" else FAST_SPACING_S)))
    return float(rng.uniform(0.2, min(0.4, (room_s - 0.25) / max(event.count - 1, 1))))


def _tone(event: Event, rng: Rng, room_s: float) -> Floats:
    pitch_hz, t = _pitch_hz(event, rng), _time(_length_s(event, rng, room_s))
    partials = [(1, 1.0), (2, rng.uniform(0.05, 0.3)), (3, rng.uniform(0.0, 0.15))]
    return _adsr(_mix(level * _partial(pitch_hz * k, t) for k, level in partials), attack_s=0.015, release_s=0.03)


def _rise(event: Event, rng: Rng, room_s: float) -> Floats:
    return _sweep(event, rng, room_s, rng.uniform(500, 800), rng.uniform(2200, 3200))


def _fall(event: Event, rng: Rng, room_s: float) -> Floats:
    return _sweep(event, rng, room_s, rng.uniform(2200, 3200), rng.uniform(500, 800))


def _sweep(event: Event, rng: Rng, room_s: float, start_hz: float, stop_hz: float) -> Floats:
    """Glide from one frequency to another, evenly in octaves."""
    ranges = {"slow": (1.6, 2.2), "fast": SHORT_S, None: (0.5, 1.1)}
    t = _time(min(rng.uniform(*ranges[event.speed]), room_s))
    frequency_hz = start_hz * (stop_hz / start_hz) ** (t / t[-1])
    return _adsr(_glide(frequency_hz, rng), attack_s=0.015, release_s=0.03)


def _siren(event: Event, rng: Rng, room_s: float) -> Floats:
    """Swing up and down around a middle frequency, starting low; at least one whole swing."""
    rates_hz = {"slow": (0.9, 1.15), "fast": (3.5, 4.5), None: (2.0, 3.0)}
    rate_hz, t = rng.uniform(*rates_hz[event.speed]), _time(min(room_s, rng.uniform(1.9, 2.3)))
    frequency_hz = rng.uniform(1300, 1700) * 2 ** (-0.6 * np.cos(2 * np.pi * rate_hz * t))
    return _adsr(_glide(frequency_hz, rng), attack_s=0.02, release_s=0.04)


def _glide(frequency_hz: Floats, rng: Rng) -> Floats:
    """Step over the grid after a frequency [n], each step faded into the next within 10 ms; with a second partial."""
    t = np.arange(len(frequency_hz)) / SAMPLE_RATE_HZ
    centres = np.arange(GRID_SAMPLES // 2, len(frequency_hz), GRID_SAMPLES)
    steps = np.round(frequency_hz[centres] / GRID_HZ).astype(int)
    second = rng.uniform(0.1, 0.35)
    return _mix(
        np.interp(np.arange(len(t)), centres, steps == step)
        * (_partial(step * GRID_HZ, t) + second * _partial(2 * step * GRID_HZ, t))
        for step in np.unique(steps)
    )


def _noise(event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """White noise without its lowest octaves: a burst when short, a hiss when long."""
    t = _time(length_s or _length_s(event, rng, room_s))
    return _adsr(_band(rng, len(t), rng.uniform(600, 1200), 8000.0), attack_s=0.01, release_s=0.05)


def _wind(event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """Noise in a band that swells with gusts: below 620 Hz when low, around 2 kHz when high."""
    pitch = event.pitch or ("low", "high")[int(rng.integers(2))]
    t = _time(length_s or min(room_s, rng.uniform(2.0, 2.4)))
    centre_hz, width = (rng.uniform(220, 330), 0.9) if pitch == "low" else (rng.uniform(1700, 2300), 0.6)
    noise = _band(rng, len(t), centre_hz * 2**-width, centre_hz * 2**width)
    gusts = 0.7 + 0.3 * np.sin(2 * np.pi * (rng.uniform(0.5, 1.1) * t + rng.uniform()))
    return _adsr(noise * gusts, attack_s=0.15, release_s=0.2)


def _pluck(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give a plucked string: harmonics that die the faster the higher they are."""
    pitch_hz, t = _pitch_hz(event, rng), _time(min(room_s, 1.1))
    rate = rng.uniform(5.0, 6.5)
    harmonics = [k for k in range(1, 9) if k * pitch_hz < 7500]
    return _mix(k**-1.1 * np.exp(-t * rate * (0.7 + 0.3 * k)) * _partial(k * pitch_hz, t) for k in harmonics)


def _bell(event: Event, rng: Rng, room_s: float) -> Floats:
    """Give a struck bell: inharmonic partials that ring long (a minor-third bell, Fletcher and Rossing)."""
    pitch_hz, t = _pitch_hz(event, rng), _time(min(room_s, rng.uniform(2.0, 2.3)))
    partials = [(1.0, 1.0, 1.0), (1.19, 0.35, 1.2), (1.5, 0.25, 1.4), (2.0, 0.4, 1.6), (2.74, 0.2, 2.2)]
    rate = rng.uniform(1.3, 1.8)
    return _mix(
        level * np.exp(-t * rate * speed) * _partial(ratio * pitch_hz, t)
        for ratio, level, speed in partials
        if ratio * pitch_hz < 7500
    )


def _hum(_event: Event, rng: Rng, room_s: float, length_s: float | None = None) -> Floats:
    """Give an engine: a steady low buzz of many harmonics that throbs."""
    t = _time(length_s or min(room_s, rng.uniform(1.9, 2.3)))
    pitch_hz = GRID_HZ
    buzz = _mix(k**-0.8 * _partial(k * pitch_hz, t) for k in range(1, 9))
    throb = 1 + 0.25 * np.sin(2 * np.pi * rng.uniform(7, 10) * t)
    return _adsr(buzz * throb, attack_s=0.06, release_s=0.1)


def _click(_event: Event, _rng: Rng) -> Floats:
    """Give a tick: 4 ms of bright noise, always the same."""
    t = _time(0.012)
    return _band(np.random.default_rng(1), len(t), 1500.0, 8000.0) * np.exp(-t / 0.0025)


def _knock(_event: Event, rng: Rng) -> Floats:
    """Give a knuckle on wood: two damped resonances of the board and a little noise."""
    t, pitch_hz = _time(0.16), rng.uniform(300, 400)
    board = np.sin(2 * np.pi * pitch_hz * t) + 0.6 * np.sin(2 * np.pi * 2.3 * pitch_hz * t)
    knuckle = 0.15 * np.random.default_rng(2).standard_normal(len(t)) * np.exp(-t / 0.004)
    return board * np.exp(-t / 0.022) + knuckle


def _drum(_event: Event, rng: Rng) -> Floats:
    """Give a bass drum: a tone that falls from 170 to 60 Hz within a tenth of a second."""
    t = _time(0.28)
    frequency_hz = rng.uniform(55, 70) + 110 * np.exp(-t / 0.03)
    return np.sin(2 * np.pi * np.cumsum(frequency_hz) / SAMPLE_RATE_HZ) * np.exp(-t / 0.07)


def _beep(event: Event, rng: Rng) -> Floats:
    t = _time(0.09)
    return _adsr(_partial(_pitch_hz(event, rng), t), attack_s=0.006, release_s=0.01)


def _pitch_hz(event: Event, rng: Rng) -> float:
    """Draw a pitch in the stated range, or in one of those that the kind has."""
    choices = PITCHES[event.kind]
    pitch = event.pitch or choices[int(rng.integers(len(choices)))]
    low, high = PITCH_HZ[pitch]
    return float(rng.integers(low // GRID_HZ, high // GRID_HZ + 1) * GRID_HZ)


def _length_s(event: Event, rng: Rng, room_s: float) -> float:
    if event.length is None:
        return float(rng.uniform(0.6, min(1.2, room_s)))
    return float(min(rng.uniform(*(SHORT_S if event.length == "short" else LONG_S)), room_s))


def _time(seconds: float) -> Floats:
    return np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ


def _on_grid(seconds: float) -> int:
    """Give the multiple of 10 ms that is nearest to a time, in samples."""
    return round(seconds * GRID_HZ) * GRID_SAMPLES


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
