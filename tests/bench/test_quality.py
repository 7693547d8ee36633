"""What measures a bundle's quality: known distances, real sounds that pass, rows that resume, tables that hold."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.bundles import edit_manifest
from support.commands import ROOT

import foley
from foley.bundle import load_bundle
from foley_bench.fidelity.frechet import BANDS, FEATURES, Gaussian, distance, fit
from foley_bench.parity.reference import PipelineReference
from foley_bench.parity.reference import Setting as ReferenceSetting
from foley_bench.prompt_following import Check
from foley_bench.quality import curve, score
from foley_bench.quality.__main__ import main
from foley_bench.quality.asks import Setting, draw_asks, draw_score_asks
from foley_bench.quality.curve import Yard, grid, latest, read_rows, rows_of, setting_of
from foley_bench.quality.frechet import features
from foley_bench.quality.identity import bundle_digest, yardstick
from foley_bench.quality.listening import by_events, listen
from foley_bench.quality.real_sounds import real_features
from foley_bench.quality.sources import CLIP_S, COLUMNS, BundleSource, RealSounds, load_torch
from foley_bench.quality.tables import (
    curve_tables,
    is_stale,
    page_text,
    score_details,
    score_table,
    write_page,
)
from foley_engines.errors import RequestError, UsageError
from foley_export.demo_model.corpus import held_out_captions
from foley_export.demo_model.sounds import CLIP_SAMPLES, render

pytestmark = pytest.mark.filterwarnings("ignore::foley.prompt.PromptTruncatedWarning")  # the mini bundle cuts early

SETTING = Setting("ddim", 2, 3.0)
YARD = Yard("bundle", "yardstick", 4, 1, 8)
BEGIN, END = "<!-- quality:begin -->", "<!-- quality:end -->"
PAGE = f"# Title\n\n{BEGIN}\nold\n{END}\n\nThe rest.\n"


class Fake:
    """Real sounds for the asks that it is told to follow, silence for the others; it remembers its calls."""

    def __init__(self, name: str = "fake", follows=lambda _: True):
        self.name, self.follows, self.calls = name, follows, []

    def clips(self, asks, setting):
        self.calls.append((len(asks), setting))
        real = RealSounds().clips(asks, setting)
        return [clip * np.float32(self.follows(ask)) for ask, clip in zip(asks, real, strict=True)]


@pytest.fixture(scope="module")
def real():
    """Features of 160 real sounds [160,96]."""
    return features(np.stack(RealSounds().clips(draw_asks(160, 1), SETTING)))


def gaussian(mean, covariance, count=10**9):
    return Gaussian(np.asarray(mean, np.float64), np.asarray(covariance, np.float64), count)


# The Fréchet distance


def test_no_distance_to_itself(real):
    own = fit(real, real)
    assert distance(own, own) == pytest.approx(0, abs=1e-6)


def test_known_distances():
    rng = np.random.default_rng(1)
    factor = rng.standard_normal((6, 6))
    covariance, shift = factor @ factor.T, np.arange(6.0)
    still = gaussian(np.zeros(6), covariance)
    assert distance(still, gaussian(shift, covariance)) == pytest.approx(55)  # |μ₁−μ₂|² = 0+1+4+9+16+25
    assert distance(still, gaussian(np.zeros(6), 9 * covariance)) == pytest.approx(4 * np.trace(covariance), rel=1e-5)
    variances = np.diag([1.0, 4.0]), np.diag([9.0, 0.0])
    assert distance(*(gaussian(np.zeros(2), v) for v in variances)) == pytest.approx((1 - 3) ** 2 + 2**2)


def test_distance_of_drawn_gaussians():
    rng = np.random.default_rng(2)
    one, other = rng.standard_normal((2, 20000, 5))
    found = distance(fit(one, one), fit(other + 0.5, one))
    assert found == pytest.approx(5 * 0.25, rel=0.05)


def test_the_smaller_set_decides_how_far_covariances_are_moved():
    """Of two features and four sounds a twentieth: eigenvalues 1 ± 0.95·0.9 beside 1 and 1."""
    tilted = Gaussian(np.zeros(2), np.array([[1.0, 0.9], [0.9, 1.0]]), 4)
    plain = Gaussian(np.zeros(2), np.eye(2), 1000)
    expected = sum((np.sqrt(1 + sign * 0.95 * 0.9) - 1) ** 2 for sign in (-1, 1))
    assert distance(tilted, plain) == pytest.approx(expected)


def test_few_sounds_still_have_a_distance(real):
    few = fit(real[:8], real)
    assert 0 < distance(few, fit(real, real)) < 500
    assert distance(few, few) == pytest.approx(0, abs=1e-6)


def test_two_halves_of_real_sounds_are_nearer_than_others(real):
    half, other = fit(real[::2], real), fit(real[1::2], real)
    between_halves = distance(half, other)
    rng = np.random.default_rng(3)
    shape = (40, CLIP_SAMPLES)
    sets = {
        "silence": np.zeros(shape, np.float32),
        "noise": (0.1 * rng.standard_normal(shape)).astype(np.float32),
        "bells": np.stack([render(scene, rng) for scene in _scenes_of("bell", 40)]),
    }
    for name, clips in sets.items():
        assert distance(half, fit(features(clips), real)) > 3 * between_halves, name


def _scenes_of(kind: str, count: int):
    scenes = [held_out.scene for held_out in held_out_captions(1200) if held_out.scene.events[0].kind == kind]
    return scenes[:count]


def test_noise_over_real_sounds_is_farther(real):
    rng = np.random.default_rng(4)
    clips = np.stack(RealSounds().clips(draw_asks(50, 1), SETTING))
    goal, away = fit(real, real), []
    for level in (0.0, 0.003, 0.02):
        noisy = clips + np.float32(level) * rng.standard_normal(clips.shape, np.float32)
        away.append(distance(fit(features(noisy), real), goal))
    assert away == sorted(away)
    assert away[2] > 2 * away[0]


def test_features_are_means_deviations_and_changes():
    silence = features(np.zeros((2, CLIP_SAMPLES), np.float32))
    assert silence.shape == (2, FEATURES)
    assert silence[:, :BANDS] == pytest.approx(np.log(1e-3))
    assert silence[:, BANDS:] == pytest.approx(0)
    clips = np.zeros((1, CLIP_SAMPLES), np.float32)
    clips[0, : CLIP_SAMPLES // 2] = 0.1 * np.random.default_rng(5).standard_normal(CLIP_SAMPLES // 2)
    mean, deviation, change = features(clips).reshape(3, BANDS)
    assert (mean > np.log(1e-3) + 1).all()
    assert (deviation > 1).all()
    assert (change > 0).all()


def test_real_features_are_kept(tmp_path, monkeypatch):
    first = real_features(5, tmp_path / "work")
    monkeypatch.setattr("foley_bench.quality.real_sounds.render", None)
    assert np.array_equal(real_features(5, tmp_path / "work"), first)
    assert [path.name for path in (tmp_path / "work").iterdir()] == [f"real-5-{yardstick()}.npy"]


# What is asked, and who makes it


@pytest.mark.parametrize("draw", [draw_asks, draw_score_asks])
def test_asks_are_half_of_one_event_and_their_seeds_count_up(draw):
    asks = draw(10, 3)
    assert [ask.seed for ask in asks] == list(range(30))
    assert [ask.caption for ask in asks] == 3 * [ask.caption for ask in asks[:10]]
    assert len({ask.caption for ask in asks}) == 10
    assert sum(len(ask.scene.events) == 1 for ask in asks) == 15


@pytest.mark.parametrize("captions", [3, 200, 600])
def test_a_score_is_of_captions_that_nothing_was_chosen_by(captions):
    asks = draw_score_asks(captions, 1)
    assert len({ask.caption for ask in asks}) == captions
    assert sum(len(ask.scene.events) == 2 for ask in asks) == captions // 2
    for chosen_by in ((200, 20260102), (400, 4242)):
        assert not {ask.caption for ask in asks} & {each.caption for each in held_out_captions(*chosen_by)}


def test_a_bundle_is_run_as_its_users_run_it(pipeline):
    asks = draw_asks(5, 1)
    clips = BundleSource(pipeline, "ONNX").clips(asks[2:], SETTING)
    (alone,) = pipeline.generate(asks[3].caption, seconds=CLIP_S, seed=asks[3].seed, **asdict(SETTING))
    assert [clip.shape for clip in clips] == [(CLIP_SAMPLES,)] * 3
    assert np.abs(clips[1] - alone.samples).max() < 1e-5


def test_a_bundle_of_another_rate_is_refused(bundle_copy):
    edit_manifest(bundle_copy, lambda manifest: manifest["audio"].update(sample_rate_hz=24000))
    with (
        foley.load(bundle_copy, verify_files=False) as pipeline,
        pytest.raises(UsageError, match="24000 Hz, expected 16000"),
    ):
        BundleSource(pipeline, "ONNX")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")  # torch under numpy 2
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
@pytest.mark.parametrize("setting", [Setting("pndm", 3, 4.0), Setting("dpmpp-2m", 3, 1.0)])
def test_the_reference_in_a_batch_is_the_reference_alone(tmp_path, setting):
    from foley_bench.checkpoints.write import write_checkpoint

    checkpoint = write_checkpoint(tmp_path / "checkpoint", layout="no-adapter", encoders=("clip",))
    asks = draw_asks(3, 1)
    batch = load_torch(checkpoint).clips(asks, setting)
    told = ReferenceSetting(
        setting.sampler, setting.steps, asks[1].caption, guidance=setting.guidance, columns=COLUMNS, seed=asks[1].seed
    )
    alone = PipelineReference(checkpoint).generate(told).samples
    assert batch[1].shape == (CLIP_SAMPLES,)
    assert np.abs(batch[1] - alone).max() < 1e-4 * np.abs(alone).max()


def test_listening_takes_batches_and_tells():
    fake, told = Fake(), []
    heard = listen(fake, draw_asks(10, 1), SETTING, 4, told.append)
    assert fake.calls == [(4, SETTING), (4, SETTING), (2, SETTING)]
    assert told == [4, 4, 2]
    assert heard.features.shape == (10, FEATURES)
    one, two = by_events(heard.summary)
    assert (one.total, two.total) == (5, 5)
    assert sum(heard.verdicts) == heard.summary.overall.passed


def test_real_sounds_follow_their_captions():
    heard = listen(RealSounds(), draw_asks(40, 1), SETTING, 16)
    assert np.mean(heard.verdicts) >= 0.9


# The score


@pytest.fixture(scope="module")
def scored():
    """A row of two fakes: one that follows all, one that is silent on two events."""
    sources = [Fake("torch fp32"), Fake("ONNX fp16", lambda ask: len(ask.scene.events) == 1)]
    figures = score.score(sources, SETTING, 24, 2, 16)
    asked = {**asdict(SETTING), "captions": 24, "seeds": 2, "sources": [source.name for source in sources]}
    return json.loads(json.dumps({"name": score.NAME, "configuration": asked, "figures": figures}))


def test_a_score_counts_events_and_agreement(scored):
    figures = scored["figures"]
    assert list(figures) == ["real sounds", "torch fp32", "ONNX fp16"]
    assert figures["torch fp32"]["overall"] == figures["real sounds"]["overall"]
    assert figures["torch fp32"]["agrees"] == 48
    assert figures["ONNX fp16"]["events"]["two"] == {"fraction": 0.0, "passed": 0, "total": 24}
    assert figures["ONNX fp16"]["events"]["one"] == figures["torch fp32"]["events"]["one"]
    followed = figures["torch fp32"]["events"]["two"]["passed"]
    assert figures["ONNX fp16"]["agrees"] == 48 - followed


def test_a_score_as_tables(scored):
    table = score_table(scored)
    first, *_ = table.splitlines()
    assert first == "24 held-out captions × 2 seeds; `ddim`, 2 steps, guidance 3."
    cells = [cell.strip() for cell in table.splitlines()[-1].strip("|").split("|")]
    assert cells[0] == "ONNX fp16"
    assert cells[3:6] == ["0.0", "0.0", "0.0"]
    points = float(cells[1]) - 100 * scored["figures"]["torch fp32"]["overall"]["fraction"]
    assert float(cells[7]) == pytest.approx(points, abs=0.11)
    details = score_details(scored)
    assert "| events of a kind, % | of | real sounds | torch fp32 | ONNX fp16 |" in details
    assert "| order |" in details


# The curve


def cell(setting: Setting, followed: int = 3, yard: Yard = YARD, frechet: float = 12.34):
    tally = {"fraction": followed / 4, "passed": followed, "total": 4}
    figures = {"overall": tally, "one": tally, "two": tally, "frechet": frechet}
    configuration = {**asdict(yard), **asdict(setting)}
    return {"name": curve.NAME, "configuration": configuration, "figures": {**figures, "real": figures}}


def write_rows(file: Path, rows) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def test_the_grid():
    base = Setting("pndm", 25, 5.0)
    sweeps = grid(("pndm", "ddim"), (5, 25), (1.0, 5.0, 7.5), base, full=False)
    assert len(sweeps) == len(set(sweeps)) == 2 * (2 + 2)
    assert all(setting.steps == 25 or setting.guidance == 5 for setting in sweeps)
    assert len(grid(("pndm", "ddim"), (5, 25), (1.0, 5.0, 7.5), base, full=True)) == 2 * 2 * 3
    assert len(grid(curve.SAMPLERS, curve.STEPS, curve.GUIDANCES, Setting("pndm", 100, 7.5), full=False)) == 4 * 9


def test_a_curve_goes_on_where_it_stopped(tmp_path):
    yard, results = replace(YARD, real=8), tmp_path / "rows.jsonl"
    settings = grid(("ddim", "pndm"), (1, 2), (1.0, 3.0), SETTING, full=False)
    fake = Fake()
    curve.run_curve(fake, settings[:2], yard, results, tmp_path, 4)
    curve.run_curve(fake, settings, yard, results, tmp_path, 4)
    curve.run_curve(fake, settings, yard, results, tmp_path, 4)
    assert [setting for _, setting in fake.calls] == settings
    assert [setting_of(row) for row in read_rows(results, curve.NAME)] == settings
    found = rows_of(results, yard)[0]["figures"]
    assert found["frechet"] > 0
    assert {name: found[name] for name in ("overall", "one", "two", "frechet")} == found["real"]


@pytest.mark.parametrize("change", [{"bundle": "other"}, {"yardstick": "other"}, {"captions": 6}, {"seeds": 2}])
def test_cells_of_another_yard_are_made_again(tmp_path, change):
    results = write_rows(tmp_path / "rows.jsonl", [cell(SETTING)])
    fake = Fake()
    curve.run_curve(fake, [SETTING], YARD, results, tmp_path, 4)
    assert fake.calls == []
    curve.run_curve(fake, [SETTING], replace(YARD, **change), results, tmp_path, 100)
    assert len(fake.calls) == 1
    assert len(latest(results)) == 1


def test_progress_tells_what_is_done_and_left(tmp_path, capsys):
    curve.run_curve(Fake(), [SETTING], YARD, tmp_path / "rows.jsonl", tmp_path, 4)
    assert capsys.readouterr().err == "ddim, 2 steps, guidance 3: 100% of all, 0.0 min left\n"


def test_a_row_cut_short_is_told(tmp_path):
    results = tmp_path / "rows.jsonl"
    results.write_text(json.dumps(cell(SETTING)) + '\n{"name": "qual')
    with pytest.raises(UsageError, match=r"line 2 of .* is no row"):
        rows_of(results, YARD)


def test_a_bundle_digest_is_of_what_it_sounds_like(bundle_copy):
    before = bundle_digest(load_bundle(bundle_copy))
    edit_manifest(bundle_copy, lambda manifest: manifest["defaults"].update(steps=9))
    assert bundle_digest(load_bundle(bundle_copy)) == before
    edit_manifest(bundle_copy, lambda manifest: manifest["schedule"].update(beta_end=0.02))
    assert bundle_digest(load_bundle(bundle_copy)) != before


# Tables


@pytest.fixture
def rows_file(tmp_path, scored):
    settings = grid(("pndm", "ddim"), (5, 25), (1.0, 5.0), Setting("pndm", 25, 5.0), full=False)
    stale = cell(settings[0], 0, replace(YARD, bundle="older"))
    return write_rows(tmp_path / "rows.jsonl", [stale, scored, *(cell(setting) for setting in settings)])


def test_curve_tables_have_four_lines_a_sampler(rows_file):
    title, steps, guidance = curve_tables(latest(rows_file))
    assert title.startswith("4 held-out captions × 1 seed a cell; Fréchet distance to 8 real sounds.")
    assert steps.splitlines()[0] == "| steps, at guidance 5 |  | 5 | 25 |"
    assert steps.splitlines()[2:7] == [
        "| `pndm` | all, % | 75.0 | 75.0 |",
        "| `pndm` | one event, % | 75.0 | 75.0 |",
        "| `pndm` | two events, % | 75.0 | 75.0 |",
        "| `pndm` | Fréchet distance | 12.3 | 12.3 |",
        "| `ddim` | all, % | 75.0 | 75.0 |",
    ]
    assert guidance.splitlines()[0] == "| guidance, at 25 steps |  | 1 | 5 |"


def test_a_full_grid_is_a_table_a_guidance():
    settings = grid(("pndm",), (5, 25), (1.0, 5.0), Setting("pndm", 25, 5.0), full=True)
    _, first, second = curve_tables([cell(setting) for setting in settings])
    assert (first.splitlines()[0], second.splitlines()[0]) == (
        "| steps, at guidance 1 |  | 5 | 25 |",
        "| steps, at guidance 5 |  | 5 | 25 |",
    )


def test_a_page_holds_what_its_rows_say(tmp_path, rows_file):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    assert is_stale(page, rows_file)
    write_page(page, rows_file)
    assert not is_stale(page, rows_file)
    text = page.read_text()
    assert text.startswith(f"# Title\n\n{BEGIN}\n24 held-out captions")
    assert text.endswith(f"|\n{END}\n\nThe rest.\n")
    write_page(page, rows_file)
    assert page.read_text() == text
    with rows_file.open("a") as rows:
        rows.write(json.dumps(cell(Setting("pndm", 5, 5.0), 1)) + "\n")
    assert is_stale(page, rows_file)


@pytest.mark.parametrize("text", ["no markers", BEGIN, f"{END}{BEGIN}"])
def test_a_page_without_markers(tmp_path, rows_file, text):
    page = tmp_path / "page.md"
    page.write_text(text)
    with pytest.raises(UsageError, match="quality:begin"):
        write_page(page, rows_file)
    assert page.read_text() == text


def test_a_file_without_rows(tmp_path):
    with pytest.raises(UsageError, match="no rows of quality"):
        page_text(tmp_path / "none.jsonl")


@pytest.mark.parametrize(
    ("page", "rows"),
    [("README.md", "quality.jsonl"), ("export/foley_export/demo_model/README.md", "recipe.jsonl")],
)
def test_the_pages_of_the_project_hold_what_was_measured(page, rows):
    """Write them anew with: python -m foley_bench.quality tables bench/results/ROWS --write PAGE."""
    assert not is_stale(ROOT / page, ROOT / "bench" / "results" / rows)


# The command


def run(*arguments):
    return CliRunner().invoke(main, ["--threads", "1", *map(str, arguments)])


@pytest.fixture
def commanded(monkeypatch):
    """Keep torch's threads as they are."""
    monkeypatch.setattr("foley_bench.quality.__main__.torch.set_num_threads", lambda _: None)
    return run


def test_score_prints_records_and_writes(commanded, mini_bundle, tmp_path):
    page, results = tmp_path / "page.md", tmp_path / "rows.jsonl"
    page.write_text(PAGE)
    done = commanded(
        *("score", "--bundle", mini_bundle, "--captions", 4, "--seeds", 1, "--results", results, "--write", page)
    )
    assert done.exit_code == 0, done.output
    (row,) = read_rows(results, score.NAME)
    assert row["configuration"]["sampler"] == "ddim"
    assert row["configuration"]["bundles"] == {"ONNX fp32": bundle_digest(load_bundle(mini_bundle))}
    assert score_table(row) in done.output
    assert score_table(row) in page.read_text()


def test_curve_prints_plots_and_resumes(commanded, mini_bundle, tmp_path):
    pytest.importorskip("matplotlib")
    page, results, plot = tmp_path / "page.md", tmp_path / "rows.jsonl", tmp_path / "curve.png"
    page.write_text(PAGE)
    arguments = (
        *("curve", mini_bundle, "--results", results, "--captions", 4, "--real", 8, "--work", tmp_path / "work"),
        *("--sampler", "ddim", "--steps", 2, "--steps", 3, "--guidance", 1, "--guidance", 3),
        *("--plot", plot, "--write", page),
    )
    first = commanded(*arguments)
    assert first.exit_code == 0, first.output
    assert len(results.read_text().splitlines()) == 4  # steps 2, 3 and the bundle's own 4 with guidance 1 and 3
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert not is_stale(page, results)
    again = commanded(*arguments)
    assert (again.exit_code, again.stdout) == (0, first.stdout)
    assert len(results.read_text().splitlines()) == 4
    assert commanded("tables", results).stdout.strip() in page.read_text()


def test_what_cannot_be_sampled_is_refused_before_any_work(commanded, mini_bundle, tmp_path):
    done = commanded("curve", mini_bundle, "--results", tmp_path / "rows.jsonl", "--sampler", "none")
    assert isinstance(done.exception, RequestError)
    assert not (tmp_path / "rows.jsonl").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "a checkpoint has no defaults"),
        (("--sampler", "ddim", "--steps", 2, "--guidance", 1), "nothing to score"),
        (("--sampler", "none", "--steps", 2, "--guidance", 1), "which is unknown"),
    ],
)
def test_a_score_of_nothing(commanded, arguments, words):
    done = commanded("score", *arguments)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)


def test_two_bundles_of_one_name(commanded, mini_bundle):
    done = commanded("score", "--bundle", mini_bundle, "--bundle-fp16", mini_bundle)
    assert "expected different precisions" in str(done.exception)


@pytest.mark.parametrize(("text", "words"), [(PAGE, "--write shows what --results holds"), ("no markers", "lacks")])
def test_a_page_is_checked_before_any_work(commanded, mini_bundle, tmp_path, text, words):
    page, results = tmp_path / "page.md", tmp_path / "rows.jsonl"
    page.write_text(text)
    given = () if text == PAGE else ("--results", results)
    done = commanded("score", "--bundle", mini_bundle, "--captions", 2, "--seeds", 1, "--write", page, *given)
    assert isinstance(done.exception, UsageError)
    assert words in str(done.exception)
    assert not results.exists()


# The gallery


def test_a_gallery_is_a_picture_and_a_file_a_clip(commanded, mini_bundle, tmp_path):
    pytest.importorskip("matplotlib")
    done = commanded("gallery", mini_bundle, tmp_path / "gallery", "--captions", 4)
    assert done.exit_code == 0, done.output
    names = sorted(path.name for path in (tmp_path / "gallery").iterdir())
    assert names == ["00.wav", "01.wav", "02.wav", "03.wav", "gallery.png"]


def test_frequencies_are_where_their_bins_are():
    from foley_bench.quality.gallery import bin_of
    from foley_export.demo_model.mel import _filters

    hz = np.arange(1025) * 16000 / 2048
    for number in (60, 128, 250):
        weights = _filters()[number].numpy()
        assert bin_of(float(weights @ hz / weights.sum())) == pytest.approx(number + 0.5, abs=0.3)


def test_titles_say_what_passed():
    from foley_bench.quality.gallery import describe

    assert describe(Check("pitch", "low", 120.0, True, 0)) == "✓ pitch low"
    assert describe(Check("count", "3", 2.0, False, 0)) == "✗ count 3 (was 2)"
    assert describe(Check("kind", "bell", "pluck", False, 0)) == "✗ kind bell (was pluck)"
