"""A stand-in for `onnxruntime-gpu`: it claims the CUDA provider, and runs on the CPU over the fake machine's memory.

What asks for the CPU gets the real onnxruntime.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as real
import pytest

from support.nvidia.install import Fakes, installed
from support.nvidia.machine import current
from support.nvidia.memory import MemoryFaultError

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"
NO_GRAPH = "-1"


@dataclass
class Behaviour:
    """What a test wants of the library."""

    providers: tuple[str, ...] = (CUDA, CPU)
    """What it was built with."""
    falls_back: bool = False
    """Whether it takes the CPU where CUDA was asked for, and only warns."""
    on_cpu: tuple[str, ...] = ()
    """Kinds of operators that it leaves to the CPU."""
    apart: tuple[str, ...] = ()
    """Kinds of operators of which it takes one apart."""
    tells: bool = True
    """Whether it is new enough to say who runs what."""


@dataclass
class Run:
    """One run that was asked for."""

    entries: dict[str, str]
    addresses: tuple[int, ...]


@dataclass(frozen=True)
class Place:
    """A bound tensor."""

    name: str
    dtype: Any
    shape: tuple[int, ...]
    address: int

    def view(self) -> Any:
        """Give the tensor as an array that shares the memory."""
        size = int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize
        return current().memory.view(self.address, size, "device").view(self.dtype).reshape(self.shape)


class SessionOptions:
    """Options of a session, as they were given."""

    def __init__(self) -> None:
        self.log_severity_level = 2
        self.intra_op_num_threads = 0
        self.graph_optimization_level: Any = None
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keep an entry."""
        self.entries[key] = value

    def real(self) -> Any:
        """Give the same for the real library."""
        options = real.SessionOptions()
        options.log_severity_level, options.intra_op_num_threads = self.log_severity_level, 1
        if self.graph_optimization_level is not None:
            options.graph_optimization_level = self.graph_optimization_level
        for key, value in self.entries.items():
            options.add_session_config_entry(key, value)
        return options


class RunOptions:
    """Options of a run, as they were given."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keep an entry."""
        self.entries[key] = value


class Binding:
    """Tensors bound by address."""

    def __init__(self) -> None:
        self.inputs: dict[str, Place] = {}
        self.outputs: dict[str, Place] = {}

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Bind an input."""
        assert (device_type, device_id) == ("cuda", 0)
        self.inputs[name] = Place(name, element_type, tuple(shape), buffer_ptr)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Bind an output."""
        assert (device_type, device_id) == ("cuda", 0)
        assert shape is not None
        assert buffer_ptr is not None
        self.outputs[name] = Place(name, element_type, tuple(shape), buffer_ptr)

    @property
    def places(self) -> tuple[Place, ...]:
        """All tensors."""
        return (*self.inputs.values(), *self.outputs.values())


@dataclass(frozen=True)
class Assigned:
    """Nodes of one provider."""

    ep_name: str
    nodes: tuple[Any, ...]

    def get_nodes(self) -> tuple[Any, ...]:
        """Give the nodes."""
        return self.nodes


@dataclass(frozen=True)
class Node:
    """A node."""

    op_type: str


@dataclass
class CudaSession:
    """A session that says it runs on CUDA."""

    behaviour: Behaviour
    options: SessionOptions
    provider_options: dict[str, str]
    inner: Any
    runs: list[Run] = field(default_factory=list)
    captured: dict[str, tuple[int, ...]] = field(default_factory=dict)
    """Graph id → the addresses that its CUDA graph reads and writes."""
    fallback: bool = True

    def get_providers(self) -> list[str]:
        """Name the providers, the first first."""
        return [CPU] if self.behaviour.falls_back else [CUDA, CPU]

    def get_inputs(self) -> Any:
        """Describe the inputs."""
        return self.inner.get_inputs()

    def get_outputs(self) -> Any:
        """Describe the outputs."""
        return self.inner.get_outputs()

    def disable_fallback(self) -> None:
        """Note that no other provider may be taken after a failed run."""
        self.fallback = False

    def get_provider_graph_assignment_info(self) -> list[Assigned]:
        """Say who runs what, where that was asked for."""
        if self.options.entries.get("session.record_ep_graph_assignment_info") != "1":
            raise RuntimeError("session.record_ep_graph_assignment_info was not set")
        left = tuple(Node(kind) for kind in self.behaviour.on_cpu)
        return [Assigned(CUDA, self._taken()), *([Assigned(CPU, left)] if left else [])]

    def _taken(self) -> tuple[Node, ...]:
        """Give the graph's nodes, as the real library found them."""
        kinds = [node.op_type for part in self.inner.get_provider_graph_assignment_info() for node in part.get_nodes()]
        for kind in self.behaviour.apart:
            kinds.remove(kind)
        return tuple(map(Node, kinds))

    def io_binding(self) -> Binding:
        """Make a binding."""
        return Binding()

    def run_with_iobinding(self, iobinding: Binding, run_options: RunOptions | None = None) -> None:
        """Enqueue a run on the stream that the provider was given."""
        entries = dict(run_options.entries) if run_options is not None else {}
        addresses = tuple(place.address for place in iobinding.places)
        self.runs.append(Run(entries, addresses))
        self._check_graph(entries.get("gpu_graph_id", "0"), addresses)
        stream = current().timeline.streams[int(self.provider_options["user_compute_stream"])]
        work = partial(_run, self.inner, tuple(iobinding.inputs.values()), tuple(iobinding.outputs.values()))
        going = current().guard(current().timeline.submit, stream, work)
        if entries.get("disable_synchronize_execution_providers") != "1":
            going = current().guard(current().timeline.drain, stream)
        if not going:
            raise RuntimeError(f"CUDA failure 700: {current().faults[-1]}")

    def _check_graph(self, graph_id: str, addresses: tuple[int, ...]) -> None:
        """Notice what a real CUDA graph would not: it goes on with the addresses that it was captured with."""
        if self.provider_options["enable_cuda_graph"] != "1" or graph_id == NO_GRAPH:
            return
        if self.captured.setdefault(graph_id, addresses) != addresses:
            current().fault(f"CUDA graph {graph_id} is run with other addresses than it was captured with")


def _run(session: Any, inputs: tuple[Place, ...], outputs: tuple[Place, ...]) -> None:
    given = {place.name: place.view().copy() for place in inputs}
    names = [place.name for place in outputs]
    try:
        results = session.run(names, given)
    except Exception as error:  # onnxruntime raises classes of its own that share no base
        raise MemoryFaultError(f"a kernel failed: {' '.join(str(error).split())[:200]}") from error
    for place, result in zip(outputs, results, strict=True):
        place.view()[...] = result


class FakeOnnxRuntime(ModuleType):
    """The module."""

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__("onnxruntime")
        self.__version__ = real.__version__
        self.behaviour = behaviour
        self.sessions: list[CudaSession] = []
        self.SessionOptions, self.RunOptions = SessionOptions, RunOptions

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(real, name)

    def get_available_providers(self) -> list[str]:
        """Name what the library was built with."""
        return list(self.behaviour.providers)

    def preload_dlls(self) -> None:
        """Load CUDA's libraries: there are none."""

    def InferenceSession(self, path: str, options: SessionOptions, providers: Sequence[Any]) -> Any:  # noqa: N802
        """Make a session: the real one where the CPU is asked for."""
        inner = real.InferenceSession(path, options.real(), providers=[CPU])
        if providers[0] == CPU:
            return inner
        name, given = providers[0]
        assert name == CUDA
        kind = CudaSession if self.behaviour.tells else SilentSession
        session = kind(self.behaviour, options, dict(given), inner)
        self.sessions.append(session)
        return session


class SilentSession(CudaSession):
    """A session of an older release, which does not say who runs what."""

    def __getattribute__(self, name: str) -> Any:
        if name == "get_provider_graph_assignment_info":
            raise AttributeError(name)
        return super().__getattribute__(name)


def installed_onnxruntime(
    monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour | None = None, cuda: str = "12"
) -> tuple[FakeOnnxRuntime, Fakes]:
    """Put the fake, and fake CUDA bindings, into `sys.modules` for one test."""
    fakes = installed(monkeypatch, tensorrt=None, cuda=cuda)
    library = FakeOnnxRuntime(behaviour or Behaviour())
    monkeypatch.setitem(sys.modules, "onnxruntime", library)
    return library, fakes
