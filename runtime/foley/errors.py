"""The error tree, for callers of the runtime; it is drawn and defined in `foley_engines.errors`."""

from foley_engines.errors import (
    BundleError,
    CheckpointError,
    EngineError,
    EngineUnavailableError,
    FailureError,
    FoleyError,
    RequestError,
    UsageError,
    VerificationError,
)

__all__ = [
    "BundleError",
    "CheckpointError",
    "EngineError",
    "EngineUnavailableError",
    "FailureError",
    "FoleyError",
    "RequestError",
    "UsageError",
    "VerificationError",
]
