"""What the parser asks of a node's attributes and of inputs that it wants as constants, operator by operator."""

from collections.abc import Callable, Iterator
from typing import Final

from foley_export.preflight.findings import Finding
from foley_export.preflight.rules import constants, layers, resizing
from foley_export.preflight.rules.complaints import Complaint
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.table import TYPES

RULE: Final = "attribute"

Asks = Callable[[Node], Iterator[Complaint]]

ASKED: Final[dict[str, Asks]] = {**layers.ASKED, **constants.ASKED, **resizing.ASKED}
"""Operators of which the parser asks something beyond types."""

_PLAIN: Final = (
    "Abs Add And Cast CastLike Ceil Clip Concat ConstantOfShape Cos Div Elu Equal Erf Exp Expand Flatten Floor Gather "
    "GatherElements GatherND GlobalAveragePool Greater GreaterOrEqual HardSigmoid HardSwish Identity IsNaN LeakyRelu "
    "Less LessOrEqual Log LogSoftmax MatMul Max Min Mul Neg Not Or PRelu Reciprocal Relu Reshape Round Selu Shape "
    "Sigmoid Sign Sin Size Slice Softmax Softplus Sqrt Sub Sum Tan Tanh Tile Transpose Trilu Where"
)
PLAIN: Final[frozenset[str]] = frozenset(_PLAIN.split())
"""Operators of which it asks nothing that ONNX does not ask, in any opset from 13 on."""


def check(subject: Subject) -> Iterator[Finding]:
    """Find attributes and inputs that the parser refuses."""
    for node in subject.all_nodes():
        asks = ASKED.get(node.operator)
        if asks is not None and node.schema is not None:
            yield from (node.finding(RULE, complaint.message, complaint.severity) for complaint in asks(node))


def unchecked(subject: Subject) -> tuple[str, ...]:
    """Name the operators of a graph that are in TensorRT's table and that no rule here reads, sorted."""
    used = {node.operator for node in subject.all_nodes()}
    return tuple(sorted(used & set(TYPES) - set(ASKED) - PLAIN))
