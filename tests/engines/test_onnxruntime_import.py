"""An ONNX Runtime that is installed and broken is a reason with a remedy, in `doctor` and at open."""

import builtins

import pytest

import foley_engines
from foley_engines.errors import EngineUnavailableError


@pytest.fixture
def broken_onnxruntime(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = builtins.__import__

    def fail(name: str, *rest: object) -> object:
        if name == "onnxruntime":
            raise ImportError("libcudart.so.13: cannot open shared object file")
        return whole(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)


@pytest.mark.usefixtures("broken_onnxruntime")
def test_a_broken_library_is_named_with_its_remedy():
    status = foley_engines.status("cpu")
    assert not status.usable
    assert "libcudart.so.13" in status.detail
    assert "pip install --force-reinstall onnxruntime" in status.detail


@pytest.mark.usefixtures("broken_onnxruntime")
def test_opening_says_the_same():
    with pytest.raises(EngineUnavailableError, match="does not load"):
        foley_engines.open("any.onnx", engine="cpu")
