"""Every error that Foley raises on purpose.

FoleyError                      the root: catch this one                                     exit code
├── UsageError                  what was asked cannot be done; the message says what can          2
│   ├── EngineUnavailableError  the engine's library or device is not here
│   ├── RequestError            a knob has no meaning: steps, seconds, sampler, prompt (foley)
│   ├── BundleError             a bundle is missing, damaged, newer, or lacks something (foley)
│   └── CheckpointError         a checkpoint cannot be read (foley_export)
└── FailureError                what was asked can be done, and went wrong                        1
    ├── EngineError             a graph failed to load or run
    └── VerificationError       an engine's output departs from the recorded one (foley)

A message is one line: the thing, what was got and expected, and how to fix it.
"""


class FoleyError(Exception):
    """Root of the tree."""

    exit_code = 1


class UsageError(FoleyError):
    """What was asked cannot be done as asked."""

    exit_code = 2


class FailureError(FoleyError):
    """A legitimate request went wrong."""


class EngineUnavailableError(UsageError):
    """The engine's library or device is not on this machine."""


class RequestError(UsageError):
    """A knob of a request is out of its range."""


class BundleError(UsageError):
    """A bundle is missing, damaged, too new, or lacks what is asked of it."""


class CheckpointError(UsageError):
    """A checkpoint lacks a file or tensor, or holds one of the wrong shape."""


class EngineError(FailureError):
    """A graph failed to load or to run."""


class VerificationError(FailureError):
    """An engine's output departs from the recorded one by more than its precision allows."""


def one_line(error: Exception) -> str:
    """Give an error's message without its line breaks."""
    return " ".join(str(error).split())
