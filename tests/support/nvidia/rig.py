"""A small graph through the fake TensorRT: parsed, built, loaded, run; for the tests of the fakes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

from support.nvidia.install import Fakes

HEAD = '<ir_version: 10, opset_import: ["" : 17]>\n'
GRAPH = """
add (float[B,4] x, float[B,4] y) => (float[B,4] sum) {
    scaled = Mul (y, weight)
    sum = Add (x, scaled)
}"""
WEIGHT = np.array([1, 2, 3, 4], np.float32)
RANGES = ((1, 4), (2, 4), (8, 4))


def write_graph(file: Path, text: str = GRAPH, weight: np.ndarray = WEIGHT, *, external: bool = False) -> Path:
    """Write a graph with the initializer `weight`, in a file beside it where it is external."""
    model = parser.parse_model(HEAD + text)
    model.graph.initializer.append(numpy_helper.from_array(weight, "weight"))
    onnx.save(model, file, save_as_external_data=external, location=f"{file.stem}.weights", size_threshold=0)
    return file


@dataclass
class Rig:
    """Fakes and a logger that keeps what it is told."""

    fakes: Fakes
    logger: Any

    @property
    def trt(self) -> Any:
        """The fake module."""
        return self.fakes.tensorrt

    def network(self, file: Path) -> tuple[Any, Any]:
        """Parse a file; gives the builder and the network.

        Raises:
            ValueError: the parser refuses it.
        """
        builder = self.trt.Builder(self.logger)
        network = builder.create_network(0)
        parser_ = self.trt.OnnxParser(network, self.logger)
        if not parser_.parse_from_file(str(file)):
            raise ValueError(parser_.get_error(0).desc())
        return builder, network

    def config(self, builder: Any, flags: Sequence[str] = (), ranges: Any = RANGES) -> Any:
        """Configure a build of the graph for one profile, or none."""
        config = builder.create_builder_config()
        for flag in flags:
            config.set_flag(getattr(self.trt.BuilderFlag, flag))
        if ranges:
            profile = builder.create_optimization_profile()
            profile.set_shape("x", *ranges)
            profile.set_shape("y", *ranges)
            config.add_optimization_profile(profile)
        return config

    def plan(self, file: Path, flags: Sequence[str] = (), ranges: Any = RANGES) -> Any:
        """Build a plan; None where the build fails."""
        builder, network = self.network(file)
        return builder.build_serialized_network(network, self.config(builder, flags, ranges))

    def load(self, plan: Any) -> Any:
        """Load a plan; None where it is refused."""
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(plan)

    def engine(self, file: Path, flags: Sequence[str] = ()) -> Any:
        """Build and load."""
        return self.load(self.plan(file, flags))


def make_logger(trt: Any) -> Any:
    """Make a logger that keeps (severity, words) in `said`."""

    class KeepingLogger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[tuple[str, str]] = []

        def log(self, severity: Any, msg: str) -> None:
            self.said.append((severity.name, msg))

    return KeepingLogger()


@dataclass
class Bound:
    """A context with its tensors on the device."""

    cudart: Any
    context: Any
    stream: Any
    addresses: dict[str, int]
    batch: int

    def write(self, name: str, value: np.ndarray) -> None:
        """Copy an array to the device."""
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
        assert self.cudart.cudaMemcpy(self.addresses[name], value.ctypes.data, value.nbytes, kind) == (0,)

    def read(self, name: str = "sum") -> np.ndarray:
        """Copy a tensor from the device, when the stream is done."""
        assert self.cudart.cudaStreamSynchronize(self.stream) == (0,)
        value = np.empty((self.batch, 4), np.float32)
        kind = self.cudart.cudaMemcpyKind.cudaMemcpyDeviceToHost
        assert self.cudart.cudaMemcpy(value.ctypes.data, self.addresses[name], value.nbytes, kind) == (0,)
        return value

    def run(self) -> bool:
        """Enqueue a run."""
        return bool(self.context.execute_async_v3(int(self.stream)))


def bind(rig: Rig, engine: Any, batch: int = 2, strategy: str = "USER_MANAGED") -> Bound:
    """Make a context for a batch, and give it memory and addresses."""
    cudart = rig.fakes.cudart
    context = engine.create_execution_context(getattr(rig.trt.ExecutionContextAllocationStrategy, strategy))
    _, stream = cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)
    assert context.set_optimization_profile_async(0, int(stream))
    if strategy == "USER_MANAGED":
        _, scratch = cudart.cudaMalloc(engine.device_memory_size_v2)
        context.set_device_memory(scratch, engine.device_memory_size_v2)
    addresses = {name: cudart.cudaMalloc(batch * 16)[1] for name in ("x", "y", "sum")}
    for name in ("x", "y"):
        assert context.set_input_shape(name, (batch, 4))
    for name, address in addresses.items():
        assert context.set_tensor_address(name, address)
    return Bound(cudart, context, stream, addresses, batch)
