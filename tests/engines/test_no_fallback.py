"""An engine that was asked for and cannot run is one line with the fix; nothing else runs in its place."""

import importlib.abc
import sys
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from support.commands import Command
from support.nvidia.fake_onnxruntime import Behaviour, installed_onnxruntime
from support.nvidia.install import installed

import foley
import foley_engines
from foley_engines import CudaSetup, TensorRtSetup, open_host
from foley_engines.errors import EngineError, EngineUnavailableError
from foley_engines.registry import status

Patch = pytest.MonkeyPatch


class Failing(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """An import of one module that fails as a broken installation does."""

    def __init__(self, name: str, error: BaseException) -> None:
        self._name, self._error = name, error

    def find_spec(self, name: str, path: object = None, target: object = None) -> ModuleSpec | None:  # noqa: ARG002 — the protocol's
        return ModuleSpec(name, self) if name == self._name else None

    def exec_module(self, module: ModuleType) -> None:  # noqa: ARG002
        raise self._error


def broken(patch: Patch, name: str, error: BaseException) -> None:
    """Let an import fail, whether the real module is here or not."""
    for loaded in [each for each in sys.modules if each == name or each.startswith(f"{name}.")]:
        patch.delitem(sys.modules, loaded)
    parent, _, last = name.rpartition(".")
    if parent in sys.modules:
        patch.delattr(sys.modules[parent], last, raising=False)
    patch.setattr(sys, "meta_path", [Failing(name, error), *sys.meta_path])


def missing(name: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(f"No module named {name!r}", name=name)


def no_tensorrt(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    broken(patch, "tensorrt", missing("tensorrt"))


def tensorrt_that_does_not_load(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    words = "libnvinfer.so.10: cannot open shared object file:\n No such file or directory"
    broken(patch, "tensorrt", ImportError(words, name="tensorrt.tensorrt"))


def tensorrt_without_its_libraries(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    broken(patch, "tensorrt", missing("tensorrt_libs"))


def tensorrt_with_a_library_that_does_not_open(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    broken(patch, "tensorrt", OSError("libcudart.so.12: cannot open shared object file"))


def old_tensorrt(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    patch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="8.6.1.post1"))


def nearly_new_tensorrt(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    patch.setitem(sys.modules, "tensorrt", SimpleNamespace(__version__="10.2.0"))


def no_bindings(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    for name in ("cuda", "cuda.bindings", "cuda.bindings.runtime"):
        patch.delitem(sys.modules, name)
    broken(patch, "cuda", missing("cuda"))


def bindings_of_old(patch: Patch) -> None:
    """cuda-python before 12.6 has `cuda.cudart`, and no `cuda.bindings`."""
    installed(patch, tensorrt="10.16")
    del sys.modules["cuda"].bindings
    broken(patch, "cuda.bindings", missing("cuda.bindings"))


def bindings_that_do_not_load(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    words = "libcudart.so.12: cannot open shared object file"
    broken(patch, "cuda.bindings.runtime", ImportError(words, name="cuda.bindings.runtime"))


def bindings_that_lack_a_part(patch: Patch) -> None:
    installed(patch, tensorrt="10.16")
    broken(patch, "cuda.bindings.runtime", missing("cuda.pathfinder"))


def no_driver(patch: Patch) -> None:
    installed(patch, tensorrt="10.16", cuda="12").machine.driver = False


def no_driver_13(patch: Patch) -> None:
    installed(patch, tensorrt="11.4", cuda="13").machine.driver = False


def old_driver(patch: Patch) -> None:
    installed(patch, tensorrt="10.16").machine.failures["cudaGetDeviceCount"] = "cudaErrorInsufficientDriver"


def no_device(patch: Patch) -> None:
    installed(patch, tensorrt="10.16").machine.devices = 0


def device_that_is_taken(patch: Patch) -> None:
    installed(patch, tensorrt="10.16").machine.failures["cudaSetDevice"] = "cudaErrorDevicesUnavailable"


def broken_driver(patch: Patch) -> None:
    installed(patch, tensorrt="10.16").machine.failures["cudaGetDeviceCount"] = "cudaErrorSystemDriverMismatch"


INSTALL_TENSORRT = "pip install 'tensorrt>=10.3' 'cuda-python>=12.6'"
INSTALL_CUDA = "pip install 'cuda-python>=12.6'"
INSTALL_ORT = "pip install 'onnxruntime-gpu[cuda,cudnn]>=1.27' 'cuda-python>=12.6'"
SHARED: dict[Callable[[Patch], None], tuple[str, ...]] = {
    no_bindings: ("need NVIDIA's CUDA bindings", INSTALL_CUDA),
    bindings_of_old: ("need NVIDIA's CUDA bindings", INSTALL_CUDA),
    bindings_that_do_not_load: ("do not load: libcudart.so.12", "reinstall", INSTALL_CUDA),
    bindings_that_lack_a_part: ("do not load: No module named 'cuda.pathfinder'", INSTALL_CUDA),
    no_driver: ("no CUDA device can be used: there is no NVIDIA driver here",),
    no_driver_13: ("there is no NVIDIA driver here, or it is older", "update the driver"),
    old_driver: ("older than the CUDA bindings", "update the driver", "nvidia-smi"),
    no_device: ("CUDA sees no GPU", "nvidia-smi and CUDA_VISIBLE_DEVICES"),
    device_that_is_taken: ("CUDA device 0 cannot be used: cudaErrorDevicesUnavailable",),
    broken_driver: ("no CUDA device can be used: cudaErrorSystemDriverMismatch",),
}
TENSORRT: dict[Callable[[Patch], None], tuple[str, ...]] = {
    no_tensorrt: ("engine 'tensorrt' needs NVIDIA's TensorRT", INSTALL_TENSORRT),
    tensorrt_that_does_not_load: ("TensorRT does not load: libnvinfer.so.10", "reinstall", INSTALL_TENSORRT),
    tensorrt_without_its_libraries: ("does not load: No module named 'tensorrt_libs'", INSTALL_TENSORRT),
    tensorrt_with_a_library_that_does_not_open: ("TensorRT does not load: libcudart.so.12", INSTALL_TENSORRT),
    old_tensorrt: ("TensorRT 8.6.1.post1 is here, expected 10.3 or newer", INSTALL_TENSORRT),
    nearly_new_tensorrt: ("TensorRT 10.2.0 is here, expected 10.3 or newer",),
    **SHARED,
}


def no_onnxruntime(patch: Patch) -> None:
    installed_onnxruntime(patch)
    broken(patch, "onnxruntime", missing("onnxruntime"))


def onnxruntime_that_does_not_load(patch: Patch) -> None:
    installed_onnxruntime(patch)
    broken(patch, "onnxruntime", ImportError("libcublasLt.so.12: cannot open shared object file"))


def onnxruntime_that_lacks_a_part(patch: Patch) -> None:
    installed_onnxruntime(patch)
    broken(patch, "onnxruntime", missing("onnxruntime.capi"))


def onnxruntime_for_the_cpu(patch: Patch) -> None:
    installed_onnxruntime(patch, Behaviour(providers=("AzureExecutionProvider", "CPUExecutionProvider")))


CUDA: dict[Callable[[Patch], None], tuple[str, ...]] = {
    no_onnxruntime: ("engine 'cuda' needs onnxruntime-gpu", INSTALL_ORT),
    onnxruntime_that_does_not_load: ("onnxruntime does not load: libcublasLt.so.12", INSTALL_ORT),
    onnxruntime_that_lacks_a_part: ("onnxruntime does not load: No module named 'onnxruntime.capi'", INSTALL_ORT),
    onnxruntime_for_the_cpu: ("here is the CPU's; for CUDA: pip uninstall -y onnxruntime", INSTALL_ORT),
}


def with_onnxruntime(cause: Callable[[Patch], None]) -> Callable[[Patch], None]:
    """The same on a machine with an onnxruntime that could."""

    def together(patch: Patch) -> None:
        library, _ = installed_onnxruntime(patch)
        cause(patch)
        patch.setitem(sys.modules, "onnxruntime", library)

    together.__name__ = cause.__name__
    return together


CAUSES = [
    *(("tensorrt", cause, words) for cause, words in TENSORRT.items()),
    *(("cuda", cause, words) for cause, words in CUDA.items()),
    *(("cuda", with_onnxruntime(cause), words) for cause, words in SHARED.items()),
]
each_cause = pytest.mark.parametrize(
    ("engine", "cause", "words"), CAUSES, ids=[f"{engine}-{cause.__name__}" for engine, cause, _ in CAUSES]
)


@each_cause
def test_a_cause_is_one_line_with_the_fix(
    engine: str, cause: Callable[[Patch], None], words: tuple[str, ...], monkeypatch: Patch
):
    cause(monkeypatch)
    with pytest.raises(EngineUnavailableError) as caught:
        open_host(engine)
    assert [each for each in words if each not in str(caught.value)] == [], caught.value
    assert "\n" not in str(caught.value)


@each_cause
def test_doctor_tells_the_cause(
    engine: str, cause: Callable[[Patch], None], words: tuple[str, ...], monkeypatch: Patch
):
    cause(monkeypatch)
    found = status(engine)
    assert not found.usable
    assert [each for each in words if each not in found.detail] == []


@each_cause
def test_generate_says_it_before_it_reads_the_bundle_and_writes_nothing(
    engine: str,
    cause: Callable[[Patch], None],
    words: tuple[str, ...],
    monkeypatch: Patch,
    command: Command,
    tmp_path: Path,
):
    cause(monkeypatch)
    clip = tmp_path / "dog.wav"
    command("generate", "a dog", "--bundle", tmp_path / "none", "--engine", engine, "-o", clip).refused(*words)
    assert not clip.exists()


@pytest.mark.parametrize(
    "setup", [TensorRtSetup(device=3), CudaSetup(device=3)], ids=lambda setup: type(setup).__name__
)
def test_a_device_that_is_not_there_is_not_replaced_by_another(setup, monkeypatch: Patch, mini_bundle: Path):
    _, fakes = installed_onnxruntime(monkeypatch)
    library = sys.modules["onnxruntime"]
    fakes = installed(monkeypatch, tensorrt="10.16")
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    fakes.machine.devices = 2
    with pytest.raises(EngineUnavailableError, match=r"^there is no CUDA device 3: this machine has 2$"):
        foley.load(mini_bundle, engine=setup)
    fakes.machine.check()


@pytest.mark.parametrize("engine", ["cuda", "tensorrt"])
def test_a_device_number_too_high_is_one_line(engine: str, monkeypatch: Patch, command: Command, mini_bundle: Path):
    library, _ = installed_onnxruntime(monkeypatch)
    installed(monkeypatch, tensorrt="10.16")
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    done = command("generate", "a dog", "--bundle", mini_bundle, "--engine", engine, "--device", 5)
    done.refused("there is no CUDA device 5: this machine has 1")


def test_a_provider_that_falls_back_ends_the_command(
    monkeypatch: Patch, command: Command, mini_bundle: Path, tmp_path: Path
):
    """ONNX Runtime would run the graph on the CPU, and only warn."""
    installed_onnxruntime(monkeypatch, Behaviour(falls_back=True))
    clip = tmp_path / "dog.wav"
    done = command("generate", "a dog", "--bundle", mini_bundle, "--engine", "cuda", "-o", clip)
    done.refused("asked for CUDAExecutionProvider, onnxruntime took CPUExecutionProvider", code=1)
    assert not clip.exists()


def test_operators_left_to_the_cpu_end_the_command(
    monkeypatch: Patch, command: Command, mini_bundle: Path, tmp_path: Path
):
    installed_onnxruntime(monkeypatch, Behaviour(on_cpu=("MatMul",)))
    done = command("generate", "a dog", "--bundle", mini_bundle, "--engine", "cuda", "-o", tmp_path / "dog.wav")
    done.refused("onnxruntime leaves 1 × MatMul to the CPU", code=1)


def test_tensorrt_that_refuses_a_graph_is_not_replaced(
    monkeypatch: Patch, command: Command, mini_bundle: Path, tmp_path: Path
):
    installed(monkeypatch, tensorrt="10.16").machine.refused_operators["Tanh"] = "no kernel"
    place = ["--plans", tmp_path / "plans", "-o", tmp_path / "dog.wav"]
    done = command("generate", "a dog", "--bundle", mini_bundle, "--engine", "tensorrt", *place)
    assert done.code == 1
    assert "is no network for TensorRT" in done.err.splitlines()[-1]
    assert not (tmp_path / "dog.wav").exists()


def test_both_onnxruntimes_together_are_warned_of(monkeypatch: Patch):
    """They overwrite each other's files."""
    monkeypatch.setattr("foley_engines.registry._installed", lambda _name: True)
    assert "onnxruntime and onnxruntime-gpu share their files; keep one" in status("cpu").detail


def test_what_can_run_says_on_what(monkeypatch: Patch):
    installed(monkeypatch, tensorrt="11.4", cuda="13")
    found = foley_engines.status("tensorrt")
    assert found.usable
    assert found.detail.startswith("tensorrt 11.4.")
    assert found.detail.endswith("on NVIDIA H100 80GB HBM3")
    installed_onnxruntime(monkeypatch)
    found = foley_engines.status("cuda")
    assert found.usable
    assert found.detail.startswith("onnxruntime-gpu 1.")


def test_an_unavailable_engine_is_misuse_and_a_failing_one_is_not():
    assert (EngineUnavailableError.exit_code, EngineError.exit_code) == (2, 1)
