"""Graphs in ONNX's text form, checked by every rule as a bundle's graph would be."""

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import parser

from foley.cli import cli
from foley.manifest import Graph
from foley_engines.profiles import Sizes
from foley_export.preflight.cli import check as check_command
from foley_export.preflight.findings import Finding
from foley_export.preflight.rules import RULES
from foley_export.preflight.subject import Subject
from foley_export.preflight.target import parse_target

Check = Callable[..., list[Finding]]


def model_of(text: str, opset: int = 20) -> onnx.ModelProto:
    """Parse a graph; its nodes are called after their first outputs, `y` as `node y`."""
    model = parser.parse_model(f'<ir_version: 10, opset_import: ["" : {opset}, "com.microsoft" : 1]>\ngraph {text}')
    for node in model.graph.node:
        node.name = f"node {node.output[0]}"
    return model


@pytest.fixture
def findings(tmp_path: Path) -> Check:
    """Return what finds a text's or a model's problems, notes of severity info apart."""

    def found(
        graph: str | onnx.ModelProto,
        version: str = "10.3",
        opset: int = 20,
        precision: str = "fp32",
        wide: tuple[str, ...] = (),
        **sizes: Sizes,
    ) -> list[Finding]:
        model = model_of(graph, opset) if isinstance(graph, str) else graph
        file = tmp_path / "graph.onnx"
        file.write_bytes(model.SerializeToString())
        record = Graph(
            file="graph.onnx", weights="graph.weights", precision=precision, inputs=(), outputs=(),
            golden="golden.npz", snr_db=0.0, float32_nodes=wide,
        )  # fmt: skip
        target = parse_target(f"tensorrt:{version}")
        subject = Subject("graph", file, model, record, target, sizes)
        return [finding for rule in RULES for finding in rule(subject)]

    return found


@pytest.fixture
def errors(findings: Check) -> Check:
    """Return what finds a graph's errors."""
    return lambda *graph, **options: [found for found in findings(*graph, **options) if found.severity == "error"]


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Add the command as its entry point does where foley is installed."""
    monkeypatch.setitem(cli.commands, "check", check_command)
