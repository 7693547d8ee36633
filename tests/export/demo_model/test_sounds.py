"""Sounds: each attribute that a scene states is measured in what is rendered."""

import numpy as np
import pytest

from foley_export.demo_model.scenes import (
    BACKGROUNDS,
    FOREGROUNDS,
    KINDS,
    MOST_PULSES,
    NOISY,
    PITCHES,
    PULSED,
    Event,
    Scene,
    draw_scene,
)
from foley_export.demo_model.sounds import render, render_apart

RATE_HZ = 16000
SEEDS = range(6)
MANY_SEEDS = range(24)
"""So many that each of three choices is drawn."""
COLUMN_S = 0.08
"""Time of a column of latents."""
COLUMN_SAMPLES = 1280
NOTES_HZ = {"low": {200}, "mid": {500, 700}, "high": {1800, 2400, 3000}}
LEAKAGE_HZ = 12
"""A pulse of 80 ms has a peak so wide."""
TONAL = [(kind, pitch) for kind in ("tone", "pluck", "bell", "beeps") for pitch in PITCHES[kind]]
PULSES = [(kind, count) for kind in PULSED for count in range(1, MOST_PULSES[kind] + 1)]


def clip(event: Event, seed: int = 0) -> np.ndarray:
    return render(Scene((event,)), np.random.default_rng(seed)).astype(np.float64)


def part(samples: np.ndarray, start_s: float, stop_s: float) -> np.ndarray:
    return samples[round(start_s * RATE_HZ) : round(stop_s * RATE_HZ)]


def peak_hz(samples: np.ndarray) -> float:
    return int(np.abs(np.fft.rfft(samples)).argmax()) * RATE_HZ / len(samples)


def note_hz(samples: np.ndarray) -> int:
    """The multiple of 100 Hz at which a sound is strongest."""
    found_hz = peak_hz(samples)
    note = 100 * round(found_hz / 100)
    assert abs(found_hz - note) < LEAKAGE_HZ
    return note


def columns(seconds: float, within_s: float) -> int:
    """Say how many columns of latents a time is."""
    number = round(seconds / COLUMN_S)
    assert seconds == pytest.approx(number * COLUMN_S, abs=within_s)
    return number


def span_s(samples: np.ndarray, share: float = 0.02) -> float:
    """From the first to the last sample above a share of the peak."""
    heard = np.flatnonzero(np.abs(samples) > share * np.abs(samples).max())
    return float(heard[-1] - heard[0]) / RATE_HZ


def frames(samples: np.ndarray, length: int, hop: int) -> np.ndarray:
    return np.lib.stride_tricks.sliding_window_view(samples, length)[::hop]


def onsets_s(samples: np.ndarray) -> np.ndarray:
    """Times at which the envelope rises above six tenths of its peak, having been below a third."""
    envelope = np.sqrt((frames(samples, 256, 16) ** 2).mean(1))
    onsets, armed = [], True
    for number, level in enumerate(envelope / envelope.max()):
        if armed and level > 0.6:
            onsets.append(number * 16 / RATE_HZ)
        armed = level < 0.33 or (armed and level <= 0.6)
    return np.array(onsets)


def pitches_hz(samples: np.ndarray) -> np.ndarray:
    """The strongest frequency every 5 ms, where there is sound."""
    windows = frames(samples, 512, 80)
    windows = windows[np.abs(windows).max(1) > 0.3 * np.abs(samples).max()]
    return np.abs(np.fft.rfft(windows * np.hanning(512), 4096)).argmax(1) * RATE_HZ / 4096


def share_between(samples: np.ndarray, low_hz: float, high_hz: float) -> float:
    energy = np.abs(np.fft.rfft(samples)) ** 2
    hz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
    return float(energy[(hz >= low_hz) & (hz <= high_hz)].sum() / energy.sum())


@pytest.mark.parametrize("seed", range(40))
def test_clips_are_finite_in_range_and_decided_by_the_generator(seed):
    scene = draw_scene(np.random.default_rng(seed))
    samples = render(scene, np.random.default_rng(seed))
    assert (samples.dtype, samples.shape) == (np.float32, (40960,))
    assert np.isfinite(samples).all()
    assert 0.05 < np.abs(samples).max() < 1
    np.testing.assert_array_equal(samples, render(scene, np.random.default_rng(seed)))


@pytest.mark.parametrize(
    ("event", "count"),
    [
        (Event("tone", pitch="mid"), 2 * 3),
        (Event("tone", pitch="high", length="long"), 3 * 2),
        (Event("tone", pitch="low", length="short", level="loud"), 2),
        (Event("rise"), 2 * 2 * 3),
        (Event("fall", speed="slow"), 2 * 2 * 2),
        (Event("siren"), 2),
        (Event("pluck", pitch="low"), 1),
        (Event("bell", pitch="mid"), 2 * 2),
        (Event("hum"), 2),
        (Event("clicks"), 1),
        (Event("clicks", count=3), 3),
        (Event("knocks", speed="slow", count=4), 2),
        (Event("drums", speed="fast", count=3), 1),
        (Event("beeps", pitch="high", count=2), 3 * 3),
    ],
    ids=lambda value: value.kind if isinstance(value, Event) else str(value),
)
def test_a_clear_event_has_few_renderings(event, count):
    assert len({clip(event, seed).tobytes() for seed in range(80)}) == count


@pytest.mark.parametrize("kind", NOISY)
def test_every_noise_is_another(kind):
    assert len({clip(Event(kind), seed).tobytes() for seed in MANY_SEEDS}) == len(MANY_SEEDS)


@pytest.mark.parametrize("seed", range(20))
def test_the_two_parts_of_a_scene_make_its_clip(seed):
    scene = draw_scene(np.random.default_rng(seed))
    clear, noise = render_apart(scene, np.random.default_rng(seed))
    clip = render(scene, np.random.default_rng(seed))
    np.testing.assert_array_equal(np.clip(clear + noise, -1, 1).astype(np.float32), clip)


@pytest.mark.parametrize("kind", KINDS)
def test_noise_is_rendered_apart_from_all_else(kind):
    clear, noise = render_apart(Scene((Event(kind),)), np.random.default_rng(0))
    assert (clear.any(), noise.any()) == (kind not in NOISY, kind in NOISY)


@pytest.mark.parametrize("windy_first", [True, False])
def test_of_two_events_each_is_in_its_part(windy_first):
    events = (Event("wind"), Event("bell"))[:: 1 if windy_first else -1]
    clear, noise = render_apart(Scene(events, "then"), np.random.default_rng(0))
    early, late = (noise, clear) if windy_first else (clear, noise)
    assert early.any()
    assert not part(early, 1.2, 2.56).any()
    assert late.any()
    assert not part(late, 0, 1.36).any()


def test_a_noisy_background_is_apart_from_its_foreground():
    clear, noise = render_apart(Scene((Event("bell"), Event("wind")), "over"), np.random.default_rng(0))
    assert not part(clear, 0, 0.4).any()
    assert part(clear, 0.4, 2.56).any()
    assert part(noise, 0.15, 0.39).any()


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_heard(kind):
    for seed in SEEDS:
        samples = clip(Event(kind), seed)
        assert abs(samples.mean()) < 0.01
        assert np.sort(np.abs(samples))[-20] > 0.04  # a click has its energy in 20 ms: 320 samples


@pytest.mark.parametrize("kind", KINDS)
def test_clips_start_and_end_in_silence(kind):
    for seed in SEEDS:
        samples = clip(Event(kind), seed)
        assert not part(samples, 0, COLUMN_S).any()
        assert not samples[-100:].any()


@pytest.mark.parametrize(("kind", "pitch"), TONAL)
def test_the_strongest_frequency_is_a_note_of_the_stated_pitch(kind, pitch):
    assert {note_hz(clip(Event(kind, pitch=pitch), seed)) for seed in MANY_SEEDS} == NOTES_HZ[pitch]


@pytest.mark.parametrize("kind", ["tone", "pluck", "bell", "beeps"])
def test_an_unstated_pitch_is_one_of_those_of_the_kind(kind):
    heard = {note_hz(clip(Event(kind), seed)) for seed in range(50)}
    assert heard == set().union(*(NOTES_HZ[pitch] for pitch in PITCHES[kind]))


@pytest.mark.parametrize(("pitch", "band_hz"), [("low", (100, 650)), ("high", (1050, 3600))])
def test_winds_lie_in_their_bands(pitch, band_hz):
    for seed in SEEDS:
        assert share_between(clip(Event("wind", pitch=pitch), seed), *band_hz) > 0.95


def test_noise_lacks_its_lowest_octaves_and_an_engine_has_little_else():
    for seed in SEEDS:
        assert share_between(clip(Event("noise"), seed), 500, 8000) > 0.95
        assert share_between(clip(Event("hum"), seed), 60, 1000) > 0.95


@pytest.mark.parametrize(("kind", "count"), PULSES)
def test_pulses_are_as_many_as_stated_and_evenly_spaced(kind, count):
    for seed in SEEDS:
        onsets = onsets_s(clip(Event(kind, count=count), seed))
        assert len(onsets) == count
        assert np.ptp(np.diff(onsets)) < 0.01 if count > 2 else True


@pytest.mark.parametrize(("speed", "spacings"), [("slow", {5, 6}), ("fast", {2}), (None, {3, 4, 5})])
@pytest.mark.parametrize(("kind", "count"), [pair for pair in PULSES if pair[1] >= 3])
def test_pulses_are_as_fast_as_stated(kind, count, speed, spacings):
    found = set()
    for seed in MANY_SEEDS[:12]:
        onsets = onsets_s(clip(Event(kind, speed=speed, count=count), seed))
        assert len(onsets) == count
        found.add(columns(np.diff(onsets).mean(), within_s=0.003))
    assert found == spacings


@pytest.mark.parametrize("kind", ["tone", "noise"])
@pytest.mark.parametrize(("length", "lengths"), [("short", {6, 7}), ("long", {20, 25}), (None, {8, 10, 12})])
def test_sounds_are_as_long_as_stated(kind, length, lengths):
    spans_s = [span_s(clip(Event(kind, length=length), seed)) for seed in MANY_SEEDS[:12]]
    assert {columns(each, within_s=0.01) for each in spans_s} == lengths


@pytest.mark.parametrize(("level", "peak"), [("quiet", 0.075), ("loud", 0.84), (None, 0.34)])
@pytest.mark.parametrize("kind", KINDS)
def test_peaks_are_at_the_stated_level(kind, level, peak):
    for seed in SEEDS:
        assert np.abs(clip(Event(kind, level=level), seed)).max() == pytest.approx(peak, rel=1e-3)


@pytest.mark.parametrize(("kind", "direction"), [("rise", 1), ("fall", -1)])
@pytest.mark.parametrize(("speed", "lengths"), [("slow", {20, 25}), ("fast", {5, 6}), (None, {8, 10, 12})])
def test_sweeps_go_their_way_at_the_stated_speed(kind, direction, speed, lengths):
    found = set()
    for seed in MANY_SEEDS[:12]:
        samples = clip(Event(kind, speed=speed), seed)
        bottom, *_, top = pitches_hz(samples)[::direction]
        assert 480 < bottom < 900
        assert 2100 < top < 3250
        assert (np.diff(pitches_hz(samples)) * direction > -50).all()  # half a step
        found.add(columns(span_s(samples), within_s=0.01))
    assert found == lengths


@pytest.mark.parametrize(("speed", "swing_s"), [("slow", 0.96), ("fast", 0.24), (None, 0.40)])
def test_sirens_swing_at_the_stated_rate_from_below(speed, swing_s):
    for seed in SEEDS:
        octaves = np.log2(pitches_hz(clip(Event("siren", speed=speed), seed)))
        middle = (octaves.min() + octaves.max()) / 2
        upward = np.flatnonzero((octaves[:-1] < middle) & (octaves[1:] >= middle))
        assert np.ptp(octaves) == pytest.approx(1.2, abs=0.25)  # steps of 100 Hz
        assert octaves[0] < middle
        assert np.diff(upward).mean() * 80 / RATE_HZ == pytest.approx(swing_s, rel=0.04)


@pytest.mark.parametrize("kind", ["tone", "pluck", "bell", "hum"])
def test_steady_sounds_repeat_a_hundred_times_a_second(kind):
    """What their mels cannot tell, a vocoder need not guess."""
    for seed in SEEDS:
        samples = part(clip(Event(kind), seed), 0.2, 0.5)
        hertz = np.fft.rfftfreq(len(samples), 1 / RATE_HZ)
        spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)))) ** 2
        near = np.abs(hertz - 100 * np.round(hertz / 100)) < 30 if kind == "hum" else np.abs(hertz % 100 - 50) > 40
        assert spectrum[near].sum() > 0.99 * spectrum.sum()


def first_sample(samples: np.ndarray) -> int:
    """Where a sound starts, whose first sample is faded to nought."""
    return int(np.flatnonzero(samples)[0]) - 1


def delay(kind: str) -> int:
    """A click starts half a frame into its column: its middle is that of a frame."""
    return 80 if kind == "clicks" else 0


@pytest.mark.parametrize("kind", KINDS)
def test_events_start_on_columns_of_latents(kind):
    event, later = Event(kind), Event("bell" if kind == "tone" else "tone")
    for seed in SEEDS:
        assert first_sample(clip(event, seed)) == COLUMN_SAMPLES + delay(kind)
        first, second = (
            render(Scene(pair, "then"), np.random.default_rng(seed)) for pair in ((event, later), (later, event))
        )
        assert first_sample(first) == COLUMN_SAMPLES + delay(kind)
        assert first_sample(second[20000:]) + 20000 == 17 * COLUMN_SAMPLES + delay(kind)


@pytest.mark.parametrize("kind", FOREGROUNDS)
def test_foregrounds_start_on_a_column_of_latents(kind):
    clear, _ = render_apart(Scene((Event(kind), Event("noise")), "over"), np.random.default_rng(0))
    assert first_sample(clear) == 5 * COLUMN_SAMPLES + delay(kind)


def test_events_in_turn_keep_their_order():
    low, high = Event("tone", pitch="low"), Event("bell", pitch="high")
    for first, second in ((low, high), (high, low)):
        samples = render(Scene((first, second), "then"), np.random.default_rng(0)).astype(np.float64)
        heard = [peak_hz(part(samples, 0, 1.28)), peak_hz(part(samples, 1.28, 2.56))]
        assert [hz > 1000 for hz in heard] == [first is high, second is high]


@pytest.mark.parametrize("kind", KINDS)
def test_events_in_turn_do_not_touch(kind):
    event = Event(kind, count=min(MOST_PULSES.get(kind, 1), 3))
    for seed in SEEDS:
        samples = render(Scene((event, event), "then"), np.random.default_rng(seed))
        assert not part(samples, 1.2, 1.36).any()
        assert [np.abs(half).max() > 0.3 for half in (part(samples, 0, 1.28), part(samples, 1.28, 2.56))] == [True] * 2
        assert not part(samples, 2.48, 2.56).any()  # nothing is cut off


@pytest.mark.parametrize("foreground", FOREGROUNDS)
@pytest.mark.parametrize("background", BACKGROUNDS)
def test_a_background_lasts_the_whole_clip_and_the_foreground_stands_out(foreground, background):
    event = Event(foreground, count=min(MOST_PULSES.get(foreground, 1), 3))
    samples = render(Scene((event, Event(background)), "over"), np.random.default_rng(5)).astype(np.float64)
    levels = np.sqrt((frames(part(samples, 0.1, 2.4), 1600, 1600) ** 2).mean(1))
    assert (levels > 0.008).all()
    assert np.abs(part(samples, 0, 0.4)).max() <= 0.1101
    assert np.abs(part(samples, 0.4, 2.4)).max() == pytest.approx(1.3 * 0.34, abs=0.1101)


def test_a_beep_lasts_a_column_of_latents():
    for seed in SEEDS:
        assert columns(span_s(clip(Event("beeps", count=1), seed), share=0), within_s=0.001) == 1


def test_a_click_is_a_chord_of_200_hz_that_swells_for_20_ms():
    samples = clip(Event("clicks"), 0)[COLUMN_SAMPLES:].astype(np.float64)
    swell = np.maximum(0, 1 - np.abs(np.arange(len(samples)) - 240) / 160)  # 15 ms is the middle of the second frame
    assert not samples[swell == 0].any()
    steady = samples[96:384] / swell[96:384]
    np.testing.assert_allclose(steady[80:], steady[:-80], rtol=0, atol=1e-4)
