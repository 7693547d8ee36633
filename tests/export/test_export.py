"""An export that fails, at any point and in any way, leaves nothing; one that succeeds replaces only a bundle."""

import errno
import importlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from support.plan_records import keep

import foley
from foley.bundle import load_bundle
from foley.errors import CheckpointError, UsageError, VerificationError
from foley_engines.plans.store import PlanStore
from foley_export import export as export_module
from foley_export import spellings, storage
from foley_export.checkpoint import open_checkpoint
from foley_export.export import Options, export

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("quick_model")]

Export = Callable[..., object]


@pytest.fixture
def parent(tmp_path) -> Path:
    folder = tmp_path / "bundles"
    folder.mkdir()
    return folder


@pytest.fixture
def run(checkpoint, parent) -> Export:
    """Return what exports the no-adapter checkpoint to `parent / "bundle"`."""

    folder = checkpoint(layout="no-adapter")

    def run(**options):
        return export(open_checkpoint(str(folder)), parent / "bundle", Options(**options))

    return run


def disk_full(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def interrupted(*_, **__):
    raise KeyboardInterrupt


def nth_call(function, number, action):
    """Let a function through until its `number`-th call."""
    calls = iter(range(1, 1000))
    return lambda *given, **named: (action if next(calls) == number else function)(*given, **named)


POINTS = {
    "tokenizer": (Path, "write_text", 1),
    "first recording": (np, "savez_compressed", 1),
    "last recording": (np, "savez_compressed", 4),
    "first weights": (storage.WeightsFile, "_place", 1),
    "third weights": (storage.WeightsFile, "_place", 3),
    "first graph": (ir, "save", 1),
    "last graph": (ir, "save", 4),
    "tracing": (export_module, "trace", 2),
    "digests": (export_module, "record_files", 1),
    "manifest": (export_module, "write_manifest", 1),
    "rename": (Path, "rename", 1),
}


def break_at(monkeypatch, point, action):
    owner, name, number = POINTS[point]
    monkeypatch.setattr(owner, name, nth_call(getattr(owner, name), number, action))


@pytest.mark.parametrize("point", [point for point in POINTS if point != "tracing"])
def test_a_full_disk_leaves_nothing(monkeypatch, run, parent, point):
    break_at(monkeypatch, point, disk_full)
    with pytest.raises(UsageError) as caught:
        run()
    assert str(parent) in str(caught.value)
    assert "full" in str(caught.value)
    assert os.listdir(parent) == []


@pytest.mark.parametrize("point", ["tokenizer", "tracing", "third weights", "last graph", "manifest"])
def test_an_interrupt_leaves_nothing(monkeypatch, run, parent, point):
    break_at(monkeypatch, point, interrupted)
    with pytest.raises(KeyboardInterrupt):
        run()
    assert os.listdir(parent) == []


@pytest.mark.parametrize("point", ["third weights", "manifest"])
def test_a_failed_replacement_leaves_the_older_bundle(monkeypatch, run, parent, point):
    run()
    before = {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()}
    break_at(monkeypatch, point, disk_full)
    with pytest.raises(UsageError):
        run(replace=True)
    assert {path: path.read_bytes() for path in parent.rglob("*") if path.is_file()} == before


def test_a_graph_that_departs_from_torch_makes_no_bundle(monkeypatch, run, parent):
    """The weights are damaged on their way to the disk, behind the recording."""
    place = storage.WeightsFile._place

    def damaged(self, tensor):
        return place(self, ir.tensor(tensor.numpy() * 1.01, name=tensor.name))

    monkeypatch.setattr(storage.WeightsFile, "_place", damaged)
    with pytest.raises(VerificationError) as caught:
        run()
    for word in ("text_encoder", "40.0 dB", "floor of fp32 is 80 dB", "no bundle was written"):
        assert word in str(caught.value)
    assert os.listdir(parent) == []


@pytest.mark.parametrize(("precision", "runs"), [("fp32", 2), ("fp16", 4), ("bf16", 2)])
def test_every_spelling_is_checked(monkeypatch, run, precision, runs):
    """Each spelling is compared with torch before the bundle appears, not only the one that this machine runs."""
    compare, checked = spellings.compare, []

    def seen(name, graph, engine, recording, **named):
        checked.append(name)
        return compare(name, graph, engine, recording, **named)

    monkeypatch.setattr(spellings, "compare", seen)
    monkeypatch.setattr(spellings, "attention_nodes", lambda _: [1])
    monkeypatch.setattr(spellings, "to_standard_onnx", lambda _: 1)
    run(precision=precision)
    assert checked.count("denoise_step") == runs


def test_an_existing_bundle_stays_without_force(run, parent):
    run()
    stamp = (parent / "bundle" / "bundle.json").stat().st_mtime_ns
    with pytest.raises(UsageError, match="exists; choose another folder with -o, or replace the bundle with --force"):
        run()
    assert (parent / "bundle" / "bundle.json").stat().st_mtime_ns == stamp
    run(replace=True)
    assert (parent / "bundle" / "bundle.json").stat().st_mtime_ns != stamp
    assert os.listdir(parent) == ["bundle"]


def test_force_keeps_the_plans_that_take_other_weights(run, parent, checkpoint):
    run()
    plans = parent / "bundle" / "engines" / "tensorrt"
    record = keep(PlanStore(plans), "yes")
    keep(PlanStore(plans), "no")
    told = []
    place = open_checkpoint(str(checkpoint(layout="no-adapter")))
    export(place, parent / "bundle", Options(replace=True), lambda *words: told.append(words))
    assert PlanStore(plans).records("denoise_step") == [record]
    assert PlanStore(plans).holds(record)
    assert ("tensorrt", "keeping 1 refittable plan of the older bundle") in told
    assert load_bundle(parent / "bundle").manifest.files.keys().isdisjoint({f"engines/tensorrt/{record.plan}"})


def test_force_replaces_no_folder_of_another_kind(run, parent):
    (parent / "bundle").mkdir()
    (parent / "bundle" / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match="--force does not replace it"):
        run(replace=True)
    assert (parent / "bundle" / "thesis.tex").read_text() == "years of work"


def test_an_unreadable_checkpoint_makes_no_folder(own, tmp_path):
    folder = own(layout="no-adapter")
    (folder / "vocoder" / "vocoder.pt").unlink()
    with pytest.raises(CheckpointError):
        export(open_checkpoint(str(folder)), tmp_path / "out" / "bundle", Options())
    assert not (tmp_path / "out").exists()


def test_what_is_told_on_the_way(checkpoint, parent):
    told = []
    place = open_checkpoint(str(checkpoint(layout="no-adapter")))
    export(place, parent / "bundle", Options(), lambda graph, doing: told.append((graph, doing)))
    assert [*dict.fromkeys(graph for graph, _ in told)] == [
        "tokenizer",
        "text_encoder",
        "denoise_step",
        "latent_decoder",
        "vocoder",
        "bundle",
    ]
    assert ("denoise_step", "tracing") in told


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_precision_of_the_manifest_is_that_of_the_graphs(run, parent, precision):
    manifest = run(precision=precision)
    graphs = manifest.graphs.values()
    assert manifest.precision == precision
    assert {(graph.precision, graph.weights_precision, graph.float32_nodes) for graph in graphs} == {
        (precision, precision, ())
    }
    files = 8 if precision == "bf16" else 4  # with what a CPU computes to hold engines to
    suffixes = [".json"] * 2 + [".onnx"] * files + [".weights"] * 4  # where a LoRA finds layers of U-Net and encoder
    assert sorted(path.suffix for path in (parent / "bundle/graphs").iterdir()) == suffixes


def test_a_graph_below_its_floor_stays_float32(monkeypatch, run, checkpoint, parent):
    """What half spoils is known only when it has run: that graph alone stays, which is told, and leaves no spelling."""
    usual = {name: graph.snr_db for name, graph in run(precision="fp16").graphs.items()}
    least, *_ = sorted(usual, key=usual.__getitem__)
    floors = {"fp32": 80.0, "fp16": usual[least] + 0.1, "bf16": 20.0}
    verifying = importlib.import_module("foley.verify")  # foley.verify is the function
    monkeypatch.setattr(verifying, "SNR_FLOOR_DB", floors)
    told = []
    place = open_checkpoint(str(checkpoint(layout="no-adapter")))
    options = Options(precision="fp16", replace=True)
    manifest = export(place, parent / "bundle", options, lambda *doing: told.append(doing))
    precisions = {name: graph.precision for name, graph in manifest.graphs.items()}
    assert precisions == {name: "fp32" if name == least else "fp16" for name in usual}
    assert manifest.graphs[least].weights_precision == "fp32"
    assert manifest.graphs[least].snr_db > 80
    (why,) = [doing for name, doing in told if name == least and "as a whole" in doing]
    assert f"stays float32 as a whole: ONNX Runtime gives {usual[least]:.1f} dB against torch" in why
    assert all(report.passed for report in foley.verify(load_bundle(parent / "bundle"), threads=1))


def test_what_measuring_keeps_is_recorded_and_told(monkeypatch, checkpoint, parent):
    """The vocoder's second product is some thousands, its first some hundreds."""
    monkeypatch.setattr("foley_export.precision.fit.RANGE_MARGIN", 25.0)
    told = []
    place = open_checkpoint(str(checkpoint(layout="no-adapter")))
    manifest = export(place, parent / "bundle", Options(precision="fp16"), lambda *doing: told.append(doing))
    (kept,) = load_bundle(parent / "bundle").graph("vocoder").float32_nodes
    assert kept in [node.name for node in ir.load(parent / "bundle/graphs/vocoder.onnx").graph]
    assert ("vocoder", "1 of 4 nodes stay in float32 (range 1)") in told
    assert manifest.graphs["text_encoder"].float32_nodes == ()


def test_source_is_the_checkpoints_content(own, run, tmp_path):
    first = run().source
    assert first.revision is None
    folder = own(layout="no-adapter")
    again = export(open_checkpoint(str(folder)), tmp_path / "same", Options()).source
    assert again.sha256 == run(replace=True).source.sha256
    place = folder / "unet" / "config.json"
    place.write_text(place.read_text().replace('"decay": 0.9999', '"decay": 0.9998'))
    changed = export(open_checkpoint(str(folder)), tmp_path / "changed", Options()).source
    assert changed.sha256 != again.sha256


def test_a_bundle_has_the_mode_of_any_new_folder(run, parent):
    run()
    (parent / "plain").mkdir()
    assert (parent / "bundle").stat().st_mode == (parent / "plain").stat().st_mode
    assert load_bundle(parent / "bundle").manifest.created_by.keys() >= {"torch", "onnxruntime"}
