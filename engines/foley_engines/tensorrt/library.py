"""NVIDIA's TensorRT library: found, of a version that is known, and with the words of its log kept."""

import re
from functools import cache
from typing import Any, Final

from foley_engines.cuda.driver import without_driver
from foley_engines.errors import EngineError, EngineUnavailableError

INSTALL: Final = "pip install 'tensorrt>=10.3' 'cuda-python>=12.6' filelock"
OLDEST: Final = (10, 3)
ATTENTION_SINCE: Final = (10, 14)
"""The first version whose ONNX parser takes the operator `Attention`."""
KEPT_WORDS: Final = 20


@cache
def import_library() -> Any:  # noqa: ANN401 — the library has no types
    """Import TensorRT.

    Raises:
        EngineUnavailableError: it is not installed, does not load, or is older than 10.3.
    """
    try:
        import tensorrt as trt
    except (ImportError, OSError) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "tensorrt":
            words = f"engine 'tensorrt' needs NVIDIA's TensorRT: {INSTALL}{without_driver()}"
            raise EngineUnavailableError(words) from error
        words = " ".join(str(error).split())
        raise EngineUnavailableError(f"TensorRT does not load: {words}; reinstall it: {INSTALL}") from error
    if version_of(trt)[:2] < OLDEST:
        raise EngineUnavailableError(f"TensorRT {trt.__version__} is here, expected 10.3 or newer: {INSTALL}")
    return trt


def version_of(trt: Any) -> tuple[int, ...]:  # noqa: ANN401
    """Give the library's version as numbers; "10.16.0.72.post1" ends before its words."""
    found = re.match(r"\d+(\.\d+)*", trt.__version__)
    return tuple(int(part) for part in found[0].split(".")) if found else ()


def takes_attention(trt: Any) -> bool:  # noqa: ANN401
    """Say whether the ONNX parser takes `Attention`; where it does not, attention must be spelt out."""
    return version_of(trt)[:2] >= ATTENTION_SINCE


@cache
def make_logger(trt: Any) -> Any:  # noqa: ANN401
    """Make the process's logger, which keeps the last errors in `errors` and prints nothing.

    One for all: TensorRT keeps the first that it is given.
    """

    class KeepingLogger(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.errors: list[str] = []

        def log(self, severity: Any, words: str) -> None:  # noqa: ANN401
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.errors = [*self.errors, " ".join(words.split())][-KEPT_WORDS:]

    return KeepingLogger()


def made(kind: Any, logger: Any, *before: Any) -> Any:  # noqa: ANN401
    """Make an object of the library, which takes its logger last.

    Raises:
        EngineError: the library makes none: its bindings then speak of a null pointer, its log has the reason.
    """
    try:
        return kind(*before, logger)
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        raise EngineError(f"TensorRT makes no {kind.__name__}: {reason(logger)}") from error


def reason(logger: Any) -> str:  # noqa: ANN401
    """Give the last error that the library logged, and forget it."""
    words = logger.errors[-1] if logger.errors else "TensorRT gave no reason"
    logger.errors = []
    return str(words)


def make_runtime(trt: Any, logger: Any, *, host_code: bool) -> Any:  # noqa: ANN401
    """Make TensorRT's runtime; plans may bring host code along only where that was asked for."""
    runtime = made(trt.Runtime, logger)
    runtime.engine_host_code_allowed = host_code
    return runtime
