"""Engines by name, and what is said where one cannot run."""

import os
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from support.commands import run_python
from support.engine_hosts import HOSTS, engine_host
from support.mini_bundle import save_graph
from support.sum_graph import SHAPES, SUM, write_inputs, write_sum_graph

import foley_engines
from foley_engines import ENGINES, CpuSetup, CudaSetup, TensorRtSetup, onnxruntime_cpu
from foley_engines.errors import EngineError, EngineUnavailableError, UsageError
from foley_engines.onnxruntime_cpu import CpuEngine
from foley_engines.registry import check_engine, engine_of, setup_of

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
        "pip install 'onnxruntime-gpu[cuda,cudnn]' 'cuda-python>=12.6'",
        "pip install 'tensorrt>=10.3' 'cuda-python>=12.6' filelock",
    ]


@pytest.mark.parametrize(("got", "near"), [("CPU", None), ("cpuu", "cpu"), ("tensort", "tensorrt"), ("gpu", "cpu")])
def test_an_unknown_engine_offers_the_nearest(got: str, near: str | None):
    with pytest.raises(
        EngineUnavailableError, match=f"^unknown engine '{got}'.*engines are cpu, cuda, tensorrt"
    ) as caught:
        foley_engines.open("graph.onnx", engine=got)
    assert near is None or f"did you mean '{near}'?" in str(caught.value)


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
    with CpuEngine(file, threads=3) as engine:
        assert engine._session.get_session_options().intra_op_num_threads == 3
    assert engine._session is None


@pytest.mark.parametrize("threads", [0, -1, 100_000, True, 1.5])
def test_threads_are_cores_of_this_machine(threads: int):
    with pytest.raises(UsageError, match=r"threads is .*, expected 1 to \d+, the cores of this machine"):
        foley_engines.open("any.onnx", engine="cpu", threads=threads)


@pytest.mark.parametrize("engine", ["cuda", "tensorrt", CpuSetup(), CudaSetup(), TensorRtSetup()], ids=str)
def test_threads_are_the_cpus_alone(engine):
    with pytest.raises(
        UsageError, match=r"^threads is 2, but only the engine 'cpu' by its name takes it; leave it out"
    ):
        setup_of(engine, 2)


@pytest.mark.parametrize("name", ["cuda", "tensorrt"])
def test_opening_a_graph_refuses_threads_for_another_engine(name: str):
    """Before anything is looked for: the engine need not be here."""
    with pytest.raises(UsageError, match="threads is 2"):
        foley_engines.open("any.onnx", engine=name, threads=2)


@pytest.mark.parametrize(
    ("engine", "setup"),
    [
        ("cpu", CpuSetup()),
        ("cuda", CudaSetup()),
        ("tensorrt", TensorRtSetup()),
        (TensorRtSetup(device=3), TensorRtSetup(device=3)),
    ],
    ids=str,
)
def test_a_name_stands_for_its_usual_setup(engine, setup):
    assert setup_of(engine) == setup
    assert engine_of(setup).setup is type(setup)


def test_an_engine_that_cannot_run_is_told_before_files_are_read():
    check_engine("cpu")
    for name in ("cuda", "tensorrt"):
        with pytest.raises(EngineUnavailableError, match="pip install"):
            check_engine(name)


@pytest.mark.parametrize("options", [{}, {"threads": 1}, {"threads": os.cpu_count()}, {"optimise": False}], ids=str)
def test_options_do_not_change_the_result(tmp_path: Path, options: dict):
    file = tmp_path / "graph.onnx"
    save_graph("graph (float[B] x) => (float[B] y) { y = Add (x, x) }", {}, file)
    with foley_engines.open(file, engine="cpu", **options) as engine:
        session = engine.bind(x=(3,))
        session["x"].write(np.array([1, 2, 3], np.float32))
        session.run()
        assert session["y"].read().tolist() == [2, 4, 6]


@pytest.mark.parametrize("name", HOSTS)
def test_a_graph_opened_alone_closes_its_host_with_itself(name: str, tmp_path: Path):
    """Whatever it took is given back: the machine's check is made after the graph's `with`."""
    file = write_sum_graph(tmp_path)
    with engine_host(name, tmp_path / "plans") as (_, machine):
        before = machine and sorted(machine.live())
        with foley_engines.open(file, engine=name.partition("-")[0]) as engine:
            session = engine.bind(**SHAPES)
            write_inputs(session)
            session.run()
            assert np.array_equal(session["flat"].read(), SUM)
        assert before == (machine and sorted(machine.live()))


@pytest.mark.parametrize("name", [name for name in HOSTS if name != "cpu"])
def test_a_graph_that_does_not_open_closes_its_host(name: str, tmp_path: Path):
    with engine_host(name, tmp_path / "plans") as (_, machine):
        before = sorted(machine.live())
        with pytest.raises(EngineError, match=r"^none.onnx "):
            foley_engines.open(tmp_path / "none.onnx", engine=name.partition("-")[0])
        assert before == sorted(machine.live())
