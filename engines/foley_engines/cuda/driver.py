"""The CUDA runtime through NVIDIA's own bindings; every status is checked."""

import ctypes
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from foley_engines.errors import EngineError, EngineUnavailableError

INSTALL: Final = "pip install 'cuda-python>=12.6'"
NO_DRIVER: Final = "no CUDA device can be used: there is no NVIDIA driver here; install it"
DRIVERS: Final = ("libcuda.so.1", "nvcuda.dll")
MODULES: Final = ("cuda", "cuda.bindings", "cuda.bindings.runtime")


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is."""

    number: int
    name: str
    compute_capability: tuple[int, int]
    memory_bytes: int
    multiprocessors: int


def without_driver() -> str:
    """Give a remark for whoever is told to install a library for NVIDIA GPUs where there is no driver of one."""
    for name in DRIVERS:
        try:
            ctypes.CDLL(name)
        except OSError:
            continue
        return ""
    return "; but first a GPU: there is no NVIDIA driver on this machine"


@cache
def import_runtime() -> Any:  # noqa: ANN401 — the library has no types
    """Import `cuda.bindings.runtime`.

    Raises:
        EngineUnavailableError: it is not installed, or does not load.
    """
    try:
        from cuda.bindings import runtime
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name in MODULES:
            raise EngineUnavailableError(f"GPU engines need NVIDIA's CUDA bindings: {INSTALL}") from error
        words = " ".join(str(error).split())
        raise EngineUnavailableError(f"NVIDIA's CUDA bindings do not load: {words}; reinstall: {INSTALL}") from error
    return runtime


def call(function: Any, *arguments: Any) -> Any:  # noqa: ANN401
    """Call a function of the CUDA runtime and give what it gives beside its status: nothing, a value or a tuple.

    Raises:
        EngineError: the status is not success; the message has CUDA's own words.
    """
    status, *values = function(*arguments)
    if status:
        raise EngineError(f"CUDA: {function.__name__} failed: {explain(status)}")
    return values[0] if len(values) == 1 else tuple(values) or None


def explain(status: Any) -> str:  # noqa: ANN401
    """Give the name and the description of a status."""
    _, text = import_runtime().cudaGetErrorString(status)
    words = text.decode() if isinstance(text, bytes) else str(text)
    return f"{status.name} ({words})" if text else str(status.name)


def find_device(number: int) -> DeviceFacts:
    """Look at a device, and make it the thread's.

    Raises:
        EngineUnavailableError: there is no driver, no device, or none of that number; the message says what to do.
    """
    cudart = import_runtime()
    count = _count_devices(cudart)
    if not 0 <= number < count:
        has = f"this machine has {count}" if count else "CUDA sees none; look at nvidia-smi and CUDA_VISIBLE_DEVICES"
        raise EngineUnavailableError(f"there is no CUDA device {number}: {has}")
    status, *_ = cudart.cudaSetDevice(number)
    if status:
        raise EngineUnavailableError(f"CUDA device {number} cannot be used: {explain(status)}")
    facts = call(cudart.cudaGetDeviceProperties, number)
    name = facts.name.decode() if isinstance(facts.name, bytes) else str(facts.name)
    capability = (int(facts.major), int(facts.minor))
    return DeviceFacts(number, name.rstrip("\0"), capability, int(facts.totalGlobalMem), int(facts.multiProcessorCount))


def _count_devices(cudart: Any) -> int:  # noqa: ANN401
    try:
        status, count = cudart.cudaGetDeviceCount()
    except RuntimeError as error:  # the bindings of CUDA 12 raise it where libcuda is not there
        raise EngineUnavailableError(f"{NO_DRIVER} ({error})") from error
    if status:
        raise EngineUnavailableError(_no_device(status))
    return int(count)


def _no_device(status: Any) -> str:  # noqa: ANN401
    hints = {
        "cudaErrorNoDevice": "CUDA sees no GPU; look at nvidia-smi and CUDA_VISIBLE_DEVICES",
        "cudaErrorInsufficientDriver": "there is no NVIDIA driver here, or it is older than the CUDA bindings; update "
        "the driver, or install the cuda-python of the driver's CUDA (nvidia-smi shows it)",
    }
    return f"no CUDA device can be used: {hints.get(status.name, explain(status))}"
