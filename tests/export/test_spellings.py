"""One graph, spelt for each engine over one weights file: attention, opset, sharing and size."""

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from diffusers.models.attention_processor import Attention

import foley
import foley_engines
from foley.verify import snr_db
from foley_export.checkpoint import open_checkpoint
from foley_export.dialect import ATTENTION_OPSET
from foley_export.precision.check import check_types
from foley_export.storage import ALIGNMENT
from foley_export.systems import read_model
from foley_export.trace import OPSET

pytestmark = pytest.mark.slow

ATTENTION = {"denoise_step": 32, "latent_decoder": 1}
"""Graph → attention modules of Stable Diffusion 1.x: 16 blocks with two each; one in the VAE's decoder."""
GRAPH_BYTES = 1_500_000


@pytest.fixture(
    scope="module", params=[("no-adapter", "fp32"), ("no-adapter", "fp16"), ("adapter", "fp32")], ids="-".join
)
def bundle(request, bundles):
    return foley.load_bundle(bundles.bundle(*request.param))


def files(bundle, name) -> list[Path]:
    graph = bundle.graph(name)
    return [bundle.folder / file for file in sorted({graph.file, *graph.engines.values()})]


def load(path: Path) -> onnx.ModelProto:
    return onnx.load(path, load_external_data=False)


def external(model: onnx.ModelProto) -> dict[str, tuple[str, int, int]]:
    """Give each external tensor's file, offset and length in bytes."""
    found = {}
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            facts = {entry.key: entry.value for entry in tensor.external_data}
            found[tensor.name] = facts["location"], int(facts["offset"]), int(facts["length"])
    return found


def test_every_attention_module_is_one_node_on_the_cpu(bundle):
    for name in bundle.manifest.graphs:
        kinds = Counter((node.domain, node.op_type) for node in load(bundle.graph_file(name, "cpu")).graph.node)
        assert kinds["com.microsoft", "MultiHeadAttention"] == ATTENTION.get(name, 0)


def test_fused_operators_are_counted(bundle):
    for name, graph in bundle.manifest.graphs.items():
        kinds = {"cpu": "MultiHeadAttention", "tensorrt": "Attention"}
        assert graph.fused == {file: {kinds[engine]: ATTENTION[name]} for engine, file in graph.engines.items()}


def test_attention_is_onnxs_own_for_tensorrt(bundle):
    """Half bundles only, of the same weights, and strongly typed as all of their graphs are."""
    half = bundle.manifest.precision != "fp32"
    for name, graph in bundle.manifest.graphs.items():
        assert ("tensorrt" in graph.engines) == (half and name in ATTENTION)
        for file in sorted({graph.file, *graph.engines.values()}) if half else ():
            check_types(ir.load(bundle.folder / file))
        if "tensorrt" in graph.engines:
            model = load(bundle.folder / graph.engines["tensorrt"])
            kinds = Counter((node.domain, node.op_type) for node in model.graph.node)
            assert kinds["", "Attention"] == ATTENTION[name]
            assert {domain for domain, _ in kinds} == {""}
            assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", ATTENTION_OPSET)]
            onnx.checker.check_model(str(bundle.folder / graph.engines["tensorrt"]))


def test_half_graphs_are_cast_no_more_than_needed(bundle):
    """What halving torch modules took, of which the reshapes around norms are float32 too."""
    most = {"text_encoder": 13, "denoise_step": 222, "latent_decoder": 46, "vocoder": 2}
    if bundle.manifest.precision != "fp16":
        return
    for name, graph in bundle.manifest.graphs.items():
        kinds = Counter(node.op_type for node in load(bundle.folder / graph.file).graph.node)
        assert kinds["Cast"] <= most[name]


def test_the_count_is_that_of_the_torch_modules(bundles):
    model = read_model(open_checkpoint(str(bundles.checkpoint("no-adapter"))))
    for plan in model.graphs:
        modules = [module for module in plan.build().modules() if isinstance(module, Attention)]
        assert len(modules) == ATTENTION.get(plan.name, 0)


def test_the_standard_spelling_has_standard_operators_only(bundle):
    for name, graph in bundle.manifest.graphs.items():
        model = load(bundle.folder / graph.file)
        assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
        assert [(entry.domain, entry.version) for entry in model.opset_import if entry.version] == [("", OPSET)]
        softmaxes = sum(node.op_type == "Softmax" for node in model.graph.node)
        assert softmaxes >= ATTENTION.get(name, 0)
        onnx.checker.check_model(str(bundle.folder / graph.file))


def test_spellings_compute_the_same(bundle):
    floor = {"fp32": 110, "fp16": 60}[bundle.manifest.precision]
    for name in ATTENTION:
        recorded, outputs = bundle.golden(name), []
        for path in files(bundle, name):
            with foley_engines.open(path, engine="cpu", threads=1) as engine:
                session = engine.bind(**{key: recorded[key].shape for key in engine.inputs})
                for key in engine.inputs:
                    session[key].write(recorded[key])
                session.run()
                outputs.append(session[next(iter(engine.outputs))].read())
        assert len(outputs) == {"fp32": 2, "fp16": 3}[bundle.manifest.precision]
        assert all(snr_db(outputs[0], output) > floor for output in outputs[1:])


def test_spellings_share_one_weights_file(bundle):
    for name, graph in bundle.manifest.graphs.items():
        tables = [external(load(path)) for path in files(bundle, name)]
        assert all(table == tables[0] for table in tables)
        assert {file for file, _, _ in tables[0].values()} == {Path(graph.weights).name}


def test_each_weight_is_stored_once(bundle):
    for name, graph in bundle.manifest.graphs.items():
        places = {(offset, length) for _, offset, length in external(load(bundle.folder / graph.file)).values()}
        needed = sum(-(-length // ALIGNMENT) * ALIGNMENT for _, length in places)
        size = (bundle.folder / graph.weights).stat().st_size
        assert 0 < size <= needed, name
        content = (bundle.folder / graph.weights).read_bytes()
        assert len({content[offset : offset + length] for offset, length in places}) == len(places), name


def test_graphs_themselves_are_small_and_name_no_path_of_this_machine(bundle):
    for name in bundle.manifest.graphs:
        for path in files(bundle, name):
            content = path.read_bytes()
            assert len(content) < GRAPH_BYTES, path.name
            assert b"site-packages" not in content
            assert str(Path(__file__).parents[2]).encode() not in content


def test_half_weights_take_half_the_room(bundles):
    sizes = {
        precision: (bundles.bundle("no-adapter", precision) / "graphs" / "denoise_step.weights").stat().st_size
        for precision in ("fp32", "fp16")
    }
    assert sizes["fp16"] < 0.7 * sizes["fp32"]  # tiny tensors are padded to a page each


def test_axes_are_named_as_the_contract_names_them(bundle):
    for graph in bundle.manifest.graphs.values():
        model = load(bundle.folder / graph.file)
        for value, tensor in zip(
            [*model.graph.input, *model.graph.output], [*graph.inputs, *graph.outputs], strict=True
        ):
            axes = tuple(axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim)
            assert (value.name, axes) == (tensor.name, tensor.shape)
            expected = {"float32": np.float32, "int64": np.int64}[tensor.dtype]
            assert onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) == expected
