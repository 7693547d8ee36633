"""Builds against each other: equal ones differ in nothing, others do, and the front is the worthwhile ones."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bundles import edit_manifest, scale_weights
from support.mini_bundle import write_mini_bundle

from foley.bundle import load_bundle
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley_bench.fidelity.asks import DEMO, DEMO_S, USUAL, Ask, is_of_demo, make_asks, usual_prompts
from foley_bench.fidelity.builds import parse_builds
from foley_bench.fidelity.cli import choose_asks, compare
from foley_bench.fidelity.measures import depart, departure_figures, told_db
from foley_bench.fidelity.mel import log_mel
from foley_bench.fidelity.pareto import MEASURES, choose_measure, front
from foley_bench.fidelity.runs import OTHER_PROMPT, Made, loaded, make_clips
from foley_bench.prompt_following import follows
from foley_engines import CpuSetup
from foley_export.demo_model import mel as trained_mel
from foley_export.demo_model.captions import held_out
from foley_export.demo_model.sounds import render

pytestmark = pytest.mark.filterwarnings("ignore::foley.prompt.PromptTruncatedWarning")  # the mini bundle cuts early

RATE_HZ = 16_000
ASKS = make_asks(["a dog", "a loud bell"], 2, 7, scored=False)


def departures(*texts: str, asks=ASKS):
    """Compare builds; give each one's departure from the first by name."""
    with loaded(parse_builds(texts), None) as runners:
        made = make_clips(runners, asks, lambda _: None)
    first = next(iter(made.values()))
    return {name: depart(each, first, asks, RATE_HZ) for name, each in made.items()}


# What is asked


def test_clips_of_a_prompt_are_not_in_a_row_and_seeds_count_up():
    assert [(ask.prompt, ask.seed) for ask in ASKS] == [
        ("a dog", 7), ("a loud bell", 8), ("a dog", 9), ("a loud bell", 10)
    ]  # fmt: skip


def test_built_in_captions_of_the_demo_state_their_scenes():
    """Of sounds that are rendered for a scene the checks hold; one caption is not another's."""
    assert (len(DEMO), len(USUAL)) == (12, 12)
    assert [len(scene.events) for _, scene in DEMO] == [1] * 6 + [2] * 6
    for number, (caption, scene) in enumerate(DEMO):
        assert held_out(scene, caption), caption
        assert follows(render(scene, np.random.default_rng(number)), scene), caption
    assert not follows(render(DEMO[0][1], np.random.default_rng(0)), DEMO[1][1])


def test_scenes_are_known_where_clips_can_be_scored():
    prompts = usual_prompts(demo=True)
    assert [ask.scene for ask in make_asks(prompts, 1, 0, scored=True)] == [scene for _, scene in DEMO]
    assert [ask.scene for ask in make_asks(prompts, 1, 0, scored=False)] == [None] * 12
    assert make_asks(["a dog"], 1, 0, scored=True)[0].scene is None
    assert usual_prompts(demo=False) == list(USUAL)


def test_a_bundle_is_of_the_demo_by_its_checkpoint(bundle):
    assert not is_of_demo(load_bundle(bundle))
    digest = load_bundle(demo_bundle(), verify_files=False).manifest.source.sha256
    edit_manifest(bundle, lambda manifest: manifest["source"].update(sha256=digest))
    assert is_of_demo(load_bundle(bundle))


# Builds


def test_a_build_is_read(bundle):
    builds = parse_builds(["base:", f"five: '{bundle}' engine=cpu threads=2 steps=5 sampler=ddim guidance-stop=0.5"])
    assert (builds[0].name, builds[0].folder, builds[0].request_knobs()) == ("base", demo_bundle(), {})
    assert builds[0].setup == CpuSetup()
    assert (builds[1].folder, builds[1].setup) == (bundle, CpuSetup(2))
    assert builds[1].request_knobs() == {"steps": 5, "sampler": "ddim", "guidance_stop": 0.5}


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "--build was given 0 times, expected 2 or more"),
        (["a:"], "--build was given 1 times, expected 2 or more"),
        (["a:", "a: steps=2"], "the builds are named a, a, expected a name of its own"),
        (["a:", "steps=2"], "'steps=2' has no name, expected 'NAME: [BUNDLE] [key=value …]'"),
        (["a:", ": steps=2"], "has no name"),
        (["a:", "b: one two"], "build 'b' has several bundles, one, two"),
        (["a:", "b: step=2"], "build 'b' has the key 'step', expected one of engine, threads"),
        (["a:", "b: steps=ten"], "build 'b' has steps=ten, expected a whole number"),
        (["a:", "b: guidance=much"], "build 'b' has guidance=much, expected a number"),
        (["a:", "b: 'out"], "build 'b' cannot be read: No closing quotation"),
        (["a:", "b: engine=gpu"], "gpu"),
        (["a:", "b: engine=cuda"], "for CUDA: pip"),
        (["a:", "b: engine=cpu device=1"], "--device is not for the engine 'cpu'"),
    ],
)
def test_a_build_that_cannot_be_is_one_line(command, texts, words):
    command("bench", "fidelity", *[part for text in texts for part in ("--build", text)]).refused(words)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--build", "b: {} steps=0"], "steps is 0"),
        (["--build", "b: {} sampler=heun"], "heun"),
        (["--build", "b: no-such-bundle"], "there is no folder no-such-bundle"),
        (["--build", "b: {}", "--prompts", "none.txt"], "none.txt"),
        (["--build", "b: {}", "--measure", "score"], "the demo model's built-in prompts"),
        (["--build", "b: {}", "--seconds", "0"], "seconds is 0"),
    ],
)
def test_what_cannot_run_is_refused_before_any_clip(bundle, command, monkeypatch, options, words):
    monkeypatch.setattr("foley_bench.fidelity.cli.make_clips", None)
    options = [option.format(bundle) for option in options]
    command("bench", "fidelity", "--build", f"a: {bundle}", *options).refused(words)


def test_builds_of_other_sample_rates_are_not_compared(bundle, tmp_path, command):
    other = write_mini_bundle(tmp_path / "other")
    edit_manifest(other, lambda manifest: manifest["audio"].update(sample_rate_hz=8000))
    done = command("bench", "fidelity", "--build", f"a: {bundle}", "--build", f"b: {other}")
    done.refused("the builds' sample rates differ: a 16000 Hz, b 8000 Hz")


def test_builds_of_one_bundle_and_engine_share_a_pipeline(bundle, monkeypatch):
    read: list[Path] = []
    monkeypatch.setattr(
        "foley_bench.fidelity.runs.load_bundle", lambda folder: read.append(folder) or load_bundle(folder)
    )
    builds = parse_builds([f"a: {bundle}", f"b: {bundle} steps=2", f"c: {bundle} threads=1"])
    with loaded(builds, None) as (one, two, three):
        assert one.pipeline is two.pipeline
        assert three.pipeline is not one.pipeline
        assert len(read) == 2
        assert (one.request(ASKS[0]).steps, two.request(ASKS[0]).steps) == (4, 2)


# Clips


def test_builds_take_turns_and_each_encodes_its_prompt(bundle, monkeypatch):
    encoded: list[list[str]] = []
    encode = "foley.prompt.PromptEncoder.encode"
    with loaded(parse_builds([f"a: {bundle}", f"b: {bundle} steps=2"]), None) as runners:
        plain = runners[0].pipeline.prompts.encode
        monkeypatch.setattr(encode, lambda self, texts: encoded.append(list(texts)) or plain.__func__(self, texts))
        made = make_clips(runners, ASKS[:2], lambda _: None)
    clips = [texts[0] for texts in encoded if texts[0] != OTHER_PROMPT]
    assert clips == ["a dog"] * 2 + ["a dog"] * 2 + ["a loud bell"] * 2  # each build warmed up, then A B, A B
    assert [texts[0] for texts in encoded[::2]] == [OTHER_PROMPT] * 6
    assert [len(each.latency_ms) for each in made.values()] == [2, 2]


def test_the_same_build_differs_in_nothing(bundle):
    found = departures(f"a: {bundle}", f"b: {bundle}", f"c: {bundle} threads=1 steps=4")
    for each in found.values():
        assert each.snr_db == [float("inf")] * 4
        assert each.log_mel_db == [0.0] * 4
        assert each.frechet == pytest.approx(0, abs=1e-6)
        assert departure_figures(each)["snr_db"] == {"median": "exact", "least": "exact"}
        assert departure_figures(each)["exact_clips"] == 4


def test_other_steps_guidance_samplers_and_weights_are_measured(bundle, tmp_path):
    other = write_mini_bundle(tmp_path / "other")
    scale_weights(other, "vocoder", 1.01)
    found = departures(
        f"a: {bundle}", f"steps: {bundle} steps=2", f"guidance: {bundle} guidance=1",
        f"stop: {bundle} guidance-stop=0.5", f"sampler: {bundle} sampler=euler-a", f"weights: {other}",
    )  # fmt: skip
    for name in ("steps", "guidance", "stop", "sampler", "weights"):
        assert max(found[name].snr_db) < 60, name
        assert min(found[name].log_mel_db) > 0, name
        assert found[name].frechet > 0, name
    assert min(found["weights"].snr_db) > 30  # 1 % is 40 dB, less what tanh takes


def test_other_seeds_are_measured_as_other_clips(bundle):
    with loaded(parse_builds([f"a: {bundle}", f"b: {bundle}"]), None) as runners:
        one, other = (
            make_clips(runners, make_asks(["a dog"], 2, seed, scored=False), lambda _: None) for seed in (0, 9)
        )
    found = depart(other["a"], one["a"], ASKS[:2], RATE_HZ)
    assert max(found.snr_db) < 20


# Measures


def test_measures_of_known_errors():
    rng = np.random.default_rng(1)
    clips = [rng.uniform(-0.5, 0.5, 8000).astype(np.float32) for _ in range(3)]
    half = [clip * np.float32(0.5) for clip in clips]
    found = depart(Made(half, [1.0] * 3), Made(clips, [1.0] * 3), ASKS[:3], RATE_HZ)
    assert found.snr_db == pytest.approx([20 * np.log10(2)] * 3, abs=1e-3)
    assert found.log_mel_db == pytest.approx([20 * np.log10(2)] * 3, abs=0.02)
    assert found.frechet > 32 * 4  # 32 means moved by 0.69, which is far more than a deviation
    assert found.score is None


def test_what_nobody_hears_is_no_distance():
    rng = np.random.default_rng(2)
    silent, whisper = np.zeros(8000, np.float32), rng.uniform(-1e-5, 1e-5, 8000).astype(np.float32)
    found = depart(Made([whisper] * 2, [1.0] * 2), Made([silent] * 2, [1.0] * 2), ASKS[:2], RATE_HZ)
    assert (found.log_mel_db, found.frechet) == ([0.0, 0.0], 0.0)


def test_one_clip_has_no_frechet_distance():
    clip = np.full(8000, 0.1, np.float32)
    assert depart(Made([clip], [1.0]), Made([clip], [1.0]), ASKS[:1], RATE_HZ).frechet is None


def test_silence_and_sameness_are_told_as_json_can_hold_them():
    assert [told_db(value) for value in (float("inf"), float("-inf"), 12.345)] == ["exact", None, 12.35]


def test_the_score_counts_clips_that_follow():
    asks = make_asks([DEMO[0][0], DEMO[1][0]], 1, 0, scored=True)
    sounds = [render(ask.scene, np.random.default_rng(ask.seed)) for ask in asks]
    silent = [sounds[0], np.zeros_like(sounds[1])]
    score = depart(Made(silent, [1.0] * 2), Made(sounds, [1.0] * 2), asks, RATE_HZ).score
    assert (score.passed, score.total) == (1, 2)
    one_known = [asks[0], Ask("a dog", 5, None)]
    assert depart(Made(sounds, [1.0] * 2), Made(sounds, [1.0] * 2), one_known, RATE_HZ).score.total == 1


def test_the_log_mel_is_that_of_the_demo_model():
    clip = render(DEMO[7][1], np.random.default_rng(3))
    expected = trained_mel.log_mel(torch.from_numpy(clip[None]))[0].numpy()
    got = log_mel(clip, RATE_HZ)
    assert got.shape == expected.shape
    assert np.abs(got - expected).max() < 5e-3  # float32 near the floor


def test_a_log_mel_of_another_rate_has_the_same_frames():
    clip = np.sin(np.arange(44_100) * 0.1).astype(np.float32)
    assert log_mel(clip, 44_100).shape == (256, 100)


# The front


@pytest.mark.parametrize(
    ("points", "best"),
    [
        ({"a": (1.0, 5.0)}, {"a"}),
        ({"a": (1.0, 5.0), "b": (0.5, 4.0)}, {"a", "b"}),
        ({"a": (1.0, 5.0), "b": (0.5, 5.0)}, {"b"}),
        ({"a": (1.0, 5.0), "b": (0.5, 4.0), "c": (0.6, 3.0), "d": (0.4, 4.5)}, {"a", "d"}),
        ({"a": (1.0, float("inf")), "b": (0.99, float("inf"))}, {"a", "b"}),
        ({"a": (1.0, float("inf")), "b": (0.9, float("inf"))}, {"b"}),
        ({"a": (1.0, 5.0), "b": (1.0, 4.0)}, {"a"}),
        ({"a": (1.0, 5.0), "b": (0.98, 4.0)}, {"a"}),
    ],
)
def test_the_front_is_what_no_other_build_beats(points, best):
    assert front(points) == best


def test_less_is_better_of_distances():
    found = depart(
        *[Made([np.full(8000, level, np.float32)] * 2, [1.0] * 2) for level in (0.2, 0.1)], ASKS[:2], RATE_HZ
    )
    assert MEASURES["snr"].quality(found) == pytest.approx(0, abs=1e-3)
    assert MEASURES["log-mel"].quality(found) < 0
    assert MEASURES["frechet"].quality(found) < 0
    assert MEASURES["score"].quality(found) is None


def test_the_measure_is_the_score_where_there_is_one():
    scored = make_asks(usual_prompts(demo=True), 1, 0, scored=True)
    assert (choose_measure(None, scored), choose_measure(None, ASKS)) == ("score", "snr")
    assert choose_measure("log-mel", scored) == "log-mel"
    with pytest.raises(UsageError, match="asked of 1 clip"):
        choose_measure("frechet", [Ask("a dog", 0, None)])


# The command


def test_the_command_prints_builds_and_keeps_a_row_of_each(bundle, tmp_path, command):
    results, plot, prompts = tmp_path / "rows.jsonl", tmp_path / "trade.png", tmp_path / "prompts.txt"
    prompts.write_text("a dog\na loud bell\n")
    builds = ["--build", f"base: {bundle} threads=1", "--build", f"two: {bundle} threads=1 steps=2"]
    options = ["--prompts", prompts, "--count", "2", "--seed", "5"]
    done = command("bench", "fidelity", *builds, *options, "--results", results, "--plot", plot)
    assert done.code == 0, done
    for words in ("exact", "← front", "4 clips a build, 2 prompts, seeds from 5", "two against torch: text_encoder"):
        assert words in done.out
    base, two = map(json.loads, results.read_text().splitlines())
    assert (base["figures"]["exact_clips"], two["figures"]["exact_clips"]) == (4, 0)
    assert (base["figures"]["measure"], base["figures"]["front"]) == ("snr", True)
    assert two["configuration"]["steps"] == 2
    assert two["configuration"]["compared_with"]["steps"] == 4
    assert base["figures"]["latency_ratio"]["median"] == 1
    assert two["configuration"]["batch"] == 1
    assert set(two["fidelity"]) == {"text_encoder", "denoise_step", "latent_decoder", "vocoder"}
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_json_is_a_line_a_build(bundle, command):
    builds = ["--build", f"a: {bundle} steps=1", "--build", f"b: {bundle} steps=1"]
    done = command("bench", "fidelity", *builds, "--json")
    rows = list(map(json.loads, done.out.splitlines()))
    assert json.dumps([row["figures"] for row in rows], allow_nan=False)  # no Infinity, which is not JSON
    assert [row["configuration"]["name"] for row in rows] == ["a", "b"]
    assert [row["figures"]["clips"] for row in rows] == [12, 12]


def test_the_demo_is_scored(command):
    builds = ["--build", "base: threads=1 steps=2", "--build", "one: threads=1 steps=1 guidance=1"]
    done = command("bench", "fidelity", *builds, "--json")
    assert done.code == 0, done
    scores = [json.loads(line)["figures"]["score"] for line in done.out.splitlines()]
    assert [score["total"] for score in scores] == [12, 12]


def test_a_latency_ratio_is_the_builds_over_the_firsts_of_the_same_clip(bundle, monkeypatch):
    clips = [np.full(8000, 0.1, np.float32)] * 2
    made = {"base": Made(clips, [10.0, 20.0]), "slow": Made(clips, [20.0, 60.0])}
    monkeypatch.setattr("foley_bench.fidelity.cli.make_clips", lambda *_: made)
    with loaded(parse_builds([f"base: {bundle}", f"slow: {bundle} steps=8"]), None) as runners:
        base, slow = compare(runners, ASKS[:2])
    assert (base.ratios, slow.ratios) == ([1.0, 1.0], [2.0, 3.0])


def test_the_demos_clips_of_another_length_are_not_scored():
    for seconds, scored in ((DEMO_S, True), (2 * DEMO_S, False)):
        with loaded(parse_builds(["a:", "b: steps=2"]), seconds) as runners:
            asks = choose_asks(runners, None, 1, 0)
        assert {ask.scene is not None for ask in asks} == {scored}
