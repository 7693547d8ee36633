"""Every figure of the parity table is at or above its floor, and README.md says what is measured."""

import ast
from pathlib import Path

import numpy as np
import pytest

import foley
from foley.samplers import SAMPLERS
from foley.verify import SNR_FLOOR_DB, snr_db
from foley_bench.parity import figures as figures_module
from foley_bench.parity.figures import CLIP_FLOOR_DB, PRECISIONS, compare, load_quietly, one_thread
from foley_bench.parity.reference import SCHEDULERS, Setting
from foley_bench.parity.table import disagreements

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # torch under numpy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_every_figure_reaches_its_floor(figures):
    assert [figure for figure in figures if not figure.passed] == []


@pytest.mark.slow
def test_everything_is_measured(figures):
    rows = [figure.what for figure in figures]
    for name in ("text_encoder", "text_encoder_0", "text_encoder_1", "denoise_step", "latent_decoder", "vocoder"):
        assert sum(f"graph `{name}`" in row for row in rows) == len(PRECISIONS)
    assert sum("whole clip, `pndm` 100 steps, guidance 7.5" in row for row in rows) == 2 * len(PRECISIONS)
    assert sum("whole clip, `dpmpp-2m` 25 steps, guidance 7.5" in row for row in rows) == 2 * len(PRECISIONS)
    assert all(sum(row.startswith(f"clip, `{sampler}` ") for row in rows) == 1 for sampler in SAMPLERS)
    assert len({figure.key for figure in figures}) == len(figures)


@pytest.mark.slow
def test_readme_shows_what_is_measured(figures):
    """Write the table anew with: python -m foley_bench.parity --write README.md."""
    assert [*disagreements((ROOT / "README.md").read_text(encoding="utf-8"), figures)] == []


def test_floors():
    assert CLIP_FLOOR_DB["fp32"] >= 60
    assert SNR_FLOOR_DB == {"fp32": 80.0, "fp16": 35.0, "bf16": 20.0}


def test_the_reference_shares_nothing_with_the_exporter():
    """What is compared must not be computed by one and the same code."""
    for name in ("reference.py", "hifigan.py"):
        tree = ast.parse((ROOT / "bench" / "foley_bench" / "parity" / name).read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        assert not [module for module in modules if module.split(".")[0] in ("foley", "foley_export")]


def test_every_sampler_has_its_diffusers_class():
    assert [*SCHEDULERS] == [*SAMPLERS]


@pytest.fixture(scope="module")
def reference(bundles):
    return load_quietly(bundles.checkpoint("no-adapter"))


@pytest.fixture(scope="module")
def adapted(bundles):
    return load_quietly(bundles.checkpoint("adapter"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "setting",
    [
        Setting("ddim", 5, negative="wind, hum"),
        Setting("euler", 5, guidance=1.0),
        Setting("dpmpp-2m", 5, columns=16, seed=7),
        Setting("euler-a", 5, prompt="x " * 90, seed=2**31 + 5),
    ],
    ids=["negative", "unguided", "1.28 s", "long prompt"],
)
@pytest.mark.filterwarnings("ignore::foley.PromptTruncatedWarning")
@pytest.mark.parametrize("layout", ["no-adapter", "adapter"])
def test_other_settings(request, bundles, layout, setting):
    made_by = request.getfixturevalue({"no-adapter": "reference", "adapter": "adapted"}[layout])
    with one_thread(), foley.load(bundles.bundle(layout, "fp32"), threads=1) as pipeline:
        found = compare(pipeline, setting, made_by.generate(setting))
    assert found.latents_db > 90
    assert found.samples_db > 90


@pytest.mark.slow
def test_the_figures_tell_a_wrong_recipe_from_a_right_one(bundles, reference):
    """A comparison that could not fail would prove nothing: each small departure is below the floor."""
    setting = Setting("ddim", 5)
    with one_thread(), foley.load(bundles.bundle("no-adapter", "fp32"), threads=1) as pipeline:
        expected = reference.generate(setting)
        assert np.std(expected.samples) > 0.01
        for other in (
            Setting("ddim", 6),
            Setting("dpmpp-2m", 5),
            Setting("ddim", 5, prompt="a dog barking in the rain."),
            Setting("ddim", 5, guidance=7.6),
            Setting("ddim", 5, seed=43),
            Setting("ddim", 5, negative="rain"),
        ):
            assert compare(pipeline, other, expected).samples_db < CLIP_FLOOR_DB["fp32"], other


@pytest.mark.slow
def test_clips_in_a_batch_are_the_references_clips(bundles, reference):
    with one_thread(), foley.load(bundles.bundle("no-adapter", "fp32"), threads=1) as pipeline:
        clips = pipeline.generate(
            "a dog barking in the rain", seconds=0.64, steps=5, sampler="euler-a", seed=42, count=3
        )
        for clip in clips:
            expected = reference.generate(Setting("euler-a", 5, seed=clip.seed))
            assert snr_db(expected.samples, clip.samples) > 90


def test_torch_gets_its_threads_back():
    import torch

    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == figures_module.THREADS
    assert torch.get_num_threads() == before
