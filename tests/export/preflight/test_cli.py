"""`foley check` as a person meets it."""

import json
import os
import re

import onnx
import pytest
from support.bundles import record_again
from support.commands import ROOT, run_python

pytestmark = pytest.mark.usefixtures("_registered")


@pytest.fixture
def bad_bundle(bundle_copy):
    file = bundle_copy / "graphs/vocoder.onnx"
    model = onnx.load(file, load_external_data=False)
    model.graph.node[-1].op_type = "Det"
    file.write_bytes(model.SerializeToString())
    record_again(bundle_copy)
    return bundle_copy


def test_a_bundle_that_passes(command, mini_bundle):
    done = command("check", mini_bundle, "--target", "tensorrt:10.3")
    assert (done.code, done.err) == (0, "")
    *graphs, memory, basis = done.out.splitlines()
    assert re.fullmatch(r"denoise_step +42 nodes, 14 operators: will parse, 1 warning", graphs[1]), graphs
    assert memory.startswith("TensorRT 10.3, 1 slot, ")
    assert "10.1 and 10.15" in basis
    assert "nothing was run" in basis


def test_the_newest_version_by_default(command, mini_bundle):
    done = command("check", mini_bundle)
    assert "TensorRT 11.4 changed after 10.15 only its notes are known" in done.out


def test_the_demo_where_no_bundle_is_named(command):
    done = command("check", "--target", "tensorrt:10.3")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("text_encoder    113 nodes, 16 operators: will parse")


def test_a_graph_that_will_not_parse(command, bad_bundle):
    done = command("check", bad_bundle)
    assert done.code == 1
    assert done.err.startswith("foley: TensorRT 11.4 will not take vocoder")
    assert done.err.count("\n") == 1
    assert re.search(r"vocoder +7 nodes, 6 operators: will not parse or build, \d errors?\n +error +Det: ", done.out)


def test_json(command, bad_bundle):
    done = command("check", bad_bundle, "--json", "--memory", "0")
    assert done.code == 1
    told = json.loads(done.out)
    assert (told["target"], told["passed"], told["fits_memory"]) == ("TensorRT 11.4", False, False)
    [vocoder] = [graph for graph in told["graphs"] if graph["graph"] == "vocoder"]
    assert vocoder["findings"][0]["operator"] == "Det"
    assert vocoder["figures"]["nodes"] == 7


def test_what_is_not_known_is_not_promised(command, bundle_copy):
    file = bundle_copy / "graphs/text_encoder.onnx"
    model = onnx.load(file, load_external_data=False)
    model.opset_import[0].version = 21
    file.write_bytes(model.SerializeToString())
    record_again(bundle_copy)
    done = command("check", bundle_copy, "--target", "tensorrt:10.3")
    assert done.code == 0
    assert re.search(r"text_encoder .*: may parse, 1 warning\n +warning +opset: ", done.out)


def test_equal_findings_are_counted(command, bundle_copy):
    file = bundle_copy / "graphs/denoise_step.onnx"
    model = onnx.load(file, load_external_data=False)
    for node in model.graph.node:
        node.op_type = node.op_type.replace("Mul", "Det") if node.op_type == "Mul" else node.op_type
    file.write_bytes(model.SerializeToString())
    record_again(bundle_copy)
    assert re.search(r"error +5 × Det: the parser's table refuses it \(first at ", command("check", bundle_copy).out)


def test_memory(command, mini_bundle):
    assert "warning: " not in command("check", mini_bundle, "--memory", "1").out
    assert "more than the 1e-06 GiB of --memory" in command("check", mini_bundle, "--memory", "0.000001").out


@pytest.mark.parametrize("target", ["onnxruntime", "tensorrt:", "tensorrt:9.3", "tensorrt:10.2", "tensorrt:10.17",
                                    "tensorrt:11.5", "tensorrt:12.0", "tensorrt:new", "tensorrt:10"])  # fmt: skip
def test_unknown_targets(command, mini_bundle, target):
    command("check", mini_bundle, "--target", target).refused(f"--target {target}")


@pytest.mark.parametrize("version", ["10.3", "10.16.0.72", "11.0", "11.2.1", "11.4", "11.4.1"])
def test_known_targets(command, mini_bundle, version):
    assert command("check", mini_bundle, "--target", f"tensorrt:{version}").code == 0


def test_no_bundle(command, tmp_path):
    command("check", tmp_path).refused("bundle.json")
    command("check", tmp_path / "none").refused("no folder")


def test_a_bundle_without_weights(command, bundle_copy):
    (bundle_copy / "graphs/vocoder.weights").unlink()
    done = command("check", bundle_copy)
    assert done.code == 1
    assert "its weights file vocoder.weights is missing" in done.out


def test_without_onnx(command, mini_bundle, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    command("check", mini_bundle).refused("onnx", "'.[check]'")


LOADED = """
import sys
sys.path[:0] = sys.argv[1].split(":")
from foley.cli import cli
from foley_export.preflight.cli import check
cli.add_command(check)
try:
    cli.main(["check", "--target", "tensorrt"], standalone_mode=False)
finally:
    heavy = {"torch", "diffusers", "transformers", "onnxruntime", "onnxscript", "onnx_ir", "scipy"}
    print(sorted(heavy & set(sys.modules)))
"""


def test_it_loads_no_torch_and_no_engine():
    done = run_python("-c", LOADED, os.pathsep.join([str(ROOT / "export")]))
    assert done.code == 0, done.err
    assert done.out.splitlines()[-1] == "[]"


def test_the_command_is_an_entry_point():
    assert 'check = "foley_export.preflight.cli:check"' in (ROOT / "pyproject.toml").read_text()


def test_the_readme_names_every_option(command):
    told = (ROOT / "README.md").read_text()
    [row] = [line for line in told.splitlines() if line.startswith("| `foley check")]
    options = set(re.findall(r"--[a-z]+", command("check", "--help").out)) - {"--help"}
    assert {option for option in options if option not in row} == set()
