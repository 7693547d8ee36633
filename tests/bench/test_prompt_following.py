"""The prompt-following score: real sounds pass, other sounds fail, and a vocoder's blemishes do not matter."""

import json
import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from foley_bench.prompt_following import Tally, checks, follows, summarise, summarise_checks
from foley_engines.errors import UsageError
from foley_export.demo_model.scenes import BACKGROUNDS, KINDS, PITCHES, Event, Scene, draw_event, draw_scene
from foley_export.demo_model.sounds import CLIP_SAMPLES, SAMPLE_RATE_HZ, render

CLIPS = 1000
DEGRADED = 110
WINDOW, HOP = 1024, 160
MELS = 128
TAPER = np.hanning(WINDOW)


@pytest.fixture(scope="module")
def real():
    """Drawn scenes, mixed, with their sounds."""
    rng = np.random.default_rng(2026)
    scenes = [draw_scene(rng) for _ in range(CLIPS)]
    return [(scene, render(scene, rng)) for scene in scenes]


@pytest.fixture(scope="module")
def summary(real):
    return summarise(real)


def kind_rate(asked: Event, rendered: Event, rng: np.random.Generator, times: int = 15) -> float:
    clips = [render(Scene((rendered,)), rng) for _ in range(times)]
    return sum(checks(clip, Scene((asked,)))[0].passed for clip in clips) / times


def failing(attribute: str, asked: Scene, rendered: Scene, rng: np.random.Generator, times: int) -> list[bool]:
    """Say of each rendering whether the attribute's check fails where it should, and only then."""
    found = []
    for _ in range(times):
        clip = render(rendered, rng)
        right, wrong = (
            [check.passed for check in checks(clip, scene) if check.attribute == attribute]
            for scene in (rendered, asked)
        )
        found.append(all(right) and not all(wrong))
    return found


def test_real_sounds_follow_their_captions(summary):
    assert summary.overall.total == CLIPS
    assert summary.overall.fraction >= 0.98, str(summary.overall)
    for name, tally in summary.relations.items():
        assert tally.fraction >= 0.97, f"{name}: {tally}"


def test_every_kind_and_attribute_is_followed(summary):
    assert set(summary.kinds) == set(KINDS)
    assert set(summary.attributes) == {
        *("kind", "background", "pitch", "count", "speed", "length", "level", "order"),
    }
    for name, tally in (*summary.kinds.items(), *summary.attributes.items()):
        assert tally.fraction >= 0.96, f"{name}: {tally}"


def test_shuffled_captions_are_not_followed(real):
    order = np.random.default_rng(1).permutation(len(real))
    pairs = zip(order[:300], order[-300:], strict=True)
    passed = [follows(real[clip][1], real[scene][0]) for clip, scene in pairs]
    assert np.mean(passed) <= 0.05


@pytest.mark.parametrize("rendered", KINDS)
def test_no_kind_passes_for_another(rendered):
    rng = np.random.default_rng(3)
    clips = [render(Scene((draw_event(rng, rendered),)), rng) for _ in range(25)]
    others = [kind for kind in KINDS if kind != rendered]
    assert sum(checks(clip, Scene((Event(rendered),)))[0].passed for clip in clips) >= 24
    assert not any(
        checks(clip, Scene((Event(other),)))[0].passed
        for number, clip in enumerate(clips)
        for other in (others[number % 12], others[(number + 5) % 12])
    )


@pytest.mark.parametrize("pitch", PITCHES["pluck"])
def test_a_string_that_sounds_twice_is_no_pluck(pitch):
    """Fast drum hits of a vocoder may die as a string does, all together."""
    scene = Scene((Event("pluck", pitch=pitch),))
    once = render(scene, np.random.default_rng(11))
    twice = once.copy()
    twice[round(0.15 * SAMPLE_RATE_HZ) : round(0.19 * SAMPLE_RATE_HZ)] *= 0.05  # 70 ms after its start
    assert checks(once, scene)[0].passed
    assert not checks(twice, scene)[0].passed


@pytest.mark.parametrize("kind", ["clicks", "knocks", "drums", "beeps"])
@pytest.mark.parametrize("change", [-1, 1])
def test_another_count_fails(kind, change):
    rng = np.random.default_rng(4)
    found = []
    for count in (2, 3, 4):
        rendered = Event(kind, count=count)
        asked = replace(rendered, count=count + change)
        found += failing("count", Scene((asked,)), Scene((rendered,)), rng, 5)
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("kind", PITCHES)
def test_another_pitch_fails(kind):
    rng = np.random.default_rng(5)
    pairs = [(one, other) for one in PITCHES[kind] for other in PITCHES[kind] if one != other]
    found = []
    for one, other in pairs:
        found += failing("pitch", Scene((Event(kind, pitch=other),)), Scene((Event(kind, pitch=one),)), rng, 15)
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize(
    ("kind", "count"),
    [("rise", 1), ("fall", 1), ("siren", 1), ("clicks", 5), ("knocks", 4), ("drums", 3), ("beeps", 4)],
)
@pytest.mark.parametrize(("one", "other"), [("slow", "fast"), ("fast", "slow")])
def test_another_speed_fails(kind, count, one, other):
    asked, rendered = Event(kind, speed=other, count=count), Event(kind, speed=one, count=count)
    found = failing("speed", Scene((asked,)), Scene((rendered,)), np.random.default_rng(6), 10)
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize("kind", ["tone", "noise"])
@pytest.mark.parametrize(("one", "other"), [("short", "long"), ("long", "short")])
def test_another_length_fails(kind, one, other):
    asked, rendered = Event(kind, length=other), Event(kind, length=one)
    assert np.mean(failing("length", Scene((asked,)), Scene((rendered,)), np.random.default_rng(7), 10)) >= 0.95


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("one", "other"), [("quiet", "loud"), ("loud", "quiet"), (None, "loud"), (None, "quiet")])
def test_another_level_fails(kind, one, other):
    asked, rendered = Event(kind, level=other), Event(kind, level=one)
    assert np.mean(failing("level", Scene((asked,)), Scene((rendered,)), np.random.default_rng(8), 6)) >= 0.95


def test_swapped_order_fails():
    rng = np.random.default_rng(9)
    found = []
    for _ in range(60):
        first, second = (draw_event(rng, KINDS[number], "then") for number in rng.choice(len(KINDS), 2, replace=False))
        found += failing("order", Scene((second, first), "then"), Scene((first, second), "then"), rng, 1)
    assert np.mean(found) >= 0.95


@pytest.mark.parametrize(("one", "other"), [("rise", "fall"), ("fall", "rise")])
def test_a_glide_the_other_way_fails(one, other):
    rng = np.random.default_rng(10)
    assert kind_rate(Event(one), Event(one), rng) == 1
    assert kind_rate(Event(other), Event(one), rng) == 0


def test_another_background_fails():
    rng = np.random.default_rng(11)
    found = []
    for one, other in [(a, b) for a in BACKGROUNDS for b in BACKGROUNDS if a != b]:
        for _ in range(10):
            front = draw_event(rng, "bell", "over")
            asked, rendered = (Scene((front, Event(kind)), "over") for kind in (other, one))
            found += failing("background", asked, rendered, rng, 1)
    assert np.mean(found) >= 0.95


def test_a_missing_background_fails():
    rng = np.random.default_rng(12)
    for kind in BACKGROUNDS:
        front = Event("knocks", count=2)
        found = checks(render(Scene((front,)), rng), Scene((front, Event(kind)), "over"))
        assert [check.measured for check in found if check.attribute == "background"] == ["silence"]


def test_a_second_event_is_not_passed_over():
    """A clip of two events in turn does not pass for the first of them alone."""
    rng = np.random.default_rng(13)
    passed = []
    for _ in range(100):
        first, second = (draw_event(rng, KINDS[number], "then") for number in rng.choice(len(KINDS), 2, replace=False))
        passed.append(follows(render(Scene((first, second), "then"), rng), Scene((first,))))
    assert np.mean(passed) <= 0.05


def test_only_what_is_stated_is_checked():
    clip = render(Scene((Event("tone"),)), np.random.default_rng(14))
    assert [check.attribute for check in checks(clip, Scene((Event("tone"),)))] == ["kind"]
    stated = Event("tone", pitch="low", length="long", level="loud")
    assert [check.attribute for check in checks(clip, Scene((stated,)))] == ["kind", "pitch", "length", "level"]


def degrade(clip, rng):
    """Do to a clip what a small vocoder does: hiss at -48 dB, 128 mel bands, 10 ms of smear, lost phases, -2 dB."""
    noisy = clip + rng.standard_normal(len(clip)) * np.abs(clip).max() * 10 ** (-48 / 20)
    spectrum = _stft(noisy)
    magnitude = np.maximum(np.abs(spectrum) @ through_mels(), 0.0)
    magnitude[1:-1] = magnitude[:-2] / 4 + magnitude[1:-1] / 2 + magnitude[2:] / 4
    phases = np.angle(spectrum) + rng.standard_normal(spectrum.shape)
    for _ in range(4):  # Griffin and Lim
        phases = np.angle(_stft(_istft(magnitude * np.exp(1j * phases))))
    sound = _istft(magnitude * np.exp(1j * phases)) * 10 ** (-2 / 20)
    return np.clip(sound, -1, 1).astype(np.float32)


def _stft(sound):
    frames = np.lib.stride_tricks.sliding_window_view(np.pad(sound, WINDOW // 2), WINDOW)[::HOP]
    return np.fft.rfft(frames * TAPER)


def _istft(spectrum):
    sound, weight = np.zeros(CLIP_SAMPLES + WINDOW), np.full(CLIP_SAMPLES + WINDOW, 1e-9)
    for number, frame in enumerate(np.fft.irfft(spectrum) * TAPER):
        sound[number * HOP : number * HOP + WINDOW] += frame
        weight[number * HOP : number * HOP + WINDOW] += TAPER**2
    return (sound / weight)[WINDOW // 2 : -WINDOW // 2]


@cache
def through_mels():
    """Give the map [513,513] to triangles even in mel and back."""
    edges_hz = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 8000 / 700), MELS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE_HZ)
    left, mid, right = edges_hz[:-2, None], edges_hz[1:-1, None], edges_hz[2:, None]
    bands = np.maximum(0, np.minimum((hz - left) / (mid - left), (right - hz) / (right - mid)))
    mels = bands / np.maximum(bands.sum(1, keepdims=True), 1e-9)
    return mels.T @ np.linalg.pinv(mels, rcond=0.02).T


def test_blemishes_of_a_vocoder_do_not_matter(real):
    rng = np.random.default_rng(15)
    summary = summarise((scene, degrade(clip, rng)) for scene, clip in real[:DEGRADED])
    assert summary.overall.fraction >= 0.95, f"{summary}"


@pytest.mark.parametrize("kind", ["rise", "fall"])
def test_a_sweep_may_dip(kind):
    """Where a vocoder's steps meet: by 14 dB, for 40 ms, five times a second."""
    scene = Scene((Event(kind, speed="slow"),))
    clip = render(scene, np.random.default_rng(18))
    dips = np.arange(CLIP_SAMPLES) % 3200 < 640
    assert follows(np.where(dips, 0.2 * clip, clip), scene)


@pytest.mark.parametrize("kind", ["rise", "fall", "siren", "tone", "bell"])
def test_an_overtone_may_be_the_strongest_for_a_moment(kind):
    """For 30 ms, four times a second."""
    scene = Scene((Event(kind),))
    for seed in range(4):
        clip = render(scene, np.random.default_rng([19, seed]))
        for start in range(4000, CLIP_SAMPLES - 480, 4000):
            spectrum = np.fft.rfft(clip[start : start + 480])
            strongest = np.abs(spectrum).argmax()
            spectrum[max(strongest - 3, 0) : strongest + 4] *= 0.02
            clip[start : start + 480] = np.fft.irfft(spectrum, 480)
        assert follows(clip, scene), checks(clip, scene)


def test_a_siren_that_leaps_an_octave_does_not_pass_for_a_sweep():
    """A track that follows no short overtone still follows long ones."""
    t = np.arange(24000) / SAMPLE_RATE_HZ
    hz = np.repeat([700.0, 1400.0], 1600)[np.arange(24000) % 3200]
    clip = np.zeros(CLIP_SAMPLES, np.float32)
    clip[1280:25280] = 0.3 * np.sin(2 * np.pi * np.cumsum(hz) / SAMPLE_RATE_HZ) * np.minimum(1, t / 0.01)
    assert not any(checks(clip, Scene((Event(kind),)))[0].passed for kind in ("rise", "fall", "tone"))


@pytest.mark.parametrize("scale", [0.0, 1e-7, 1.0])
def test_a_constant_is_silence(scale):
    clip = np.full(CLIP_SAMPLES, 1e-4 * scale, np.float32)
    for kind in KINDS:
        (found, *_) = checks(clip, Scene((Event(kind),)))
        assert not found.passed
        assert found.measured == "silence"


def test_white_noise_is_noise_only(real):
    clip = (0.1 * np.random.default_rng(16).standard_normal(CLIP_SAMPLES)).astype(np.float32)
    assert follows(clip, Scene((Event("noise", length="long"),)))
    others = [scene for scene, _ in real if scene.events[0].kind != "noise"]
    assert not any(follows(clip, scene) for scene in others[:60])


@pytest.mark.parametrize("name", ["silence", "one sample", "first 10 ms", "clipped", "full scale", "ends on a sound"])
def test_measures_are_finite_whatever_the_sound(name, real):
    rng = np.random.default_rng(17)
    for scene, clip in real[:20]:
        odd = {
            "silence": np.zeros_like(clip),
            "one sample": np.eye(1, CLIP_SAMPLES, 20000, dtype=np.float32)[0],
            "first 10 ms": np.where(np.arange(CLIP_SAMPLES) < 160, rng.standard_normal(CLIP_SAMPLES), 0),
            "clipped": np.clip(clip * 30, -1, 1),
            "full scale": np.sign(rng.standard_normal(CLIP_SAMPLES)),
            "ends on a sound": np.roll(clip, CLIP_SAMPLES // 2),
        }[name]
        for check in checks(odd.astype(np.float32), scene):
            assert isinstance(check.measured, str) or np.isfinite(check.measured)


@pytest.mark.parametrize(
    "clip",
    [
        np.zeros(CLIP_SAMPLES - 1, np.float32),
        np.zeros(0, np.float32),
        np.zeros((1, CLIP_SAMPLES), np.float32),
        np.zeros(CLIP_SAMPLES, np.int16),
        np.full(CLIP_SAMPLES, np.nan, np.float32),
        np.full(CLIP_SAMPLES, np.inf, np.float32),
    ],
)
def test_what_is_no_clip_is_refused(clip):
    with pytest.raises(UsageError, match="a clip to score"):
        checks(clip, Scene((Event("tone"),)))


def test_a_summary_counts_and_is_json(real):
    scored = [(scene, checks(clip, scene)) for scene, clip in real[:50]]
    summary = summarise_checks(scored)
    figures = json.loads(json.dumps(summary.figures()))
    assert figures["overall"]["total"] == 50
    assert sum(tally["total"] for tally in figures["relations"].values()) == 50
    assert sum(tally["total"] for tally in figures["kinds"].values()) == sum(len(scene.events) for scene, _ in scored)
    assert sum(tally["total"] for tally in figures["attributes"].values()) == sum(len(found) for _, found in scored)
    assert Tally(1, 4).fraction == 0.25
    assert str(Tally(39, 40)) == "97.5 % (39 of 40)"
    assert summarise([]).overall == Tally(0, 0)


def test_scoring_is_fast(real):
    clips = real[:40]
    spent = []
    for scene, clip in clips:
        start = time.process_time()
        checks(clip, scene)
        spent.append(time.process_time() - start)
    assert np.median(spent) < 0.06
