"""Every operator against the table, and the opset against what the parser takes."""

from collections.abc import Iterator
from typing import Final

from foley_export.preflight.findings import Finding, Severity
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.table import OLDEST_OPSET, REFUSED, SINCE, TYPES, opset_limits
from foley_export.preflight.target import TABLES, worded
from foley_export.preflight.values import ONNX_DOMAINS

RULE: Final = "operator"
OPSET: Final = "opset"


def check(subject: Subject) -> Iterator[Finding]:
    """Find operators that the parser does not know, bodies included, and an opset that it does not take."""
    yield from _opset(subject)
    for node in subject.all_nodes():
        problem = _problem(node)
        if problem is not None:
            yield node.finding(RULE, *problem)


def _opset(subject: Subject) -> Iterator[Finding]:
    taken, limit = opset_limits(subject.target.version)
    if OLDEST_OPSET <= subject.opset <= taken:
        return
    expected = f"opset {subject.opset}, {subject.target} takes {OLDEST_OPSET} to {taken}"
    if subject.opset < OLDEST_OPSET or (limit is not None and subject.opset > limit):
        yield subject.finding("", OPSET, f"{expected}; export the bundle again")
    else:
        yield subject.finding("", OPSET, f"{expected} for certain; more is not known here", "warning")


def _problem(node: Node) -> tuple[str, Severity] | None:
    if node.proto.domain not in ONNX_DOMAINS:
        return _foreign(node), "error"
    if node.operator in SINCE and node.subject.target.version < SINCE[node.operator]:
        came, target = worded(SINCE[node.operator]), node.subject.target
        return f"came to the parser with TensorRT {came}, the target is {target}", "error"
    if node.operator in REFUSED:
        return "the parser's table refuses it", "error"
    if node.operator not in TYPES:
        return _unknown(node)
    if node.schema is None:
        return f"is not in opset {node.subject.opset}, which the graph imports", "error"
    return None


def _foreign(node: Node) -> str:
    domain = node.proto.domain
    taken = "takes it for ONNX's operator of that name" if node.operator in TYPES else "looks for a plugin of that name"
    owner = "ONNX Runtime's own" if domain.startswith("com.microsoft") else "not ONNX's"
    return f"is of the domain {domain}, {owner}; the parser {taken}; respell it in ONNX's operators"


def _unknown(node: Node) -> tuple[str, Severity]:
    newest = worded(TABLES[-1])
    if node.subject.target.beyond_tables and node.schema is not None:
        return f"unknown for {node.subject.target}: not in the newest table read, {newest}", "warning"
    return f"is not in the parser's table (read up to {newest})", "error"
