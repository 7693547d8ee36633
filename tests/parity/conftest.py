"""The exports that these tests share with tests/export, and all figures of the parity table, measured once."""

from collections.abc import Iterator

import pytest
from support.traces import TRACES

from foley_bench.parity.bundles import Bundles
from foley_bench.parity.figures import Figure, measure
from foley_export import export as export_module


@pytest.fixture(scope="session", autouse=True)
def _trace_once() -> Iterator[None]:
    """Let exports of a checkpoint in several precisions share what they have in common."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", TRACES)
        yield


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    return Bundles(tmp_path_factory.getbasetemp() / "bundles")


@pytest.fixture(scope="session")
def figures(bundles: Bundles) -> list[Figure]:
    """Measure graphs, whole clips and samplers; about 45 s beside the exports."""
    return measure(bundles)
