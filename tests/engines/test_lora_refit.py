"""Weights that are in use for a while, as with LoRAs: TensorRT refits a plan that takes them, and never builds one."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.engine_hosts import installed_tensorrt
from support.lora_files import add_parameters, unet_lora
from support.nvidia.install import Fakes
from support.nvidia.onnx_network import OnnxNetwork
from support.plan_bench import Bench, make_bench
from support.sum_graph import SHAPES, SUM, WEIGHT, X, sum_graph, write_sum_graph

import foley
from foley.build_profiles import profile_for
from foley.errors import EngineError, UsageError
from foley.graph_files import graph_file
from foley.loras import write_overlay
from foley_engines import BuildOptions, GraphFile, TensorRtSetup
from foley_engines.profiles import Sizes, fixed

TWO = {"B": fixed(2)}
REFITTABLE = BuildOptions(refittable=True)
OTHER_SUM = (X + WEIGHT + 1).ravel()


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return installed_tensorrt(monkeypatch)


@pytest.fixture
def bench(tmp_path: Path, fakes: Fakes):
    made = make_bench(tmp_path / "bundle", fakes)
    yield made
    made.close()


def other(bench: Bench, tmp_path: Path, **more: object) -> GraphFile:
    """Describe the graph with other weights, which lie in another folder while plans stay in the bundle's."""
    file = write_sum_graph(tmp_path / "overlay", WEIGHT + 1)
    return sum_graph(file, folder=bench.folder, refit_only=True, **more)


# A graph by itself


def test_a_refittable_plan_is_adopted_and_the_base_goes_on_from_it(bench: Bench, tmp_path: Path):
    bench.keeper(options=REFITTABLE).build(TWO)
    [before] = [place.read_bytes() for place in bench.plans.glob("*.plan")]
    assert np.array_equal(bench.run(other(bench, tmp_path)), OTHER_SUM)
    base, added = sorted(bench.records(), key=lambda record: record.parts["weights"] != record.weights_inside)
    assert base.plan == added.plan
    assert base.parts["weights"] != added.parts["weights"]
    assert added.verified.against == "onnxruntime-cpu"
    assert [place.read_bytes() for place in bench.plans.glob("*.plan")] == [before]
    refits = bench.counts["refit"]
    assert np.array_equal(bench.run(build=False), SUM)
    assert (bench.counts["build"], bench.counts["refit"]) == (1, refits)


def test_what_was_adopted_once_is_not_verified_again(bench: Bench, tmp_path: Path):
    bench.keeper(options=REFITTABLE).build(TWO)
    bench.run(other(bench, tmp_path))
    bench.told.clear()
    assert np.array_equal(bench.run(other(bench, tmp_path)), OTHER_SUM)
    assert [words.partition(" ")[0] for words in bench.told] == ["loading"]


@pytest.mark.parametrize("build", [True, False])
def test_no_plan_that_takes_them_is_refused_and_none_is_built(bench: Bench, tmp_path: Path, build: bool):
    bench.keeper().build(TWO)
    with pytest.raises(UsageError, match=r"^sum: no plan for B=2 in .* takes LoRAs; .*: foley build --refittable$"):
        bench.run(other(bench, tmp_path), build=build)
    assert bench.counts["build"] == 1


def test_nothing_was_built_at_all(bench: Bench, tmp_path: Path):
    with pytest.raises(UsageError, match="foley build --refittable"):
        bench.run(other(bench, tmp_path))
    assert bench.counts["build"] == 0


def test_no_build_forbids_no_refit(bench: Bench, tmp_path: Path):
    bench.keeper(options=REFITTABLE).build(TWO)
    assert np.array_equal(bench.run(other(bench, tmp_path), build=False), OTHER_SUM)
    assert bench.counts["build"] == 1


def test_below_the_floor_is_an_error_and_nothing_is_recorded(bench: Bench, tmp_path: Path, monkeypatch):
    bench.keeper(options=REFITTABLE).build(TWO)
    right = OnnxNetwork.run
    monkeypatch.setattr(OnnxNetwork, "run", lambda *given: {name: 0 * each for name, each in right(*given).items()})
    with pytest.raises(EngineError, match="dB at"):
        bench.run(other(bench, tmp_path))
    assert (bench.counts["build"], len(bench.records())) == (1, 1)


def test_the_narrowest_plan_is_adopted(bench: Bench, tmp_path: Path):
    for high in (8, 16, 2, 4, 6):
        bench.keeper(options=REFITTABLE).build({"B": Sizes(1, 2, high)})
    bench.run(other(bench, tmp_path))
    [added] = [record for record in bench.records() if record.parts["weights"] != record.weights_inside]
    assert added.profile == {"B": (1, 2, 2)}


# Sizes that a plan of other weights admits


def test_fit_sees_a_plan_that_would_be_adopted(bench: Bench, tmp_path: Path):
    bench.keeper(options=REFITTABLE).build({"B": fixed(4)})
    assert bench.engine(other(bench, tmp_path)).fit(SHAPES, ("B",))["x"] == (4, 4)
    assert bench.engine(other(bench, tmp_path), build=False).fit(SHAPES, ("B",))["x"] == (4, 4)


def test_fit_does_not_see_a_plan_that_would_not(bench: Bench, tmp_path: Path):
    bench.keeper().build({"B": fixed(4)})
    assert bench.engine(other(bench, tmp_path)).fit(SHAPES, ("B",)) == SHAPES


def test_without_builds_fit_keeps_to_plans_of_the_very_weights(bench: Bench):
    """Where nothing may be built, nothing that was made for other weights of a bundle is tried either."""
    bench.keeper(options=REFITTABLE).build({"B": fixed(4)})
    write_sum_graph(bench.folder, WEIGHT + 1)
    assert bench.engine(build=False).fit(SHAPES, ("B",)) == SHAPES
    assert bench.engine().fit(SHAPES, ("B",))["x"] == (4, 4)


# A bundle with LoRAs


@pytest.fixture
def bundle(bundle_copy: Path) -> Path:
    return add_parameters(bundle_copy)


def setup(options: BuildOptions = REFITTABLE) -> TensorRtSetup:
    return TensorRtSetup(options=options)


def sound(pipeline: foley.Pipeline) -> np.ndarray:
    [clip] = pipeline.generate("a dog barking", seed=3)
    return clip.samples


def test_a_pipeline_takes_loras_on_and_off(bundle: Path, fakes: Fakes, tmp_path: Path):
    loras = [foley.Lora(unet_lora(tmp_path / "rain.safetensors"), 0.8)]
    with foley.load(bundle, threads=1, loras=loras) as reference:
        expected = sound(reference)
    with foley.load(bundle, engine=setup()) as pipeline:
        plain = sound(pipeline)
        builds = fakes.machine.counts["build"]
        pipeline.use_loras(loras)
        got = sound(pipeline)
        pipeline.use_loras([])
        assert np.array_equal(sound(pipeline), plain)
    assert fakes.machine.counts["build"] == builds
    assert np.abs(got - expected).max() < 1e-5
    assert np.abs(got - plain).max() > 1e-2
    records = [json.loads(place.read_text()) for place in (bundle / "engines/tensorrt").glob("denoise_step-*.json")]
    assert sorted(record["verified"]["against"] for record in records) == ["onnxruntime-cpu", "onnxruntime-cpu"]
    assert len({record["plan"] for record in records}) == 1
    fakes.machine.check()


def test_a_generation_stops_when_its_plan_goes(bundle: Path, fakes: Fakes, tmp_path: Path):
    with foley.load(bundle, engine=setup()) as pipeline:
        generation = pipeline.start(pipeline.request("rain", steps=6))
        steps = iter(generation)
        for _ in range(4):
            next(steps)
        pipeline.use_loras([foley.Lora(unet_lora(tmp_path / "rain.safetensors"))])
        with pytest.raises(foley.FoleyError, match="start it anew"):
            next(steps)
    fakes.machine.check()


def test_plans_without_refit_are_refused_with_the_fix(bundle: Path, fakes: Fakes, tmp_path: Path):
    with foley.load(bundle, engine=setup(BuildOptions())) as pipeline:
        plain = sound(pipeline)
        builds = fakes.machine.counts["build"]
        pipeline.use_loras([foley.Lora(unet_lora(tmp_path / "rain.safetensors"))])
        with pytest.raises(UsageError, match="takes LoRAs; build one that does with: foley build --refittable"):
            sound(pipeline)
        pipeline.use_loras([])
        assert np.array_equal(sound(pipeline), plain)
    assert fakes.machine.counts["build"] == builds


def test_what_engines_are_told_of_a_graph_with_loras(bundle: Path, tmp_path: Path):
    loaded = foley.load_bundle(bundle)
    overlay = write_overlay(loaded, [foley.Lora(unet_lora(tmp_path / "rain.safetensors"))])
    plain, changed = graph_file(loaded, "denoise_step"), graph_file(loaded, "denoise_step", overlay)
    assert changed.plans_folder("tensorrt") == plain.plans_folder("tensorrt")
    assert changed.weights.parent == changed.standard.path.parent == overlay.folder / "graphs"
    assert changed.weights_sha256 != plain.weights_sha256
    assert changed.standard.digest == plain.standard.digest
    assert (changed.golden, changed.refit_only, plain.refit_only) == (None, True, False)
    assert graph_file(loaded, "vocoder", overlay).standard.path == bundle / "graphs/vocoder.onnx"
    sizes = {"S": 1, "R": 2, "W": 8, "L": 8}
    assert changed.profile(sizes) == profile_for(loaded.manifest, "denoise_step", sizes)
    overlay.close()
