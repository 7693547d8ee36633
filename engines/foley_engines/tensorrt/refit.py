"""Weights put into an engine after its build."""

from pathlib import Path
from typing import Any

from foley_engines.errors import EngineError
from foley_engines.tensorrt.library import made, reason


def put_weights(trt: Any, engine: Any, graph: Path, logger: Any) -> None:  # noqa: ANN401
    """Refit an engine with the weights that a graph's file and its weights file hold.

    Raises:
        EngineError: the engine does not take them; it may hold some of them and must not be used.
    """
    refitter = made(trt.Refitter, logger, engine)
    parser_refitter = trt.OnnxParserRefitter(refitter, logger)
    if not parser_refitter.refit_from_file(str(graph)):
        raise EngineError(f"the weights of {graph.name} do not fit the plan: {_refusal(parser_refitter, logger)}")
    if not refitter.refit_cuda_engine():
        missing = ", ".join(refitter.get_missing_weights()[:3])
        lacks = f"it lacks {missing}; " if missing else ""
        raise EngineError(f"the weights of {graph.name} could not be put into the plan: {lacks}{reason(logger)}")


def _refusal(parser_refitter: Any, logger: Any) -> str:  # noqa: ANN401
    if not parser_refitter.num_errors:
        return reason(logger)
    return " ".join(str(parser_refitter.get_error(0).desc()).split())
