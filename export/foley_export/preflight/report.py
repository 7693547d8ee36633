"""A preflight in words and as JSON."""

import json
from dataclasses import asdict
from typing import Final

from foley_export.preflight.check import Preflight
from foley_export.preflight.findings import GraphReport, Group, grouped

GIB: Final = 1 << 30
MIB: Final = 1 << 20
UNCHECKED: Final = "operators that TensorRT knows and whose attributes are not checked here"

UNKNOWNS: Final = ("operator", "opset", "type", "shape", "attribute")
"""Rules whose warnings say that something is not known."""


def lines(preflight: Preflight, memory_gib: float | None) -> list[str]:
    """Word a preflight: a line a graph with what was found below it, memory, and what the answer rests on."""
    width = max(len(report.graph) for report in preflight.graphs)
    return [
        *(line for report in preflight.graphs for line in _graph(report, width)),
        f"{preflight.target}, {' · '.join(wish.words for wish in preflight.wishes)}; {_memory(preflight)}",
        *_memory_warning(preflight, memory_gib),
        f"This {preflight.target.basis()} here.",
    ]


def as_json(preflight: Preflight, memory_gib: float | None) -> str:
    """Give everything that was found as one JSON object."""
    target = preflight.target
    return json.dumps(
        {
            "target": str(target),
            "passed": preflight.passed,
            "basis": target.basis(),
            "profiles": [wish.words for wish in preflight.wishes],
            "memory_bytes": preflight.memory_bytes,
            "fits_memory": None if memory_gib is None else preflight.memory_bytes <= memory_gib * GIB,
            "graphs": [asdict(report) for report in preflight.graphs],
        },
        indent=2,
    )


def _graph(report: GraphReport, width: int) -> list[str]:
    figures = report.figures
    counted = f"{figures.nodes} nodes, {figures.operators} operators"
    return [
        f"{report.graph:<{width}}  {counted}: {_verdict(report)}",
        *(f"  {_group(group)}" for group in grouped(report.findings)),
        *([f"  info     {UNCHECKED}: {', '.join(figures.unchecked_operators)}"] if figures.unchecked_operators else []),
    ]


def _verdict(report: GraphReport) -> str:
    errors, warnings = len(report.of("error")), len(report.of("warning"))
    if errors:
        return f"will not parse or build, {_count(errors, 'error')}"
    known = "may parse" if any(found.rule in UNKNOWNS for found in report.of("warning")) else "will parse"
    return f"{known}, {_count(warnings, 'warning')}" if warnings else known


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _group(group: Group) -> str:
    found = group.first
    times = f"{group.count} × " if group.count > 1 else ""
    subject = f"{times}{found.operator or found.rule}"
    place = f" ({'first at ' if group.count > 1 else ''}{found.node})" if found.node else ""
    return f"{found.severity:<8} {subject}: {found.message}{place}"


def _memory(preflight: Preflight) -> str:
    weights = sum(report.figures.weight_bytes for report in preflight.graphs)
    return (
        f"about {_size(preflight.memory_bytes)} of device memory: {_size(weights)} of weights, and what the largest "
        "single node reads and writes; workspaces come on top"
    )


def _size(count: float) -> str:
    return f"{count / GIB:.1f} GiB" if count >= GIB else f"{count / MIB:.1f} MiB"


def _memory_warning(preflight: Preflight, memory_gib: float | None) -> list[str]:
    if memory_gib is None or preflight.memory_bytes <= memory_gib * GIB:
        return []
    needed = _size(preflight.memory_bytes)
    return [
        f"warning: {needed} is more than the {memory_gib:g} GiB of --memory; ask for fewer slots or seconds, or fp16"
    ]
