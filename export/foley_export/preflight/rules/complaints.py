"""What an operator's rule says, and questions that several of them put to a node."""

from collections.abc import Iterator
from dataclasses import dataclass

from foley_export.preflight.findings import Severity
from foley_export.preflight.subject import Node
from foley_export.preflight.target import Version, worded


@dataclass(frozen=True)
class Complaint:
    """Something that the parser will not take, or may not take."""

    message: str
    severity: Severity = "error"


def one_of(node: Node, attribute: str, default: str, taken: tuple[str, ...]) -> Iterator[Complaint]:
    """Ask that an attribute has one of some values."""
    value = node.attributes.get(attribute, default)
    if value not in taken:
        yield Complaint(f"{attribute} is {value!r}; the parser takes {', '.join(taken)}")


def zero(node: Node, *attributes: str) -> Iterator[Complaint]:
    """Ask that attributes are zero or left out."""
    for name in attributes:
        if node.attributes.get(name, 0):
            yield Complaint(f"{name} is {node.attributes[name]}; the parser takes 0 only")


def stored_input(node: Node, index: int, name: str, until: Version | None = None) -> Iterator[Complaint]:
    """Ask that an input is an initializer or a constant; from version `until` on it may be computed from such."""
    value = node.input(index)
    if value is None or value.origin == "stored":
        return
    if until is None or node.subject.target.version < until:
        later = f" below TensorRT {worded(until)}" if until else ""
        yield Complaint(f"{name} is computed; the parser wants an initializer{later}")
    elif value.origin == "data":
        yield Complaint(f"{name} depends on the graph's inputs; the parser wants what it can work out as a constant")


def ranks(node: Node, least: int, most: int, index: int = 0) -> Iterator[Complaint]:
    """Ask for an input's rank."""
    rank = node.rank(index)
    if rank is not None and not least <= rank <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        yield Complaint(f"works on {rank} axes; the parser takes {wanted}")


def first_output_only(node: Node) -> Iterator[Complaint]:
    """Ask that only a node's first output is used."""
    if any(node.proto.output[1:]):
        yield Complaint(f"{sum(map(bool, node.proto.output))} outputs are asked for; the parser gives the first only")
