"""The bundle that foley takes where a caller names none: package data, in the folder `demo` beside this file."""

from pathlib import Path
from typing import Final

from foley.bundle import MANIFEST
from foley.errors import BundleError

FOLDER: Final = Path(__file__).parent / "demo"
"""Data only: a bundle as `foley export` writes it."""


def demo_bundle() -> Path:
    """Give the demo bundle's folder.

    Raises:
        BundleError: this installation has none; the message says how to name another bundle.
    """
    if not (FOLDER / MANIFEST).is_file():
        raise BundleError(
            f"no bundle was named, and this foley has no demo bundle: {FOLDER / MANIFEST} is missing; "
            "pass one: --bundle BUNDLE for generate, BUNDLE for inspect and verify"
        )
    return FOLDER
