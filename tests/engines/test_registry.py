"""Engines by name, and what is said where one cannot run."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from support.commands import run_python
from support.mini_bundle import save_graph

import foley_engines
from foley_engines import ENGINES, onnxruntime_cpu
from foley_engines.errors import EngineError, EngineUnavailableError, UsageError

BLOCK = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Block())
"""
OPEN = """
import foley_engines
print(foley_engines.status("cpu"))
try:
    foley_engines.open("graph.onnx", engine="cpu")
except foley_engines.errors.EngineUnavailableError as error:
    print(error)
"""


def test_the_engines_are_three():
    assert list(ENGINES) == ["cpu", "cuda", "tensorrt"]
    assert [choice.install for choice in ENGINES.values()] == [
        "pip install onnxruntime",
        "pip install 'onnxruntime-gpu[cuda,cudnn]'",
        "pip install tensorrt cuda-python",
    ]


@pytest.mark.parametrize(("got", "near"), [("CPU", None), ("cpuu", "cpu"), ("tensort", "tensorrt"), ("gpu", "cpu")])
def test_an_unknown_engine_offers_the_nearest(got: str, near: str | None):
    with pytest.raises(
        EngineUnavailableError, match=f"^unknown engine '{got}'.*engines are cpu, cuda, tensorrt"
    ) as caught:
        foley_engines.open("graph.onnx", engine=got)
    assert near is None or f"did you mean '{near}'?" in str(caught.value)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_an_engine_to_come_says_so(name: str):
    with pytest.raises(EngineUnavailableError, match=f"^engine '{name}' is not in this release yet; use --engine cpu"):
        foley_engines.choose(name)
    assert not foley_engines.status(name).usable


def test_a_usable_engine_tells_its_librarys_version():
    status = foley_engines.status("cpu")
    assert status.usable
    assert status.detail.startswith(f"onnxruntime {onnxruntime_cpu.import_library().__version__}")


def test_a_missing_library_names_it():
    done = run_python("-c", BLOCK.format(name="onnxruntime") + OPEN)
    assert done.out.count("install it with: pip install onnxruntime") == 2, done
    assert "usable=False" in done.out


def test_a_library_that_lacks_its_own_part_is_not_called_missing():
    done = run_python("-c", BLOCK.format(name="onnxruntime.capi") + OPEN)
    assert done.out.count("found an onnxruntime that does not load (No module named 'onnxruntime.capi')") == 2, done
    assert "pip install --force-reinstall onnxruntime" in done.out
    assert "install it with" not in done.out


def test_another_provider_than_the_one_asked_for_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """ONNX Runtime only warns when it falls back; the engine looks at what it took."""
    file = tmp_path / "graph.onnx"
    save_graph("graph (float[B] x) => (float[B] y) { y = Tanh (x) }", {}, file)
    fallen = SimpleNamespace(get_providers=lambda: ["AzureExecutionProvider", "CPUExecutionProvider"])
    monkeypatch.setattr(onnxruntime_cpu, "_load", lambda *_arguments, **_options: fallen)
    with pytest.raises(EngineError, match=r"asked for CPUExecutionProvider, onnxruntime took AzureExecutionProvider"):
        foley_engines.open(file, engine="cpu")


def test_a_tensor_of_another_type_is_named(tmp_path: Path):
    file = tmp_path / "graph.onnx"
    save_graph("graph (double[B] x) => (double[B] y) { y = Tanh (x) }", {}, file)
    with pytest.raises(
        EngineError, match=r"x has type tensor\(double\), expected one of tensor\(float\), tensor\(int64\)"
    ):
        foley_engines.open(file, engine="cpu")


def test_threads_reach_the_library(tmp_path: Path):
    file = tmp_path / "graph.onnx"
    save_graph("graph (float[B] x) => (float[B] y) { y = Tanh (x) }", {}, file)
    with onnxruntime_cpu.open_graph(file, threads=3) as engine:
        assert engine._session.get_session_options().intra_op_num_threads == 3
    assert engine._session is None


def test_feeding_on_the_cpu_swaps_the_arrays(mini_bundle: Path):
    """No copy: the very array that was the output is the input."""
    with onnxruntime_cpu.open_graph(mini_bundle / "graphs/denoise_step.onnx", threads=1) as engine:
        state = (1, 4, 3, 4, 8)
        shapes = {"state": state, "step_matrix": (1, 4, 6), "timestep": (1,), "noise": (1, 3, 4, 8), "row_slot": (1,)}
        shapes |= {"row_mix": (1, 1), "context": (1, 8, 6), "known": (1, 2, 3, 4, 8), "known_mix": (1, 2)}
        session = engine.bind(**shapes, repaint=(1, 1, 4, 8), next_state=state)
        one, other = session["state"].array, session["next_state"].array
        session.feed("state", "next_state")
        assert session["state"].array is other
        assert session["next_state"].array is one


@pytest.mark.parametrize("threads", [0, -1, 100_000, True, 1.5])
def test_threads_are_cores_of_this_machine(threads: int):
    with pytest.raises(UsageError, match=r"threads is .*, expected 1 to \d+, the cores of this machine"):
        foley_engines.open("any.onnx", engine="cpu", threads=threads)
