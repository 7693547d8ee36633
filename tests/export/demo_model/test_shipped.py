"""The demo that is shipped: small, trained, and the bundle is what its checkpoint exports to."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import foley
from foley.bundle import load_bundle
from foley.demo_bundle import FOLDER, demo_bundle
from foley.manifest import Manifest
from foley.verify import snr_db
from foley_bench.prompt_following import follows
from foley_bench.quality.asks import Setting, draw_asks
from foley_bench.quality.sources import load_torch
from foley_export import demo_model
from foley_export.checkpoint import open_checkpoint
from foley_export.defaults import DefaultKnobs
from foley_export.demo_model.scenes import NOISY
from foley_export.export import Options, export

CHECKPOINT = Path(demo_model.__file__).parent / "checkpoint"
MOST_BYTES = {CHECKPOINT: 12.5e6, FOLDER: 16e6}
LEAST_SNR_DB = 60.0
"""Of whole clips between two exports, and between the bundle and torch."""
LEAST_FOLLOWED, MOST_SHUFFLED = 0.5, 0.1
PROMPT = "a rising siren, then two knocks"


@pytest.fixture(scope="module")
def shipped() -> Manifest:
    return load_bundle(demo_bundle()).manifest


@pytest.fixture(scope="module")
def again(shipped: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint, exported as the shipped bundle says that it was."""
    folder = tmp_path_factory.mktemp("demo") / "bundle"
    defaults = shipped.defaults
    knobs = DefaultKnobs(
        steps=defaults.steps, guidance=defaults.guidance, sampler=defaults.sampler, seconds=defaults.seconds
    )
    export(open_checkpoint(str(CHECKPOINT)), folder, Options(weights="fp16", defaults=knobs))
    return folder


def stated(manifest: Manifest) -> dict[str, object]:
    """All but what depends on versions: digests, measured figures."""
    graphs = {
        name: (graph.file, graph.inputs, graph.outputs, graph.precision, graph.weights_precision)
        for name, graph in manifest.graphs.items()
    }
    kept = ("system", "precision", "source", "audio", "latents", "conditioning", "schedule", "defaults")
    return {"graphs": graphs, **{name: getattr(manifest, name) for name in kept}}


@pytest.mark.parametrize("folder", MOST_BYTES, ids=["checkpoint", "bundle"])
def test_it_is_small(folder: Path):
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) <= MOST_BYTES[folder]


def test_it_has_six_million_weights_at_most():
    parts = [load_file(file) for file in CHECKPOINT.rglob("*.safetensors")]
    parts += [torch.load(CHECKPOINT / "vocoder/vocoder.pt", weights_only=True)["generator"]]
    assert len(parts) == 4
    assert sum(value.numel() for part in parts for value in part.values()) <= 6.0e6


@pytest.mark.slow
def test_its_clips_are_what_their_captions_ask_for():
    """Most are, and nearly none what the next caption asks for: a wrong engine or sampler is noticed."""
    asks = draw_asks(40, 1)
    with foley.load(threads=1) as pipeline:
        clips = pipeline.generate([ask.caption for ask in asks], seed=asks[0].seed)
    right = [follows(clip.samples, ask.scene) for clip, ask in zip(clips, asks, strict=True)]
    wrong = [follows(clip.samples, ask.scene) for clip, ask in zip(clips[1:], asks, strict=False)]
    assert np.mean(right) >= LEAST_FOLLOWED
    assert np.mean(wrong) <= MOST_SHUFFLED


@pytest.mark.slow
def test_its_checkpoint_exports_to_it(shipped: Manifest, again: Path):
    assert stated(load_bundle(again).manifest) == stated(shipped)


@pytest.mark.slow
def test_both_bundles_make_the_same_clips(again: Path):
    clips = []
    for folder in (FOLDER, again):
        with foley.load(folder, threads=1) as pipeline:
            clips.append(pipeline.generate(PROMPT, seed=7)[0].samples)
    assert snr_db(clips[0], clips[1]) > LEAST_SNR_DB


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")
def test_torch_makes_what_the_bundle_makes(shipped: Manifest):
    """Noise apart: its bands turn over where the grain of a mel crosses a bound, and rounding may decide that."""
    asks = [ask for ask in draw_asks(40, 1) if not any(event.kind in NOISY for event in ask.scene.events)][:4]
    defaults = shipped.defaults
    setting = Setting(defaults.sampler, defaults.steps, defaults.guidance)
    torch_source = load_torch(CHECKPOINT)
    with foley.load(threads=1) as pipeline:
        for ask in asks:
            expected = torch_source.clips([ask], setting)[0]
            made = pipeline.generate(ask.caption, seed=ask.seed)[0].samples
            assert snr_db(expected, made) > LEAST_SNR_DB, ask.caption
