"""The fakes in the places of the real modules, for one test."""

import sys
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from support.nvidia import fake_cuda, fake_tensorrt, machine
from support.nvidia.machine import Machine


@dataclass(frozen=True)
class Fakes:
    """What was installed."""

    tensorrt: Any
    cudart: Any
    machine: Machine

    def touched(self) -> set[str]:
        """Give what was used of both modules."""
        modules = (self.tensorrt, fake_tensorrt.touched), (self.cudart, fake_cuda.touched)
        return {name for module, touched in modules if module is not None for name in touched(module)}


def installed(monkeypatch: pytest.MonkeyPatch, *, tensorrt: str | None = "10.16", cuda: str | None = "12") -> Fakes:
    """Put fakes of these releases into `sys.modules`, over a fresh machine; None: not installed.

    What `foley_engines` has imported and kept before is forgotten, now and when the test ends.
    """
    monkeypatch.setattr(machine, "CURRENT", Machine())
    trt = None if tensorrt is None else fake_tensorrt.fake(tensorrt)
    cudart = None if cuda is None else fake_cuda.fake(cuda)
    monkeypatch.setitem(sys.modules, "tensorrt", trt)
    for name, module in _packages(cudart).items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(CACHES, "machine", machine.CURRENT, raising=False)
    return Fakes(trt, cudart, machine.CURRENT)


def _packages(cudart: ModuleType | None) -> dict[str, ModuleType | None]:
    names = ("cuda", "cuda.bindings", "cuda.bindings.runtime")
    if cudart is None:
        return dict.fromkeys(names)
    cuda, bindings = ModuleType("cuda"), ModuleType("cuda.bindings")
    cuda.__path__, bindings.__path__ = [], []
    bindings.__version__ = cudart._surface.version
    cuda.bindings, bindings.runtime = bindings, cudart
    return dict(zip(names, (cuda, bindings, cudart), strict=True))


class Caches:
    """What `foley_engines` keeps of the libraries: to set an attribute, and to take it back, forgets it."""

    def __setattr__(self, name: str, value: object) -> None:
        forget_kept()
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> None:
        forget_kept()
        super().__delattr__(name)


def forget_kept() -> None:
    """Clear the caches of the engines' functions, which import a library once."""
    modules = [module for path, module in list(sys.modules.items()) if path.startswith("foley_engines.")]
    for kept in (each for module in modules for each in vars(module).values() if hasattr(each, "cache_clear")):
        kept.cache_clear()


CACHES = Caches()
