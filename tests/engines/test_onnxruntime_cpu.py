"""What only the CPU engine promises: its outputs live in numpy arrays, and a run is done when it returns."""

from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from onnx import parser
from support.attention_graph import attention_spelling
from support.mini_bundle import save_graph
from support.sum_graph import SHAPES, SUM, X, write_inputs, write_sum_graph

from foley_engines import GraphFile, open_host
from foley_engines.errors import EngineError
from foley_engines.onnxruntime_cpu import CpuEngine
from foley_engines.onnxruntime_cpu_session import CpuSession

HALF = """<ir_version: 9, opset_import: ["" : 20, "com.microsoft" : 1]>
half (float[B,L,8] x) => (float[B,L,8] y) {
    h = Cast <to = 10> (x)
    a = com.microsoft.MultiHeadAttention <num_heads = 2> (h, h, h)
    y = Cast <to = 1> (a)
}"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[CpuEngine]:
    with CpuEngine(write_sum_graph(tmp_path), threads=1) as opened:
        yield opened


def loaded(engine: CpuEngine, **more: tuple[int, ...]) -> CpuSession:
    session = engine.bind(**SHAPES, **more)
    write_inputs(session)
    return session


def test_axes_of_outputs_have_the_graphs_names(engine: CpuEngine):
    assert [str(spec) for spec in engine.outputs.values()] == [
        "next_x float32 [B,4]",
        "flat float32 [4*B]",
        "again int64 [B]",
    ]


def test_shapes_are_checked_before_anything_is_allocated(engine: CpuEngine):
    with pytest.raises(EngineError, match=r"next_x has shape \[3, 4\], so its axis 'B' is 3, but that of x is 2"):
        engine.bind(**SHAPES, next_x=(3, 4))


def test_an_output_is_not_read_before_a_run(engine: CpuEngine):
    with pytest.raises(EngineError, match="before the first run"):
        loaded(engine)["flat"].read()


def test_an_output_without_a_bound_shape_has_none_before_a_run(engine: CpuEngine):
    session = loaded(engine)
    with pytest.raises(EngineError, match="before the first run"):
        _ = session["flat"].shape
    session.run()
    assert session["flat"].shape == (8,)


def test_an_output_without_a_bound_shape_is_not_written(engine: CpuEngine):
    session = loaded(engine)
    with pytest.raises(EngineError, match="cannot be written"):
        session["flat"].write(np.zeros(8, np.float32))
    with pytest.raises(EngineError, match="cannot be written"):
        session["flat"].take(session["x"])


def test_an_output_without_a_bound_shape_does_not_feed(engine: CpuEngine):
    with pytest.raises(EngineError, match="'next_x' was bound without a shape"):
        loaded(engine).feed("x", "next_x")


def test_feeding_swaps_the_arrays(engine: CpuEngine):
    """No copy: the very array that was the output is the input."""
    session = loaded(engine, next_x=(2, 4))
    one, other = session["x"].array, session["next_x"].array
    session.feed("x", "next_x")
    assert session["x"].array is other
    assert session["next_x"].array is one


def test_a_run_is_done_when_it_returns(engine: CpuEngine):
    session = loaded(engine, flat=(8,))
    session.run()
    assert np.array_equal(session["flat"].array, SUM)


def test_taking_copies(engine: CpuEngine):
    session = loaded(engine, next_x=(2, 4))
    session["x"].take(session["y"])
    session["y"].write(7 * X)
    assert np.array_equal(session["x"].read(), np.ones((2, 4)))


def test_a_kernels_own_error_names_the_graph_in_one_line(engine: CpuEngine):
    session = loaded(engine)
    session["order"].write(np.array([0, 7], np.int64))
    with pytest.raises(EngineError, match=r"^sum.onnx: .*indices element out of data bounds") as caught:
        session.run()
    assert "\n" not in str(caught.value)


def test_an_output_bound_to_a_wrong_size_fails_at_the_run(engine: CpuEngine):
    session = loaded(engine, flat=(9,))
    with pytest.raises(EngineError, match=r"^sum.onnx: "):
        session.run()


def test_the_shape_of_an_output_follows_each_run(tmp_path: Path):
    file = tmp_path / "free.onnx"
    save_graph("free (float[?,2] x, float[?,2] y) => (float[M,2] z) { z = Concat <axis = 0> (x, y) }", {}, file)
    with CpuEngine(file) as engine:
        session = engine.bind(x=(1, 2), y=(3, 2))
        session.run()
        assert session["z"].read().shape == session["z"].shape == (4, 2)


def test_as_many_fused_operators_as_were_written_run(tmp_path: Path):
    with open_host("cpu") as host:
        assert host.open(GraphFile("attention", attention_spelling(tmp_path))).inputs


def test_fewer_fused_operators_than_were_written_are_an_error(tmp_path: Path):
    with open_host("cpu") as host, pytest.raises(EngineError) as caught:
        host.open(GraphFile("attention", attention_spelling(tmp_path, count=3)))
    assert str(caught.value) == (
        "attention.onnx: CPUExecutionProvider runs 2 × MultiHeadAttention, expected 3: this onnxruntime has no kernel "
        "for the others; update it, or export the bundle with another --precision"
    )


@pytest.mark.parametrize(("version", "asked"), [("1.30.4", False), ("1.31.0", True), ("2.0.1", True)])
def test_a_release_that_may_leave_operators_out_is_not_asked(tmp_path: Path, monkeypatch, version: str, asked: bool):
    """Half operators that the CPU computes in float32 would be missing."""
    monkeypatch.setattr(onnxruntime, "__version__", version)
    spelling = attention_spelling(tmp_path, count=3)
    with pytest.raises(EngineError, match="expected 3") if asked else nullcontext():
        CpuEngine(spelling.path, threads=1, fused=spelling.fused).close()


def test_half_operators_are_named_too(tmp_path: Path):
    """What the release that is installed has to do for `TELLS_ALL`."""
    file = tmp_path / "half.onnx"
    file.write_bytes(parser.parse_model(HALF).SerializeToString())
    with CpuEngine(file, threads=1, fused={"MultiHeadAttention": 1}) as engine:
        assert engine.inputs
