"""What only the CPU engine promises: its outputs live in numpy arrays, and a run is done when it returns."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.mini_bundle import save_graph
from support.sum_graph import SHAPES, SUM, X, write_inputs, write_sum_graph

from foley_engines.errors import EngineError
from foley_engines.onnxruntime_cpu import CpuEngine, CpuSession


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
