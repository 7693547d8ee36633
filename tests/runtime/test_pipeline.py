"""Prompt to waveform on the mini bundle, against the same model in numpy."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import mini_model
from support.bundles import scale_weights

import foley
from foley.bundle import Bundle
from foley.clip import Clip
from foley.errors import EngineError, RequestError
from foley.noise import NoiseStream
from foley.prompt import Part
from foley.samplers import sampler_table
from foley_engines.onnxruntime_cpu import CpuEngine

FLOOR_DB = 60.0  # measured 100 and more
NOTHING = np.zeros((8, 6))


def context(text: str) -> np.ndarray:
    """Encode words of the vocabulary by hand: begin, words, end, padding."""
    ids = [1, *map(mini_model.VOCABULARY.index, text.split()), 2]
    ids = np.array([ids + [0] * (8 - len(ids))])
    return mini_model.text_encoder(ids, ids > 0)[0]


def latents_of(
    rows: list[tuple[np.ndarray, float]], seed: int, pipeline: foley.Pipeline, **knobs: object
) -> np.ndarray:
    schedule = pipeline.bundle.manifest.schedule
    table = sampler_table(knobs.get("sampler", "ddim"), schedule, knobs.get("steps", 4), spacing=knobs.get("spacing"))
    stream, shape = NoiseStream(seed), (3, 4, knobs.get("columns", 8))
    start = stream.normal(shape) * table.initial_scale
    return mini_model.denoise(start, table, lambda _: rows, lambda: stream.normal(shape))


def samples_of(latents: np.ndarray, count: int) -> np.ndarray:
    return mini_model.vocoder(mini_model.latent_decoder(latents[None]))[0, :count]


def check(clip: Clip, rows: list[tuple[np.ndarray, float]], pipeline: foley.Pipeline, **knobs: object) -> None:
    latents = latents_of(rows, clip.seed, pipeline, **knobs)
    assert mini_model.snr_db(latents, clip.latents) >= FLOOR_DB
    assert mini_model.snr_db(samples_of(latents, len(clip.samples)), clip.samples) >= FLOOR_DB


def with_unconditional(pipeline: foley.Pipeline, kind: str) -> foley.Pipeline:
    manifest = pipeline.bundle.manifest
    conditioning = msgspec.structs.replace(manifest.conditioning, unconditional=kind)
    return foley.Pipeline(Bundle(pipeline.bundle.folder, msgspec.structs.replace(manifest, conditioning=conditioning)))


@pytest.fixture
def bound(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, tuple[int, ...]]]]:
    """Every set of shapes that is bound while a test runs."""
    seen, bind = [], CpuEngine.bind

    def spy(engine: CpuEngine, **shapes: tuple[int, ...]) -> object:
        seen.append(shapes)
        return bind(engine, **shapes)

    monkeypatch.setattr(CpuEngine, "bind", spy)
    return seen


def test_a_clip_is_the_model_written_out(pipeline: foley.Pipeline):
    [clip] = pipeline.generate("a dog barking", seed=5)
    check(clip, [(context("a dog barking"), 3.0), (NOTHING, -2.0)], pipeline)
    assert (clip.prompt, clip.seed, clip.sample_rate_hz, clip.seconds) == ("a dog barking", 5, 16_000, 0.5)
    assert clip.samples.dtype == clip.mel.dtype == clip.latents.dtype == np.float32
    assert (clip.latents.shape, clip.mel.shape) == ((3, 4, 8), (8, 64))


@pytest.mark.parametrize("sampler", ["euler", "euler-a", "dpmpp-2m-sde"])
@pytest.mark.parametrize("spacing", ["leading", "linspace"])  # Euler starts at 0.998 of the noise under linspace
def test_a_samplers_scale_and_draws(pipeline: foley.Pipeline, sampler: str, spacing: str):
    knobs = {"sampler": sampler, "steps": 7, "spacing": spacing}
    [clip] = pipeline.generate("rain", seed=6, **knobs)
    check(clip, [(context("rain"), 3.0), (NOTHING, -2.0)], pipeline, **knobs)


def test_weighted_parts_guide_one_clip(pipeline: foley.Pipeline):
    [clip] = pipeline.generate([Part("dog"), Part("wind", 0.5), Part("bell", -0.25)])
    rows = [(NOTHING, 1 - 3 * 1.25), (context("dog"), 3.0), (context("wind"), 1.5), (context("bell"), -0.75)]
    check(clip, rows, pipeline)
    assert clip.prompt == "dog + wind (0.5) + bell (-0.25)"


@pytest.mark.parametrize("kind", ["zeros", "empty_prompt"])
@pytest.mark.parametrize("negative", [None, "", "wind"])
def test_what_stands_for_no_prompt(pipeline: foley.Pipeline, kind: str, negative: str | None):
    """A negative prompt is encoded, the empty one too; without one the manifest says what is."""
    with with_unconditional(pipeline, kind) as other:
        [clip] = other.generate("dog", negative=negative)
    none = NOTHING if negative is None and kind == "zeros" else context(negative or "")
    check(clip, [(context("dog"), 3.0), (none, -2.0)], pipeline)


def test_guidance_stop_changes_the_rows_on_the_way(pipeline: foley.Pipeline):
    table = sampler_table("ddim", pipeline.bundle.manifest.schedule, 4)
    start = NoiseStream(0).normal((3, 4, 8))
    both, one = [(context("dog"), 3.0), (NOTHING, -2.0)], [(context("dog"), 1.0)]
    [clip] = pipeline.generate("dog", guidance_stop=0.5)
    expected = mini_model.denoise(start, table, lambda step: both if step < 2 else one, lambda: start)
    assert mini_model.snr_db(expected, clip.latents) >= FLOOR_DB


@pytest.mark.parametrize("seconds", [0.01, 0.0799, 0.08, 1, 1.2345, 10, 10.24, 3.333333])
def test_seconds_are_kept_to_the_sample(pipeline: foley.Pipeline, seconds: float):
    [clip] = pipeline.generate("dog", seconds=seconds, steps=1)
    assert len(clip.samples) == round(seconds * 16_000)
    assert clip.latents.shape[-1] % 4 == 0
    assert len(clip.samples) <= clip.mel.shape[1] * 160 == clip.latents.shape[-1] * 1280


def test_each_clip_can_be_had_again_from_its_seed(pipeline: foley.Pipeline):
    clips = pipeline.generate(["dog", "rain"], count=2, seed=9, sampler="euler-a")
    assert [(clip.prompt, clip.seed) for clip in clips] == [("dog", 9), ("dog", 10), ("rain", 11), ("rain", 12)]
    for clip in clips:
        [again] = pipeline.generate(clip.prompt, seed=clip.seed, sampler="euler-a")
        assert mini_model.snr_db(again.samples, clip.samples) >= FLOOR_DB
    assert mini_model.snr_db(clips[0].samples, clips[1].samples) < 20


@pytest.mark.parametrize("max_batch", [1, 2, 3, 5])
def test_splitting_into_batches_changes_nothing(pipeline: foley.Pipeline, max_batch: int):
    knobs = {"count": 5, "sampler": "dpmpp-2m-sde", "steps": 6}
    whole = pipeline.generate("a cat", **knobs)
    numbers = []
    split = pipeline.generate(
        "a cat", **knobs, max_batch=max_batch, on_step=lambda s: numbers.append((s.number, s.total))
    )
    total = -(-5 // max_batch) * 6
    assert numbers == [(n, total) for n in range(1, total + 1)]
    for one, other in zip(whole, split, strict=True):
        assert mini_model.snr_db(one.samples, other.samples) >= FLOOR_DB


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 3), (0.0, 3), (1.01, 6), (7.5, 6)])
def test_guidance_off_halves_the_rows(pipeline: foley.Pipeline, bound: list, guidance: float, rows: int):
    pipeline.generate("dog", count=3, guidance=guidance)
    [shapes] = [shapes for shapes in bound if "row_slot" in shapes]
    assert shapes["row_slot"] == (rows,)
    assert shapes["row_mix"] == (3, rows)
    assert shapes["context"] == (rows, 8, 6)


def test_starting_latents_replace_the_seeds_first_draw(pipeline: foley.Pipeline):
    start = np.stack([NoiseStream(seed).normal((3, 4, 8)) for seed in (70, 71)])
    kept = start.copy()
    given = pipeline.generate("dog", count=2, latents=start, sampler="euler")
    drawn = pipeline.generate("dog", count=2, seed=70, sampler="euler")
    assert all(np.array_equal(one.latents, other.latents) for one, other in zip(given, drawn, strict=True))
    assert np.array_equal(start, kept)


@pytest.mark.parametrize(
    "latents",
    [
        np.zeros((1, 3, 4, 12), np.float32),
        np.zeros((3, 4, 8), np.float32),
        np.zeros((2, 3, 4, 8), np.float32),
        np.zeros((1, 3, 4, 8)),
        np.zeros((1, 3, 4, 8), np.float16),
        [[0.0]],
        "noise",
    ],
    ids=["columns", "axes", "clips", "float64", "float16", "list", "text"],
)
def test_other_latents_are_refused(pipeline: foley.Pipeline, latents: object):
    with pytest.raises(RequestError, match=r"^latents are .*expected float32 \[1, 3, 4, 8\]"):
        pipeline.generate("dog", latents=latents)


def test_clips_wait_for_the_loops_end(pipeline: foley.Pipeline):
    generation = pipeline.start(pipeline.request("dog", count=2, max_batch=1))
    assert generation.total_steps == 8
    for step in generation:
        if step.number == 5:
            break
    with pytest.raises(RequestError, match=r"^1 clips are not denoised yet"):
        generation.clips()


@pytest.mark.parametrize("pause", [1, 3, 5, 8])
def test_a_paused_generation_goes_on_where_it_stopped(pipeline: foley.Pipeline, pause: int):
    knobs = {"count": 2, "max_batch": 1, "sampler": "unipc"}
    generation = pipeline.start(pipeline.request("dog", **knobs))
    for step in generation:
        if step.number == pause:
            break
    assert [step.number for step in generation] == list(range(pause + 1, 9))
    for one, other in zip(generation.clips(), pipeline.generate("dog", **knobs), strict=True):
        assert np.array_equal(one.samples, other.samples)


def test_leaving_at_the_last_step_keeps_it(pipeline: foley.Pipeline):
    generation = pipeline.start(pipeline.request("dog", count=2))
    for step in generation:
        if step.number == step.total:
            break
    for one, other in zip(generation.clips(), pipeline.generate("dog", count=2), strict=True):
        assert np.array_equal(one.samples, other.samples)


def test_previews_lead_to_the_clip(pipeline: foley.Pipeline):
    generation = pipeline.start(pipeline.request("dog"))
    mels = [pipeline.decode(step.latents()[0]) for step in generation]
    [clip] = generation.clips()
    assert np.array_equal(mels[-1], clip.mel)
    assert np.array_equal(pipeline.vocode(mels[-1])[: len(clip.samples)], clip.samples)
    assert not np.array_equal(mels[0], mels[-1])


def test_a_batchs_time_is_its_own(pipeline: foley.Pipeline):
    begin = time.perf_counter()
    clips = pipeline.generate("dog", steps=200, count=3, max_batch=2)
    elapsed_ms = (time.perf_counter() - begin) * 1e3
    first, second, third = (clip.timings.denoise_ms for clip in clips)
    assert first == second != third
    assert 0.2 * elapsed_ms < first + third <= elapsed_ms
    assert {clip.timings.steps for clip in clips} == {200}


@pytest.mark.parametrize(("got", "near"), [("dpmpp2m", "dpmpp-2m"), ("eular", "euler"), ("DDIM", "samplers are pndm")])
def test_an_unknown_sampler_offers_the_nearest(pipeline: foley.Pipeline, got: str, near: str):
    with pytest.raises(RequestError, match=f"^sampler: got '{got}'.*{near}"):
        pipeline.generate("dog", sampler=got)


def test_steps_beyond_the_schedule_are_refused(pipeline: foley.Pipeline):
    with pytest.raises(RequestError, match=r"^steps: got 1001"):
        pipeline.generate("dog", steps=1001)


def test_an_unknown_keyword_is_a_type_error(pipeline: foley.Pipeline):
    with pytest.raises(TypeError, match="step"):
        pipeline.generate("dog", step=3)


@pytest.mark.parametrize("graph", ["denoise_step", "latent_decoder", "vocoder"])
def test_values_that_are_no_numbers_are_not_handed_out(bundle_copy: Path, graph: str):
    scale_weights(bundle_copy, graph, float("nan"))
    with foley.load(bundle_copy) as pipeline, pytest.raises(EngineError, match=f"^{graph} gave NaN or infinity"):
        pipeline.generate("dog")


def test_threads_may_share_a_pipeline(mini_bundle: Path):
    with foley.load(mini_bundle, threads=1) as pipeline, ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda seed: pipeline.generate("dog", seed=seed, steps=20)[0], range(8)))
        for seed, clip in enumerate(found):
            assert mini_model.snr_db(pipeline.generate("dog", seed=seed, steps=20)[0].samples, clip.samples) >= FLOOR_DB


def test_a_closed_pipeline_opens_its_graphs_again(mini_bundle: Path):
    pipeline = foley.load(mini_bundle)
    first = pipeline.generate("dog")[0].samples
    pipeline.close()
    assert np.array_equal(pipeline.generate("dog")[0].samples, first)
    pipeline.close()
