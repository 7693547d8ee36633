"""Which provider runs which operators of a graph, as ONNX Runtime tells when it has loaded it."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from foley_engines.errors import EngineError

RECORD: Final = "session.record_ep_graph_assignment_info"
"""The entry of a session's options with which ONNX Runtime remembers it; older releases pass it over."""
HEAVY: Final = frozenset(
    ("Attention", "Conv", "ConvTranspose", "Gemm", "GroupNorm", "GroupNormalization", "InstanceNormalization",
     "LayerNormalization", "MatMul", "MultiHeadAttention", "Resize", "Softmax")
)  # fmt: skip
"""Operators that take the time: none of them may be left to another provider. What computes shapes may."""

Operators = Mapping[str, Counter[str]]
"""Provider → how many nodes of each operator it runs."""


def check_provider(graph: Path, session: Any, provider: str) -> None:  # noqa: ANN401
    """Compare the provider that a session has first with the one that was asked for.

    Raises:
        EngineError: it is another.
    """
    providers = session.get_providers()
    if providers[:1] != [provider]:
        raise EngineError(f"{graph.name}: asked for {provider}, onnxruntime took {', '.join(providers) or 'none'}")


def operators_of(session: Any) -> Operators | None:  # noqa: ANN401
    """Count what each provider runs; None where onnxruntime does not tell."""
    if not hasattr(session, "get_provider_graph_assignment_info"):
        return None
    found: dict[str, Counter[str]] = {}
    for part in session.get_provider_graph_assignment_info():
        found.setdefault(part.ep_name, Counter()).update(node.op_type for node in part.get_nodes())
    return found


def check_nothing_left(graph: Path, operators: Operators, provider: str) -> None:
    """Refuse a graph of which another provider runs what takes time.

    Raises:
        EngineError: so it is.
    """
    others = (counts for name, counts in operators.items() if name != provider)
    left = Counter({kind: number for kind, number in sum(others, Counter[str]()).items() if kind in HEAVY})
    if left:
        words = ", ".join(f"{number} × {kind}" for kind, number in left.most_common())
        raise EngineError(f"{graph.name}: onnxruntime leaves {words} to the CPU; export the bundle again")


def check_fused(graph: Path, operators: Operators, provider: str, fused: Mapping[str, int]) -> None:
    """Compare the fused operators that a provider runs with those that the graph was written with.

    A fused operator without a kernel is taken apart where ONNX gives its parts, or goes to another provider.

    Raises:
        EngineError: there are fewer.
    """
    runs = operators.get(provider, Counter())
    for kind, expected in fused.items():
        if runs[kind] < expected:
            raise EngineError(
                f"{graph.name}: {provider} runs {runs[kind]} × {kind}, expected {expected}: this onnxruntime has no "
                "kernel for the others; update it, or export the bundle with another --precision"
            )
