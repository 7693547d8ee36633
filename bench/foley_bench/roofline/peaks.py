"""What a machine's engine can do at best: a chain of matrix products, and a sum of two large arrays."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Final

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from foley.manifest import Precision
from foley_engines import GraphFile, Host, Setup, Shape, Spelling, TensorRtSetup, open_host

OPSET: Final = 20
IR_VERSION: Final = 10
CHAIN: Final = 4
"""Products one after another, so that casts at the boundary weigh little."""
SIZES: Final = (512, 1024, 2048, 4096, 8192)
"""Rows and columns that are tried, until a run takes `LONG_S`."""
LONG_S: Final = 0.05
REPEATS: Final = 7
TERMS: Final = 1 << 25
"""Elements of each array of the sum: 128 MiB, beyond every cache."""


@dataclass(frozen=True)
class Peaks:
    """The best of a machine in one engine and precision."""

    flops_per_s: float
    bytes_per_s: float
    product_size: int
    """Rows and columns of the matrices that reached it."""


def measure_peaks(setup: Setup, precision: Precision) -> Peaks:
    """Measure an engine's best rates: of products in a precision, and of memory.

    Raises:
        EngineUnavailableError: the engine cannot run here.
        EngineError: it does not run the graphs.
    """
    with tempfile.TemporaryDirectory(prefix="foley-peaks-") as folder:
        own = replace(setup, plans=Path(folder)) if isinstance(setup, TensorRtSetup) else setup
        with open_host(own) as host:
            rates = list(_product_rates(host, Path(folder), precision))
            best, size = max(rates)
            return Peaks(best, _sum_rate(host, Path(folder)), size)


def _product_rates(host: Host, folder: Path, precision: Precision) -> list[tuple[float, int]]:
    """Give operations a second of growing products, and their sizes."""
    rates = []
    for size in SIZES:
        file = folder / f"product{size}.onnx"
        onnx.save(product_chain(size, precision), file)
        seconds = _best_s(host, file, {"x": (size, size)})
        rates.append((2 * CHAIN * size**3 / seconds, size))
        if seconds > LONG_S:
            break
    return rates


def _sum_rate(host: Host, folder: Path) -> float:
    """Give bytes a second of a sum that reads two arrays and writes one."""
    file = folder / "sum.onnx"
    onnx.save(array_sum(), file)
    return 3 * 4 * TERMS / _best_s(host, file, {"x": (TERMS,), "y": (TERMS,)})


def _best_s(host: Host, file: Path, shapes: dict[str, Shape]) -> float:
    """Give the seconds of a graph's fastest run, after two that are not counted."""
    with host.open(GraphFile(file.stem, Spelling(file))) as engine:
        session = engine.bind(**shapes)
        for name, shape in shapes.items():
            session[name].write(np.ones(shape, np.float32))

        def run() -> None:
            session.run()
            session.wait()

        return best_s(run)


def best_s(run: Callable[[], None], repeats: int = REPEATS) -> float:
    """Give the seconds of the fastest of some runs, after two that are not counted."""
    times = []
    for number in range(repeats + 2):
        begin = time.perf_counter()
        run()
        if number >= 2:
            times.append(time.perf_counter() - begin)
    return min(times)


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
