"""Whole bundles: those that Foley makes pass, and their operators are known to the rules."""

import shutil
from pathlib import Path

import onnx
import pytest
from support.bundles import edit_manifest, record_again

from foley.build_profiles import wishes
from foley.demo_bundle import demo_bundle
from foley.errors import BundleError
from foley_export.preflight.check import check_bundle, read_bundle
from foley_export.preflight.rules.attributes import ASKED, PLAIN
from foley_export.preflight.table import REFUSED, SINCE, TYPES
from foley_export.preflight.target import parse_target

VERSIONS = ("10.3", "10.14", "11.4")


def checked(folder: Path, version: str = "11.4", slots: str = "1", seconds: str | None = None):
    bundle = read_bundle(folder)
    return check_bundle(bundle, parse_target(f"tensorrt:{version}"), wishes(bundle.manifest, slots, seconds))


@pytest.mark.parametrize("version", VERSIONS)
def test_the_demo_passes(version):
    done = checked(demo_bundle(), version, "1,1..4")
    assert done.passed, [report.findings for report in done.graphs]
    assert [report.figures.untyped_tensors for report in done.graphs] == [0, 0, 0, 0]
    assert [report.figures.unchecked_operators for report in done.graphs] == [(), (), (), ()]
    assert {found.rule for report in done.graphs for found in report.findings} <= {"strong typing", "attribute"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_mini_bundle_passes(version, mini_bundle):
    done = checked(mini_bundle, version, "1,1..4", "0.64,0.32..1.28")
    assert done.passed, [report.findings for report in done.graphs]
    assert [report.figures.untyped_tensors for report in done.graphs] == [0, 0, 0, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("layout", "precision"), [("adapter", "fp16"), ("no-adapter", "fp32")])
def test_every_operator_that_the_exporter_writes_is_known(bundles, layout, precision):
    for version in ("10.3", "11.4"):
        done = checked(bundles.bundle(layout, precision), version, "1,4", "10.24")
        assert done.passed, [report.findings for report in done.graphs]
        assert [report.figures.unchecked_operators for report in done.graphs] == [()] * len(done.graphs)


def test_the_tables_agree_with_each_other():
    assert set(ASKED) & PLAIN == set()
    assert set(ASKED) | PLAIN <= set(TYPES)
    assert set(SINCE) <= set(TYPES)
    assert REFUSED & set(TYPES) == set()


def test_every_operator_of_the_table_is_one_of_onnx():
    older = {"ImageScaler", "ParametricSoftplus", "ScaledTanh", "Scatter", "Upsample"}
    assert {name for name in TYPES if not onnx.defs.has(name)} <= older


def respelt(folder: Path, name: str, change) -> None:
    """Change a graph's file in a copied bundle."""
    file = folder / f"graphs/{name}.onnx"
    model = onnx.load(file, load_external_data=False)
    change(model.graph)
    file.write_bytes(model.SerializeToString())
    record_again(folder)


def test_a_bad_graph_is_named(bundle_copy):
    respelt(bundle_copy, "vocoder", lambda graph: setattr(graph.node[-1], "op_type", "Det"))
    done = checked(bundle_copy)
    assert [report.graph for report in done.graphs if report.of("error")] == ["vocoder"]
    [found, *_] = done.graphs[-1].of("error")
    assert (found.operator, found.rule) == ("Det", "operator")


@pytest.mark.parametrize(("version", "operator"), [("10.13", "Reciprocal"), ("10.14", "Tanh")])
def test_the_spelling_for_tensorrt_is_taken_where_it_parses(bundle_copy, version, operator):
    shutil.copy(bundle_copy / "graphs/vocoder.onnx", bundle_copy / "graphs/vocoder.tensorrt.onnx")
    respelt(bundle_copy, "vocoder", lambda graph: setattr(graph.node[-1], "op_type", "Reciprocal"))
    own = "graphs/vocoder.tensorrt.onnx"

    def name(manifest):
        manifest["graphs"]["vocoder"]["engines"] = {"tensorrt": own}
        manifest["files"][own] = manifest["files"]["graphs/vocoder.onnx"]

    edit_manifest(bundle_copy, name)
    report = checked(bundle_copy, version).graphs[-1]
    assert report.file == (own if operator == "Tanh" else "graphs/vocoder.onnx")


def test_a_bundle_without_weights(bundle_copy):
    (bundle_copy / "graphs/vocoder.weights").unlink()
    done = checked(bundle_copy)
    [found] = [found for report in done.graphs for found in report.of("error")]
    assert (found.graph, found.node, found.rule) == ("vocoder", "carrier", "weights")


@pytest.mark.parametrize("damage", [Path.unlink, lambda file: file.write_bytes(b"\xff\xff no graph")])
def test_a_graph_that_cannot_be_read(bundle_copy, damage):
    damage(bundle_copy / "graphs/vocoder.onnx")
    with pytest.raises(BundleError, match=r"vocoder\.onnx"):
        checked(bundle_copy)


def test_memory_is_weights_and_the_largest_node(mini_bundle):
    done = checked(mini_bundle, seconds="0.64")
    vocoder = done.graphs[-1].figures
    assert vocoder.weight_bytes == 160 * 4
    assert vocoder.activation_bytes == 2 * 64 * 160 * 4  # 64 frames of 160 samples, read and written
    assert done.memory_bytes == sum(report.figures.weight_bytes for report in done.graphs) + vocoder.activation_bytes


def test_functions_of_a_model_are_written_out(bundle_copy):
    text = """<ir_version: 10, opset_import: ["" : 17, "own" : 1]>
    vocoder (float[B,8,T] mel) => (float[B,8,T] waveform) { waveform = own.twice (mel) }
    <domain: "own", opset_import: ["" : 17]> twice (x) => (y) { z = Det (x) y = Add (z, z) }"""
    (bundle_copy / "graphs/vocoder.onnx").write_bytes(onnx.parser.parse_model(text).SerializeToString())
    assert "Det" in {found.operator for found in checked(bundle_copy).graphs[-1].of("error")}
