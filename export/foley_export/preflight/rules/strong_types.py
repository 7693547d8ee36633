"""Strong typing: what is computed together is of one type, and float32 graphs compute in float32."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from onnx import TensorProto

from foley_export.preflight.findings import Finding
from foley_export.preflight.rules.types import worded
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.table import FLOATS

RULE: Final = "strong typing"
PRODUCTS: Final = frozenset({"MatMul", "Gemm", "Conv", "ConvTranspose", "Einsum", "Attention"})
TOGETHER: Final[dict[str, tuple[int, ...]]] = {"Pow": (0, 1), "Attention": (0, 1, 2), "RMSNormalization": (0, 1)}
"""Inputs that ONNX lets differ and one TensorRT layer computes on."""
NORMS: Final = frozenset({"LayerNormalization", "InstanceNormalization", "GroupNormalization"})
HALVES: Final = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
NORMS_AS_TYPED_FROM: Final = (11, 0)
"""From here on a network has no precision of its own for a normalisation's sums."""
MIXED: Final = frozenset({"BatchNormalization", "If", "Loop", "Scan"})
"""Operators that have rules of their own, or bodies."""


def check(subject: Subject) -> Iterator[Finding]:
    """Find operands of different types in one node, and float32 where half was meant."""
    for node in subject.nodes():
        yield from _mixed(node)
        yield from _half_norm(node)
    yield from _float32(subject)


def _mixed(node: Node) -> Iterator[Finding]:
    if node.operator in MIXED or node.schema is None:
        return
    for dtypes in _operand_types(node):
        if len(dtypes) > 1:
            names = " and ".join(sorted(worded(dtype) for dtype in dtypes))
            yield node.finding(RULE, f"computes on {names} together; put a Cast before it")


def _half_norm(node: Node) -> Iterator[Finding]:
    value = node.input(0)
    as_typed = node.operator in NORMS and node.subject.target.version >= NORMS_AS_TYPED_FROM
    if as_typed and value is not None and value.dtype in HALVES:
        message = "normalises half numbers, and TensorRT 11 in half too; cast to float32 around it"
        yield node.finding(RULE, message, "warning")


def _operand_types(node: Node) -> Iterator[set[int]]:
    """Give the types of each set of inputs that has to have one."""
    if node.operator in TOGETHER:
        values = [node.input(index) for index in TOGETHER[node.operator]]
        yield {value.dtype for value in values if value is not None and value.dtype in FLOATS}
        return
    formals = node.schema.inputs if node.schema is not None else []
    found: dict[str, set[int]] = defaultdict(set)
    for index, value in enumerate(node.inputs):
        if value is not None and value.dtype and formals:
            found[formals[min(index, len(formals) - 1)].type_str].add(value.dtype)
    yield from found.values()


def _float32(subject: Subject) -> Iterator[Finding]:
    products = [node for node in subject.nodes() if node.operator in PRODUCTS]
    wide = [node for node in products if is_float32(node)]
    if subject.record.precision == "fp32":
        if wide:
            message = f"{_share(wide, products)}, and an engine computes as typed; for speed: export --precision fp16"
            yield subject.finding("", RULE, message, "warning")
        return
    meant = set(subject.record.float32_nodes)
    stray = [node for node in wide if _reads_weights(node) and node.name not in meant]
    if stray:
        message = f"{_share(stray, products)} in a half graph, with weights, and the bundle does not say so"
        yield stray[0].finding(RULE, message, "warning")


def is_float32(node: Node) -> bool:
    """Say whether a node computes on float32."""
    value = node.input(0)
    return value is not None and value.dtype == TensorProto.FLOAT


def _reads_weights(node: Node) -> bool:
    return any(value is not None and value.origin != "data" for value in node.inputs)


def _share(some: list[Node], products: list[Node]) -> str:
    share = 100 * len(some) / len(products)
    return f"{len(some)} of {len(products)} matrix products and convolutions ({share:.0f} %) are float32"
