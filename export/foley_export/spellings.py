"""One traced graph in every spelling over one weights file, and each spelling checked against torch."""

from collections import Counter
from pathlib import Path
from typing import Final

import onnx_ir as ir

import foley_engines
from foley.manifest import Graph, Precision
from foley.verify import GraphReport, compare
from foley_export.dialect import CONTRIB, attention_nodes, to_onnx_attention, to_standard_onnx
from foley_export.golden import Recording
from foley_export.precision.emulate import emulate, emulated
from foley_export.storage import WeightsFile, save_graph

OWN_SPELLINGS: Final[dict[Precision, tuple[str, ...]]] = {
    "fp32": ("cpu",),
    "fp16": ("cpu", "tensorrt"),
    "bf16": ("tensorrt",),
}
"""Precision → engines that get their own spelling of a graph with attention."""


REFERENCE: Final = "reference"
"""The spelling that a CPU can run for an engine to be compared with: of bfloat16, for which it has no arithmetic, the
emulation."""


def store_spellings(traced: ir.Model, precision: Precision, base: Path) -> dict[str, str]:
    """Write `base`.weights and the graph in every spelling beside it; give the file names of the engines' own.

    The model's large tensors lie in the file afterwards, and attention is spelt with standard operators.
    """
    with WeightsFile(base.with_suffix(".weights")) as weights:
        weights.store(traced)
    own = OWN_SPELLINGS[precision] if attention_nodes(traced) else ()
    engines = {engine: f"{base.name}.{engine}.onnx" for engine in own}
    for engine, file in engines.items():
        _save(traced, engine, base.with_name(file))
    if engines:
        to_standard_onnx(traced)
    save_graph(traced, base.with_suffix(".onnx"))
    if precision == "bf16":
        engines[REFERENCE] = f"{base.name}.{REFERENCE}.onnx"
        _save_emulation(base.with_suffix(".onnx"), base.with_name(engines[REFERENCE]))
    return engines


def _save_emulation(file: Path, place: Path) -> None:
    model = ir.load(file)
    emulate(model)
    save_graph(model, place)


def _save(traced: ir.Model, engine: str, path: Path) -> None:
    if engine == "cpu":
        save_graph(traced, path)
        return
    spelt = traced.clone()
    to_onnx_attention(spelt)
    save_graph(spelt, path)


def count_fused(graph: Graph, folder: Path) -> dict[str, dict[str, int]]:
    """Count the fused operators of each spelling that has any, by operator."""
    files = dict.fromkeys((graph.file, *graph.engines.values()))
    counts = {file: Counter(filter(None, map(_fused, ir.load(folder / file).graph))) for file in files}
    return {file: dict(found) for file, found in counts.items() if found}


def _fused(node: ir.Node) -> str | None:
    """Give the operator of a node that stands for several standard ones: ONNX Runtime's own, or `Attention`."""
    return node.op_type if node.domain == CONTRIB or (node.domain, node.op_type) == ("", "Attention") else None


def check_spellings(name: str, graph: Graph, folder: Path, recording: Recording) -> GraphReport:
    """Run every spelling on the recording; give the worst report.

    A half graph is also run as its emulation, which rounds what ONNX Runtime leaves unrounded on CPUs; of bfloat16, for
    which it has no arithmetic there, each spelling is run so and in no other way.
    """
    if graph.precision == "bf16":
        return _worst(_bf16_reports(name, graph, folder, recording))
    own = graph.engines.get("cpu", graph.file)
    others = [file for file in dict.fromkeys((*graph.engines.values(), graph.file)) if file != own]
    reports = [_report(name, graph, folder / own, recording, optimise=True)]
    reports += [_report(name, graph, folder / file, recording, optimise=False) for file in others]
    if graph.precision == "fp16":
        reports.append(_emulated_report(name, graph, folder / graph.file, recording))
    return _worst(reports)


def _bf16_reports(name: str, graph: Graph, folder: Path, recording: Recording) -> list[GraphReport]:
    reports = [_report(name, graph, folder / graph.engines[REFERENCE], recording, optimise=False)]
    others = [file for engine, file in graph.engines.items() if engine != REFERENCE]
    return reports + [_emulated_report(name, graph, folder / file, recording) for file in others]


def _worst(reports: list[GraphReport]) -> GraphReport:
    return min(reports, key=lambda report: report.snr_db)


def _report(name: str, graph: Graph, file: Path, recording: Recording, *, optimise: bool) -> GraphReport:
    with foley_engines.open(file, engine="cpu", optimise=optimise) as engine:
        return compare(name, graph, engine, recording)


def _emulated_report(name: str, graph: Graph, file: Path, recording: Recording) -> GraphReport:
    with emulated(file) as place:
        return _report(name, graph, place, recording, optimise=False)
