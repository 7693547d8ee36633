"""One module a kind of rule; each gives the findings of one graph."""

from collections.abc import Callable, Iterator
from typing import Final

from foley_export.preflight.findings import Finding
from foley_export.preflight.rules import attributes, operators, shapes, strong_types, types, weights
from foley_export.preflight.subject import Subject

Rule = Callable[[Subject], Iterator[Finding]]

RULES: Final[tuple[Rule, ...]] = (
    operators.check,
    types.check,
    attributes.check,
    shapes.check,
    strong_types.check,
    weights.check,
)
