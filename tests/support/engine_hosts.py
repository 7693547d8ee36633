"""Every engine that there is, over the real ONNX Runtime or over the fakes of NVIDIA's libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from foley_engines import CpuSetup, Host, TensorRtSetup, open_host
from support.nvidia.fake_onnxruntime import installed_onnxruntime
from support.nvidia.install import Fakes, installed
from support.nvidia.machine import Machine

CUDA_OF = {"10.3": "12", "10.16": "12", "11.4": "13"}
"""TensorRT's release → that of the CUDA bindings beside it."""
RELEASES = list(CUDA_OF)
HOSTS = ["cpu", "cuda-12", "cuda-13", *(f"tensorrt-{release}" for release in RELEASES)]


@contextmanager
def engine_host(name: str, plans: Path) -> Iterator[tuple[Host, Machine | None]]:
    """Open a host by a name of `HOSTS`, and check when it is closed that nothing was leaked or misused."""
    with pytest.MonkeyPatch.context() as patch:
        machine = _install(name, patch)
        kind = name.partition("-")[0]
        setup = {"cpu": CpuSetup(threads=1), "tensorrt": TensorRtSetup(plans=plans)}.get(kind, kind)
        with open_host(setup) as host:
            yield host, machine
        if machine is not None:
            machine.check()


def _install(name: str, patch: pytest.MonkeyPatch) -> Machine | None:
    kind, _, release = name.partition("-")
    if kind == "cpu":
        return None
    if kind == "cuda":
        return installed_onnxruntime(patch, cuda=release)[1].machine
    return installed_tensorrt(patch, release).machine


def installed_tensorrt(patch: pytest.MonkeyPatch, release: str = "10.16") -> Fakes:
    """Install a TensorRT release and the CUDA bindings beside it."""
    return installed(patch, tensorrt=release, cuda=CUDA_OF[release])
