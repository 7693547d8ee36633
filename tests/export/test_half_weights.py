"""Weights stored in half: rounded before anything is recorded, exact behind their casts, and as fast as whole ones."""

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from torch import nn

import foley
import foley_engines
from foley.cli import cli
from foley.errors import CheckpointError, UsageError
from foley.verify import snr_db
from foley_bench.checkpoints import write_checkpoint
from foley_export.checkpoint import open_checkpoint
from foley_export.cli import export as export_command
from foley_export.export import Options, export
from foley_export.half_weights import LEAST_ELEMENTS, narrow, round_to_half
from foley_export.libraries import quiet_libraries
from foley_export.weights import fold_weight_norm

GRAPHS = ["text_encoder", "denoise_step", "latent_decoder", "vocoder"]


def linear(value: float = 1 / 3) -> nn.Linear:
    """A layer of LEAST_ELEMENTS weights, and fewer biases."""
    layer = nn.Linear(LEAST_ELEMENTS, 1)
    nn.init.constant_(layer.weight, value)
    nn.init.constant_(layer.bias, value)
    return layer


def graph(**initializers: np.ndarray) -> ir.Model:
    """A graph that adds each of its initializers to its input."""
    values = [ir.Value(name=name, const_value=ir.tensor(array, name=name)) for name, array in initializers.items()]
    for value in values:
        value.shape, value.type = value.const_value.shape, ir.TensorType(value.const_value.dtype)
    x = ir.Value(name="x", shape=ir.Shape([1]), type=ir.TensorType(ir.DataType.FLOAT))
    nodes = [ir.node("Add", [x, value], name=f"add_{value.name}") for value in values]
    for node in nodes:
        node.outputs[0].name = f"out_{node.name}"
        node.outputs[0].shape, node.outputs[0].type = ir.Shape(node.inputs[1].shape), x.type
    outputs = [node.outputs[0] for node in nodes]
    return ir.Model(
        ir.Graph([x], outputs, nodes=nodes, initializers=values, opset_imports={"": 20}, name="g"), ir_version=10
    )


def test_large_weights_are_rounded_and_stay_float32():
    layer = linear()
    round_to_half("unet", layer)
    assert layer.weight.dtype == torch.float32
    assert (layer.weight == np.float32(np.float16(1 / 3))).all()
    assert (layer.bias == np.float32(1 / 3)).all()


@pytest.mark.parametrize("value", [65504.0, 65519.0, -65504.0])
def test_the_ends_of_half_range_are_taken(value: float):
    layer = linear(value)
    round_to_half("unet", layer)
    assert layer.weight.abs().max() == 65504


@pytest.mark.parametrize("value", [65520.0, -1e6, float("inf")])
def test_a_weight_beyond_half_range_is_named(value: float):
    layer = nn.Sequential(linear(), linear(value))
    with pytest.raises(CheckpointError, match=r"unet: 1\.weight holds .*, beyond half range \(65504\)"):
        round_to_half("unet", layer)


def test_half_numbers_are_stored_in_half_behind_a_cast():
    arrays = {
        "half": np.linspace(-1, 1, 512, dtype=np.float16).astype(np.float32).reshape(2, 256),
        "mask": np.where(np.arange(512) % 2, -np.inf, 0).astype(np.float32),
        "third": np.full(512, 1 / 3, np.float32),
        "huge": np.full(512, -3e38, np.float32),
        "small": np.ones(LEAST_ELEMENTS - 1, np.float32),
        "ids": np.ones(512, np.int64),
    }
    model = graph(**{name: array for name, array in arrays.items() if array.dtype == np.float32})
    model.graph.register_initializer(ir.Value(name="ids", const_value=ir.tensor(arrays["ids"], name="ids")))
    assert narrow(model) == 2
    stored = {name: value.const_value.dtype for name, value in model.graph.initializers.items()}
    float16, float32 = ir.DataType.FLOAT16, ir.DataType.FLOAT
    assert stored == {
        "half.half": float16, "mask.half": float16, "third": float32, "huge": float32, "small": float32,
        "ids": ir.DataType.INT64,
    }  # fmt: skip
    proto = ir.to_proto(model)
    onnx.checker.check_model(proto, full_check=True)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    got = session.run(None, {"x": np.zeros(1, np.float32)})
    for name, array in zip(["half", "mask", "third", "huge", "small"], got, strict=True):
        assert np.array_equal(array, arrays[name]), name


def test_a_graph_of_small_weights_stays_as_it_is():
    model = graph(small=np.ones(3, np.float32))
    before = ir.to_proto(model).SerializeToString()
    assert narrow(model) == 0
    assert ir.to_proto(model).SerializeToString() == before


def test_half_graphs_do_not_store_whole_weights():
    with pytest.raises(UsageError, match="leave --weights fp32 out"):
        Options(precision="fp16", weights="fp32")


@pytest.mark.slow
@pytest.mark.usefixtures("quick_model")
class TestBundles:
    """Bundles of stand-ins, which export in a second."""

    @pytest.fixture
    def run(self, checkpoint, tmp_path):
        place = checkpoint(layout="no-adapter")

        def run(**options) -> foley.Bundle:
            name = "-".join(f"{key}-{value}" for key, value in options.items()) or "plain"
            export(open_checkpoint(str(place)), tmp_path / name, Options(**options))
            return foley.load_bundle(tmp_path / name)

        return run

    def test_the_manifest_says_how_weights_are_stored(self, run):
        kinds = [
            {(graph.precision, graph.weights_precision) for graph in run(**options).manifest.graphs.values()}
            for options in ({}, {"weights": "fp32"}, {"weights": "fp16"}, {"precision": "fp16"})
        ]
        assert kinds == [{("fp32", "fp32")}, {("fp32", "fp32")}, {("fp32", "fp16")}, {("fp16", "fp16")}]

    def test_golden_is_the_output_of_the_rounded_weights(self, run):
        whole, half = (run(**given).golden("text_encoder")["context"] for given in ({}, {"weights": "fp16"}))
        assert np.array_equal(half, whole.astype(np.float16))  # the stand-in looks its weights up
        assert 40 < snr_db(whole, half) < 90

    def test_the_room_is_half(self, run):
        sizes = [run(**given).manifest.files["graphs/vocoder.weights"].bytes for given in ({}, {"weights": "fp16"})]
        assert sizes[0] == 2 * sizes[1]

    def test_it_changes_no_half_bundle(self, run):
        plain, named = run(precision="fp16").manifest, run(precision="fp16", weights="fp16").manifest
        assert plain.files == named.files
        assert plain.graphs == named.graphs

    def test_on_the_command_line(self, command, checkpoint, tmp_path, monkeypatch):
        monkeypatch.setitem(cli.commands, "export", export_command)
        place = checkpoint(layout="no-adapter")
        assert command("export", place, "-o", tmp_path / "bundle", "--weights", "fp16").code == 0
        assert command("inspect", tmp_path / "bundle").out.count("fp32, 0.1 MiB of weights in fp16") == 4
        both = ("--weights", "fp32", "--precision", "fp16")
        command("export", place, "-o", tmp_path / "other", *both).refused("leave --weights fp32 out")
        assert not (tmp_path / "other").exists()


@pytest.fixture(scope="module")
def half_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tiny checkpoint whose weights are half numbers, the vocoder's behind its weight norm too."""
    place = write_checkpoint(tmp_path_factory.mktemp("half") / "tiny", layout="no-adapter", dtype="float16")
    file = place / "vocoder" / "vocoder.pt"
    stored = torch.load(file, weights_only=True)
    folded = fold_weight_norm({name: tensor.float() for name, tensor in stored["generator"].items()})
    torch.save({"generator": {name: tensor.half() for name, tensor in folded.items()}}, file)
    return place


@pytest.fixture(scope="module")
def whole_and_half(half_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> list[foley.Bundle]:
    """Export that checkpoint twice, its weights stored in float32 and in float16."""
    folder = tmp_path_factory.mktemp("stored")
    with quiet_libraries():
        for weights in ("fp32", "fp16"):
            export(open_checkpoint(str(half_checkpoint)), folder / weights, Options(weights=weights))
    return [foley.load_bundle(folder / weights) for weights in ("fp32", "fp16")]


def spellings(bundle: foley.Bundle, name: str) -> list[Path]:
    graph = bundle.graph(name)
    return [bundle.folder / file for file in sorted({graph.file, *graph.engines.values()})]


def nodes_when_loaded(file: Path, level: str, kept: Path) -> list[str]:
    """Give the operators that ONNX Runtime keeps of a graph, in order."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath = str(kept)
    options.log_severity_level = 3  # it warns that the kept file belongs to this machine
    onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return [node.op_type for node in onnx.load(kept, load_external_data=False).graph.node]


@pytest.mark.slow
def test_clips_are_those_of_whole_weights(whole_and_half):
    clips = []
    for bundle in whole_and_half:
        with foley.Pipeline(bundle, threads=1) as pipeline:
            clips += pipeline.generate("a dog barking", seconds=1.28, steps=4, sampler="dpmpp-2m", seed=3)
    assert clips[0].samples.std() > 1e-3
    assert snr_db(clips[0].samples, clips[1].samples) >= 100  # measured: no difference at all


@pytest.mark.slow
@pytest.mark.parametrize("level", ["ORT_ENABLE_ALL", "ORT_ENABLE_EXTENDED"])
def test_onnx_runtime_folds_the_casts(whole_and_half, tmp_path, level):
    """What runs is, node for node, what runs with weights stored in float32: a step costs the same."""
    for name in GRAPHS:
        for files in zip(*(spellings(bundle, name) for bundle in whole_and_half), strict=True):
            whole, half = (nodes_when_loaded(file, level, tmp_path / "kept.onnx") for file in files)
            assert "Cast" not in half, name
            assert half == whole, name


@pytest.mark.slow
def test_every_spelling_holds_its_large_weights_in_half(whole_and_half):
    for name in GRAPHS:
        for file in spellings(whole_and_half[1], name):
            model = onnx.load(file, load_external_data=False)
            large = [tensor for tensor in model.graph.initializer if np.prod(tensor.dims) >= LEAST_ELEMENTS]
            assert {tensor.data_type for tensor in large} <= {TensorProto.FLOAT16, TensorProto.INT64, TensorProto.BOOL}
            assert sum(tensor.data_type == TensorProto.FLOAT16 for tensor in large) > 5
            onnx.checker.check_model(str(file))


@pytest.mark.slow
@pytest.mark.parametrize("optimise", [True, False])
def test_every_spelling_computes_the_recording(whole_and_half, optimise):
    bundle = whole_and_half[1]
    for name in GRAPHS:
        recorded = bundle.golden(name)
        for file in spellings(bundle, name):
            with foley_engines.open(file, engine="cpu", threads=1, optimise=optimise) as engine:
                session = engine.bind(**{key: recorded[key].shape for key in engine.inputs})
                for key in engine.inputs:
                    session[key].write(recorded[key])
                session.run()
                (output,) = engine.outputs
                assert snr_db(recorded[output], session[output].read()) > 100
