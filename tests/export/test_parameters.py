"""Where a LoRA finds a layer's weight: names, bytes, what has no place, and what changing the bytes changes."""

import shutil
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

import foley_engines
from foley.bundle import Bundle, load_bundle
from foley.parameters import Parameter, decode
from foley.verify import snr_db
from foley_export.checkpoint import open_checkpoint
from foley_export.export import Options, export
from foley_export.half_weights import narrow, round_to_half
from foley_export.model import GraphPlan
from foley_export.parameters import find_parameters, write_parameters
from foley_export.precision.lower import lower
from foley_export.spellings import store_spellings
from foley_export.systems import read_model
from foley_export.trace import trace

WIDTH = 24
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": ml_dtypes.bfloat16}
KINDS = {
    "fp32": ("float32", 100),
    "fp32 with half weights": ("float16", 100),
    "fp16": ("float16", 50),
    "bf16": ("bfloat16", 30),
}
"""How a graph is exported → how it holds its weights, and its signal over error against torch in dB at least."""


class Layers(nn.Module):
    """One layer of every kind, and those that have no place."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(4, WIDTH, 3, padding=1)
        self.plain = nn.Linear(WIDTH, WIDTH + 8, bias=False)
        self.biased = nn.Linear(WIDTH + 8, WIDTH)
        self.flat = nn.Linear(4, 256)
        self.one, self.other = nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.other.load_state_dict(self.one.state_dict())
        self.large, self.same = nn.Linear(WIDTH, 64), nn.Linear(WIDTH, 64)
        self.same.weight.data.copy_(self.large.weight)
        self.twice = nn.Linear(WIDTH, WIDTH)
        self.small = nn.Linear(WIDTH, 4)
        self.table = nn.Embedding(64, 256)

    def forward(self, picture: Tensor) -> Tensor:
        tokens = self.conv(picture).flatten(2).transpose(1, 2)
        tokens = self.biased(self.plain(tokens).tanh())
        tokens = self.other(self.one(tokens).tanh()) + self.twice(self.twice(tokens).tanh())
        wide = (self.large(tokens).tanh() + self.same(tokens).sin())[:, 7]
        scale = self.flat(self.small(tokens).mean(1)) + self.table((picture[:, 0, 0, 0] > 0).long())
        return (wide.repeat(1, 4) * scale).sum(1, keepdim=True) + wide


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unet = Layers()

    def forward(self, picture: Tensor) -> Tensor:
        return self.unet(picture)


def picture() -> Tensor:
    return torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(3))


PLAN = GraphPlan(
    name="layers",
    build=Wrapper,
    inputs={"picture": ("B", 4, 6, 5)},
    outputs={"heard": ("B", 64)},
    example=lambda: {"picture": picture()},
    lora_prefixes={"unet.": "unet."},
)
PLACED = ["conv", "plain", "biased", "flat"]
WITHOUT = {
    "one": "equals other, and the tracer makes small equal ones the same tensor",
    "other": "equals one",
    "large": "equals same, and equal contents are stored once",
    "same": "equals large",
    "twice": "is read by two nodes",
    "small": "lies in the graph",
    "table": "is no layer of sums of products",
}


@torch.no_grad()
def computed(module: nn.Module) -> np.ndarray:
    return module(picture()).numpy()


def run(file: Path) -> np.ndarray:
    with foley_engines.open(file, engine="cpu") as engine:
        session = engine.bind(picture=(2, 4, 6, 5))
        session["picture"].write(picture().numpy())
        session.run()
        return session["heard"].read()


def read(weights: Path, place: Parameter) -> np.ndarray:
    """Give a layer's weight from its bytes."""
    count = int(np.prod(place.shape))
    matrix = np.fromfile(weights, DTYPES[place.dtype], count, offset=place.offset).reshape(place.shape)
    return matrix.T if place.transposed else matrix


def weight(module: nn.Module, name: str, dtype: str) -> np.ndarray:
    return module.get_submodule(name).weight.detach().numpy().astype(DTYPES[dtype])


def given(kind: str) -> nn.Module:
    """Give the module as it is exported."""
    module = Wrapper()
    if kind == "fp32 with half weights":
        round_to_half("layers", module)
    return module


@pytest.fixture(scope="module")
def traced() -> dict[str, Any]:
    return {kind: ir.to_proto(trace(PLAN, given(kind))) for kind in ("fp32", "fp32 with half weights")}


@pytest.fixture(scope="module", params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture(scope="module")
def folder(kind, traced, tmp_path_factory) -> Path:
    """The graph, stored as exporting does it, and its places."""
    folder, model = tmp_path_factory.mktemp("graph"), ir.from_proto(traced.get(kind, traced["fp32"]))
    if kind == "fp32 with half weights":
        narrow(model)
    elif kind != "fp32":
        assert lower(model, kind, [{"picture": picture().numpy()}], folder).lowered
    store_spellings(model, "bf16" if kind == "bf16" else "fp32", folder / "layers")
    write_parameters(model, PLAN.lora_prefixes, folder / "layers.parameters.json")
    return folder


def places(folder: Path) -> dict[str, Parameter]:
    return decode((folder / "layers.parameters.json").read_bytes(), "here")


def test_layers_have_places_and_others_have_a_reason(folder):
    assert set(places(folder)) == {f"unet.{name}" for name in PLACED}
    assert {name for name, child in Layers().named_children()} == {*PLACED, *WITHOUT}


def test_the_bytes_are_the_weight(folder, kind):
    module = given(kind)
    for name, place in places(folder).items():
        assert place.dtype == KINDS[kind][0]
        assert np.array_equal(read(folder / "layers.weights", place), weight(module, name, place.dtype))


def test_linear_layers_are_stored_transposed_where_they_are_products(folder):
    """A linear layer over vectors is a Gemm, which transposes by itself."""
    assert {name: place.transposed for name, place in places(folder).items()} == {
        "unet.conv": False, "unet.flat": False, "unet.plain": True, "unet.biased": True,
    }  # fmt: skip


def test_weights_have_their_modules_names(folder):
    names = {name for name in ir.load(folder / "layers.onnx").graph.initializers if "unet." in name}
    stems = {name.removesuffix(".half") for name in names}
    assert {"unet.conv.weight", "unet.flat.weight", "unet.plain.weight.T", "unet.biased.weight.T"} <= stems
    assert len(stems) == len(names)


@pytest.mark.parametrize("name", PLACED)
def test_changed_bytes_are_a_changed_layer(folder, kind, name, tmp_path):
    shutil.copytree(folder, tmp_path / "changed")
    module, place = given(kind), places(folder)[f"unet.{name}"]
    layer = module.get_submodule(f"unet.{name}")
    before = computed(module)
    layer.weight.data += torch.randn(layer.weight.shape, generator=torch.Generator().manual_seed(5))
    layer.weight.data = torch.from_numpy(weight(module, f"unet.{name}", place.dtype).astype(np.float32))
    write(tmp_path / "changed/layers.weights", place, layer.weight.numpy(force=True))
    file = "layers.reference.onnx" if kind == "bf16" else "layers.onnx"
    assert snr_db(computed(module), run(tmp_path / "changed" / file)) > KINDS[kind][1]
    assert snr_db(computed(module), before) < 20


def write(weights: Path, place: Parameter, matrix: np.ndarray) -> None:
    """Put a layer's weight in the place of its bytes."""
    matrix = np.ascontiguousarray(matrix.T if place.transposed else matrix)
    assert matrix.shape == place.shape
    with weights.open("r+b") as file:
        file.seek(place.offset)
        file.write(matrix.astype(DTYPES[place.dtype]).tobytes())


def test_other_prefixes_give_other_names_and_the_first_counts(traced, tmp_path):
    model = ir.from_proto(traced["fp32"])
    store_spellings(model, "fp32", tmp_path / "layers")
    prefixes = {"unet.con": "a.con", "unet.": "b.", "unet.p": "c.p"}
    assert list(find_parameters(model, prefixes)) == ["a.conv", "b.flat", "b.plain", "b.biased"]
    assert find_parameters(model, {"text.": "text."}) == {}


def prefixes(folder: Path) -> dict[str, bool]:
    plans = read_model(open_checkpoint(str(folder))).graphs
    return {plan.name: bool(plan.lora_prefixes) for plan in plans}


def test_unet_and_first_clip_encoder_take_loras(checkpoint):
    assert prefixes(checkpoint(encoders=("clip", "t5", "clap"))) == {
        "text_encoder_0": True, "text_encoder_1": False, "text_encoder_2": False,
        "denoise_step": True, "latent_decoder": False, "vocoder": False,
    }  # fmt: skip
    assert not prefixes(checkpoint(encoders=("t5",)))["text_encoder"]


@pytest.mark.slow
@pytest.mark.usefixtures("quick_model")
def test_the_manifest_names_the_files(checkpoint, tmp_path):
    """Of graphs that a LoRA may change, though it should find no layer in them."""
    export(open_checkpoint(str(checkpoint(layout="no-adapter"))), tmp_path / "bundle", Options())
    manifest = load_bundle(tmp_path / "bundle").manifest
    files = {name: graph.parameters for name, graph in manifest.graphs.items()}
    assert files == {
        "text_encoder": "graphs/text_encoder.parameters.json", "denoise_step": "graphs/denoise_step.parameters.json",
        "latent_decoder": None, "vocoder": None,
    }  # fmt: skip
    assert {file for file in files.values() if file is not None} <= set(manifest.files)


BUNDLES = [("no-adapter", "fp32"), ("no-adapter", "fp16"), ("no-adapter", "bf16"), ("adapter", "fp32")]


@pytest.fixture(scope="module", params=BUNDLES, ids="-".join)
def exported(request, bundles) -> tuple[Bundle, dict[str, nn.Module]]:
    """A tiny model's bundle, and its U-Net and first text encoder under their names in LoRA files."""
    layout, precision = request.param
    plans = read_model(open_checkpoint(str(bundles.checkpoint(layout)))).graphs
    built = {plan.name: plan.build() for plan in plans if plan.lora_prefixes}
    (text,) = (name for name in built if name != "denoise_step")
    modules = {"denoise_step": built["denoise_step"].unet, text: built[text].encoder.model}
    return load_bundle(bundles.bundle(layout, precision)), modules


def layers(name: str, module: nn.Module) -> dict[str, np.ndarray]:
    """Give a model's linear and convolution weights by what diffusers' LoRA files call their layers."""
    prefix = "unet." if name == "denoise_step" else "text_encoder.text_model."
    return {
        prefix + path.removeprefix("text_model."): child.weight.detach().numpy()
        for path, child in module.named_modules()
        if isinstance(child, nn.Linear | nn.Conv2d)
    }


@pytest.mark.slow
def test_every_layer_of_unet_and_text_encoder_has_its_place(exported):
    bundle, modules = exported
    for name, module in modules.items():
        graph, expected = bundle.graph(name), layers(name, module)
        found = decode((bundle.folder / graph.parameters).read_bytes(), graph.parameters)
        assert set(found) == set(expected)
        for layer, place in found.items():
            matrix = expected[layer].astype(DTYPES[place.dtype])
            assert np.array_equal(read(bundle.folder / graph.weights, place), matrix), layer
    dtypes = {place.dtype for place in found.values()}
    assert {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}[bundle.manifest.precision] in dtypes


@pytest.mark.slow
def test_every_spelling_reads_the_same_places(exported):
    bundle, modules = exported
    for name in modules:
        graph = bundle.graph(name)
        offsets = {place.offset for place in decode((bundle.folder / graph.parameters).read_bytes(), "p").values()}
        for file in (graph.file, *graph.engines.values()):
            values = ir.load(bundle.folder / file).graph.initializers.values()
            stored = [each.const_value.offset for each in values if isinstance(each.const_value, ir.ExternalTensor)]
            assert offsets <= set(stored), file
            assert all(stored.count(offset) == 1 for offset in offsets), file
