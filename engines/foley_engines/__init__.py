"""Run a graph: open it in an engine, bind its shapes once, run it many times.

with foley_engines.open("denoise_step.onnx", engine="cpu") as engine:
    session = engine.bind(state=(1, 4, 4, 32, 128), ...)
    session["state"].write(array)
    session.run()
    session["next_state"].read()
    session.feed("state", "next_state")
"""

from pathlib import Path

from foley_engines.base import Array, Buffer, Engine, Host, Session, Shape, TensorSpec
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.registry import ENGINES, EngineStatus, choose, open_graph, open_host, status
from foley_engines.setups import BuildOptions, CpuSetup, CudaSetup, Setup, TensorRtSetup

__all__ = [
    "ENGINES",
    "Array",
    "Buffer",
    "BuildOptions",
    "CpuSetup",
    "CudaSetup",
    "Engine",
    "EngineStatus",
    "GraphFile",
    "Host",
    "Session",
    "Setup",
    "Shape",
    "Spelling",
    "TensorRtSetup",
    "TensorSpec",
    "choose",
    "open",
    "open_host",
    "status",
]


def open(  # noqa: A001
    graph: str | Path, *, engine: str, threads: int | None = None, optimise: bool = True
) -> Engine:
    """Open an ONNX graph in the named engine; the caller closes it, or uses it in a `with`.

    `threads` is the number of cores for one operator (None: all); without `optimise` a graph loads faster and runs
    slower.

    Raises:
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        EngineError: the graph does not load.
    """
    return open_graph(Path(graph), engine=engine, threads=threads, optimise=optimise)
