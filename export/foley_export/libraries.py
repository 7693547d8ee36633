"""The export libraries' own log lines, kept off the user's terminal while Foley says what matters itself."""

import contextlib
import warnings
from collections.abc import Iterator

import diffusers
import transformers


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Silence the warnings of diffusers, transformers and what they call; errors pass."""
    before = diffusers.logging.get_verbosity(), transformers.logging.get_verbosity()
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        diffusers.logging.set_verbosity(before[0])
        transformers.logging.set_verbosity(before[1])
