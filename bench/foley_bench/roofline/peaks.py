"""What a machine's engine can do at best: a chain of matrix products, and a sum of two large arrays."""

import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foley.manifest import Precision
from foley_engines import GraphFile, Host, Session, Setup, Spelling, TensorRtSetup, open_host

OPSET: Final = 20
IR_VERSION: Final = 10
CHAIN: Final = 4
"""Products one after another, so that casts at the boundary weigh little."""
SIZES: Final = (256, 512, 1024, 2048, 4096, 8192)
"""Rows and columns that are tried, until a run takes `LONG_S`."""
LONG_S: Final = 0.05
BLOCK_S: Final = 0.01
"""How long runs on end take together: single short ones would meet a calm moment more often, and win by it."""
ROUNDS: Final = 15
WARM_UP: Final = 2
TERMS: Final = 1 << 25
"""Elements of each array of the sum: 128 MiB, beyond every cache."""


@dataclass(frozen=True)
class Peaks:
    """The best of a machine in one engine and precision."""

    flops_per_s: float
    bytes_per_s: float
    product_size: int
    """Rows and columns of the matrices that reached it."""


@dataclass(frozen=True)
class Task:
    """Work whose rate is measured."""

    amount: int
    """Operations or bytes of a run."""
    run: Callable[[int], float]
    """Does some runs on end; gives the seconds of one."""


def measure_peaks(setup: Setup, precision: Precision, rounds: int = ROUNDS) -> Peaks:
    """Measure an engine's best rates: of products in a precision, and of memory, in float32.

    Raises:
        EngineUnavailableError: the engine cannot run here.
        EngineError: it does not run the graphs.
    """
    with tempfile.TemporaryDirectory(prefix="foley-peaks-") as folder, ExitStack() as opened:
        own = replace(setup, plans=Path(folder)) if isinstance(setup, TensorRtSetup) else setup
        graphs = Opener(opened.enter_context(open_host(own)), Path(folder), opened)
        products = _products(graphs, precision)
        *rates, memory = best_rates([*products.values(), graphs.sum()], rounds)
        best, size = max(zip(rates, products, strict=True))
        return Peaks(best, memory, size)


def best_rates(tasks: Sequence[Task], rounds: int) -> list[float]:
    """Let tasks take turns, each for `BLOCK_S` or one run; give each one's best amount a second."""
    blocks = [max(1, round(BLOCK_S / task.run(1))) for task in tasks]
    turns = [[task.amount / task.run(runs) for task, runs in zip(tasks, blocks, strict=True)] for _ in range(rounds)]
    return [max(rates) for rates in zip(*turns, strict=True)]


class Opener:
    """Opens the graphs of the peaks in an engine, until its stack is closed."""

    def __init__(self, host: Host, folder: Path, opened: ExitStack) -> None:
        self._host, self._folder, self._opened = host, folder, opened

    def product(self, size: int, precision: Precision) -> Task:
        """Open a chain of products of matrices with so many rows and columns."""
        shape = (size, size)
        session = self._session(f"product{size}", product_chain(size, precision), {"x": shape, "z": shape})
        return Task(2 * CHAIN * size**3, _clocked(session))

    def sum(self) -> Task:
        """Open a sum that reads two arrays and writes one."""
        session = self._session("sum", array_sum(), dict.fromkeys("xyz", (TERMS,)))
        return Task(3 * 4 * TERMS, _clocked(session))

    def _session(self, name: str, model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> Session:
        """Bind a graph to ones and warm it up. Outputs are bound too: else they would be allocated at each run."""
        file = self._folder / f"{name}.onnx"
        onnx.save(model, file)
        session = self._opened.enter_context(self._host.open(GraphFile(name, Spelling(file)))).bind(**shapes)
        for info in model.graph.input:
            session[info.name].write(np.ones(shapes[info.name], np.float32))
        _clocked(session)(WARM_UP)
        return session


def _products(graphs: Opener, precision: Precision) -> dict[int, Task]:
    """Open growing products, by their rows."""
    found: dict[int, Task] = {}
    for size in SIZES:
        found[size] = graphs.product(size, precision)
        if found[size].run(1) > LONG_S:
            break
    return found


def _clocked(session: Session) -> Callable[[int], float]:
    def run(times: int) -> float:
        begin = time.perf_counter()
        for _ in range(times):
            session.run()
        session.wait()
        return (time.perf_counter() - begin) / times

    return run


def product_chain(size: int, precision: Precision) -> onnx.ModelProto:
    """Make x [n,n] float32 → x·w·w·w·w [n,n] float32, computed in a precision, w[n,n] with rows that sum to 1 or so."""
    kind = {"fp32": TensorProto.FLOAT, "fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    weight = np.random.default_rng(0).uniform(0.5 / size, 1.5 / size, (size, size)).astype(np.float32)
    stored = numpy_helper.from_array(weight.astype(helper.tensor_dtype_to_np_dtype(kind)), "w")
    names = ["x.in", *(f"x.{place}" for place in range(CHAIN))]
    nodes = [
        helper.make_node("Cast", ["x"], [names[0]], to=kind),
        *(helper.make_node("MatMul", [name, "w"], [after]) for name, after in pairwise(names)),
        helper.make_node("Cast", [names[-1]], ["z"], to=TensorProto.FLOAT),
    ]
    return _model(nodes, {"x": [size, size]}, [size, size], [stored])


def array_sum() -> onnx.ModelProto:
    """Make x [N] + y [N] → z [N], float32."""
    return _model([helper.make_node("Add", ["x", "y"], ["z"])], {"x": [TERMS], "y": [TERMS]}, [TERMS], [])


def _model(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[int]], output: list[int], weights: list[onnx.TensorProto]
) -> onnx.ModelProto:
    given = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    result = helper.make_tensor_value_info("z", TensorProto.FLOAT, output)
    graph = helper.make_graph(nodes, "peak", given, [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
