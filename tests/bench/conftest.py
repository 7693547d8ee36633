"""What tests of benchmarks share."""

from pathlib import Path

import pytest
from support.mini_bundle import write_mini_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A mini bundle of the test's own."""
    return write_mini_bundle(tmp_path / "mini")
