"""What a preflight says of a graph: findings, all of one form, and figures."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning", "info"]
ORDER: Final[tuple[Severity, ...]] = ("error", "warning", "info")


@dataclass(frozen=True)
class Finding:
    """One thing that a rule says of one node."""

    graph: str
    node: str
    """The node's name, or the tensor's where none is at fault; empty for the whole graph."""
    operator: str
    rule: str
    message: str
    """Names no tensor, so that equal findings can be counted."""
    severity: Severity = "error"


@dataclass(frozen=True)
class Group:
    """Findings that differ in their node only."""

    first: Finding
    count: int


@dataclass(frozen=True)
class Figures:
    """What a graph measures, at the largest sizes of all profiles."""

    nodes: int
    operators: int
    """Different ones."""
    opset: int
    unchecked_operators: tuple[str, ...]
    """Operators that TensorRT knows, and whose attributes no rule here reads."""
    untyped_tensors: int
    """Tensors whose type or rank could not be inferred, so that rules passed over them."""
    products: int
    """Matrix products, convolutions and attentions."""
    float32_products: int
    weight_bytes: int
    """As the engine computes with them: half weights that the graph widens count as float32."""
    activation_bytes: int
    """The largest sum of what one node reads and writes, weights apart."""


@dataclass(frozen=True)
class GraphReport:
    """A graph's findings and figures."""

    graph: str
    file: str
    """The spelling that was checked, relative to the bundle."""
    findings: tuple[Finding, ...]
    figures: Figures

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Give the findings of a severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)


def grouped(findings: Iterable[Finding]) -> list[Group]:
    """Count equal findings, errors first, otherwise in order of appearance."""
    groups: dict[tuple[str, str, str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda found: ORDER.index(found.severity)):
        key = (finding.severity, finding.rule, finding.operator, finding.message)
        groups.setdefault(key, []).append(finding)
    return [Group(members[0], len(members)) for members in groups.values()]
