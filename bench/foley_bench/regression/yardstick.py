"""A fixed piece of work that is timed beside a build's own: what slows the machine slows both."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from foley.manifest import Precision
from foley_engines import GraphFile, Host, Session, Setup, Spelling, TensorRtSetup, open_host

VERSION: Final = 1
"""To be counted up whenever the graph changes: figures relative to another graph cannot be compared."""
OPSET: Final = 20
IR_VERSION: Final = 10
IMAGE: Final = (1, 96, 32, 64)
TOKENS: Final = (128, 1536)
"""The same numbers as the image."""
INNER: Final = 512
TYPES: Final = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}


@contextlib.contextmanager
def yardstick_file(precision: Precision) -> Iterator[Path]:
    """Write the graph, computed in a precision, into a folder that lasts as long as the block."""
    with tempfile.TemporaryDirectory(prefix="foley-yardstick-") as folder:
        file = Path(folder) / "yardstick.onnx"
        onnx.save(yardstick_graph(precision), file)
        yield file


def yardstick_graph(precision: Precision) -> onnx.ModelProto:
    """Make x float32 [1,96,32,64] → z float32 [128,1536], computed in a precision, always with the same weights.

    Two 3×3 convolutions and two matrix products, 1.1 billion operations over 7 MB of float32 weights: more weights a
    second would make it wait for memory where a denoising step does not.
    """
    kind = TYPES[precision]
    nodes = [
        helper.make_node("Cast", ["x"], ["image"], to=kind),
        helper.make_node("Conv", ["image", "first"], ["convolved"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["convolved"], ["hidden"]),
        helper.make_node("Conv", ["hidden", "second"], ["picture"], pads=[1, 1, 1, 1]),
        helper.make_node("Reshape", ["picture", "tokens"], ["wide"]),
        helper.make_node("MatMul", ["wide", "down"], ["narrow"]),
        helper.make_node("MatMul", ["narrow", "up"], ["y"]),
        helper.make_node("Cast", ["y"], ["z"], to=TensorProto.FLOAT),
    ]
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, IMAGE)
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, TOKENS)
    graph = helper.make_graph(nodes, "yardstick", [given], [result], _weights(kind))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)


def _weights(kind: int) -> list[onnx.TensorProto]:
    """Draw weights that keep the size of what goes through them."""
    draw, stored = np.random.default_rng(VERSION), np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    channels = IMAGE[1]
    shapes = {
        "first": (channels, channels, 3, 3), "second": (channels, channels, 3, 3),
        "down": (TOKENS[1], INNER), "up": (INNER, TOKENS[1]),
    }  # fmt: skip
    drawn = {name: draw.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}
    tokens = numpy_helper.from_array(np.array(TOKENS, np.int64), "tokens")
    return [*(numpy_helper.from_array(_scaled(each).astype(stored), name) for name, each in drawn.items()), tokens]


def _scaled(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    terms = weight[0].size if weight.ndim == 4 else weight.shape[0]
    return weight / np.float32(terms**0.5)


class Yardstick:
    """The graph, bound in an engine of its own."""

    def __init__(self, file: Path, setup: Setup) -> None:
        """Load what `yardstick_file` wrote; a TensorRT plan of it is kept beside the file.

        Raises:
            EngineUnavailableError: the engine cannot run here.
            EngineError: it does not run the graph.
        """
        own = replace(setup, plans=file.parent, build=True) if isinstance(setup, TensorRtSetup) else setup
        self._host: Host = open_host(own)
        self._session: Session = self._host.open(GraphFile(file.stem, Spelling(file))).bind(x=IMAGE)
        self._session["x"].write(np.ones(IMAGE, np.float32))

    def run(self, times: int) -> None:
        """Do the work some times, to its end."""
        for _ in range(times):
            self._session.run()
        self._session.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._host.close()
