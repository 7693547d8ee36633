"""TensorRT of each release as a fake, over a small graph."""

from pathlib import Path
from typing import Any

import pytest
from support.engine_hosts import RELEASES, installed_tensorrt
from support.nvidia.onnx_network import OnnxNetwork
from support.plan_bench import make_bench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """One release."""
    made = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch))
    yield made
    made.close()


@pytest.fixture(params=RELEASES)
def any_bench(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Each release."""
    made = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, request.param))
    yield made
    made.close()


@pytest.fixture
def spoil(monkeypatch: pytest.MonkeyPatch):
    """Let the fake compute an output wrongly: `spoil("flat", lambda value: 0 * value)`."""

    def make_wrong(name: str, change) -> None:
        right = OnnxNetwork.run

        def run(network: OnnxNetwork, inputs: dict[str, Any]) -> dict[str, Any]:
            outputs = right(network, inputs)
            return {each: change(value) if each == name else value for each, value in outputs.items()}

        monkeypatch.setattr(OnnxNetwork, "run", run)

    return make_wrong
