"""The exports that these tests share with tests/export, and all figures of the parity table, measured once."""

import pytest

from foley_bench.parity.bundles import Bundles
from foley_bench.parity.figures import Figure, measure


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    return Bundles(tmp_path_factory.getbasetemp() / "bundles")


@pytest.fixture(scope="session")
def figures(bundles: Bundles) -> list[Figure]:
    """Measure graphs, whole clips and samplers; about 45 s beside the exports."""
    return measure(bundles)
