"""What every engine must do, over each engine that this release can run."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.mini_bundle import save_graph

import foley_engines
from foley_engines import ENGINES, Engine
from foley_engines.errors import EngineError

RUNNABLE = [name for name, choice in ENGINES.items() if choice.module]
GRAPH = """
sum (float[B,4] x, float[B,4] y, int64[B] order) => (float[B,4] next_x, float[N] flat, int64[B] again) {
    scaled = Mul (y, weight)
    added = Add (x, scaled)
    next_x = Gather (added, order)
    one_axis = Constant <value_ints = [-1]> ()
    flat = Reshape (added, one_axis)
    again = Add (order, order)
}"""
WEIGHT = np.array([1, 2, 3, 4], np.float32)
X, Y = np.arange(8, dtype=np.float32).reshape(2, 4), np.ones((2, 4), np.float32)
SWAP = np.array([1, 0], np.int64)
SHAPES = {"x": (2, 4), "y": (2, 4), "order": (2,)}


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("graph") / "sum.onnx"
    save_graph(GRAPH, {"weight": WEIGHT}, file)
    return file


@pytest.fixture(scope="module", params=RUNNABLE)
def engine(request: pytest.FixtureRequest, graph: Path) -> Iterator[Engine]:
    with foley_engines.open(graph, engine=request.param, threads=1) as opened:
        yield opened


def loaded(engine: Engine, **more: tuple[int, ...]) -> foley_engines.Session:
    session = engine.bind(**SHAPES, **more)
    for name, value in (("x", X), ("y", Y), ("order", SWAP)):
        session[name].write(value)
    return session


def test_tensors_are_described(engine: Engine):
    assert [str(spec) for spec in engine.inputs.values()] == ["x float32 [B,4]", "y float32 [B,4]", "order int64 [B]"]
    assert [str(spec) for spec in engine.outputs.values()] == [
        "next_x float32 [B,4]",
        "flat float32 [N]",
        "again int64 [B]",
    ]


@pytest.mark.parametrize("bound", [{}, {"next_x": (2, 4)}, {"next_x": (2, 4), "flat": (8,), "again": (2,)}], ids=str)
def test_a_run_computes_the_graph(engine: Engine, bound: dict[str, tuple[int, ...]]):
    session = loaded(engine, **bound)
    session.run()
    assert np.array_equal(session["next_x"].read(), (X + WEIGHT)[::-1])
    assert np.array_equal(session["flat"].read(), (X + WEIGHT).ravel())
    assert np.array_equal(session["again"].read(), [2, 0])
    assert session["again"].read().dtype == np.int64


def test_inputs_are_read_back_and_last_from_run_to_run(engine: Engine):
    session = loaded(engine)
    session.run()
    session["y"].write(2 * Y)
    session.run()
    assert np.array_equal(session["flat"].read(), (X + 2 * WEIGHT).ravel())
    assert np.array_equal(session["x"].read(), X)


@pytest.mark.parametrize("bound", [{}, {"next_x": (2, 4)}], ids=["unbound", "bound"])
def test_what_is_read_is_a_copy(engine: Engine, bound: dict[str, tuple[int, ...]]):
    session = loaded(engine, **bound)
    session.run()
    first = session["next_x"].read()
    first[...] = -1
    assert np.array_equal(session["next_x"].read(), (X + WEIGHT)[::-1])
    session["y"].write(5 * Y)
    kept = session["next_x"].read()
    session.run()
    assert np.array_equal(kept, (X + WEIGHT)[::-1])


def test_what_is_written_is_a_copy(engine: Engine):
    session = loaded(engine)
    mine = X.copy()
    session["x"].write(mine)
    mine[...] = -1
    session.run()
    assert np.array_equal(session["flat"].read(), (X + WEIGHT).ravel())


def test_an_array_may_lie_anyhow_in_memory(engine: Engine):
    session = loaded(engine)
    session["x"].write(np.asfortranarray(X)[::-1])
    session.run()
    assert np.array_equal(session["flat"].read(), (X[::-1] + WEIGHT).ravel())


def test_feeding_makes_the_output_the_next_input(engine: Engine):
    session = loaded(engine, next_x=(2, 4))
    expected = X
    for _ in range(5):
        session.run()
        expected = (expected + WEIGHT)[::-1]
        assert np.array_equal(session["next_x"].read(), expected)
        session.feed("x", "next_x")
        assert np.array_equal(session["x"].read(), expected)


def test_sessions_do_not_share_memory(engine: Engine):
    one, other = loaded(engine), engine.bind(x=(3, 4), y=(3, 4), order=(3,))
    other["x"].write(np.full((3, 4), 9, np.float32))
    other.run()
    one.run()
    assert np.array_equal(one["flat"].read(), (X + WEIGHT).ravel())
    assert np.array_equal(other["flat"].read(), np.full(12, 9))


WRONG_SHAPES = {
    "sum.onnx: no shape for y float32 [B,4]; order int64 [B]": {"x": (2, 4)},
    "sum.onnx has no tensor 'z'; it has x, y, order, next_x": {**SHAPES, "z": (2, 4)},
    "sum.onnx: x has shape [2, 5], expected x float32 [B,4]": {**SHAPES, "x": (2, 5)},
    "sum.onnx: x has shape [2], expected x float32 [B,4]": {**SHAPES, "x": (2,)},
    "so its axis 'B' is 3, but that of x is 2": {**SHAPES, "order": (3,)},
    "sum.onnx: next_x has shape [3, 4], so its axis 'B' is 3": {**SHAPES, "next_x": (3, 4)},
}


@pytest.mark.parametrize("message", WRONG_SHAPES)
def test_other_shapes_are_refused_before_anything_is_allocated(engine: Engine, message: str):
    with pytest.raises(EngineError) as caught:
        engine.bind(**WRONG_SHAPES[message])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "got"),
    [(X.astype(np.float64), "float64 [2, 4]"), (X[:1], "float32 [1, 4]"), (X.astype(np.int64), "int64 [2, 4]")],
)
def test_other_arrays_are_refused(engine: Engine, value: np.ndarray, got: str):
    with pytest.raises(EngineError) as caught:
        loaded(engine)["x"].write(value)
    assert str(caught.value) == f"x: got {got}, bound as float32 [2, 4]"


def test_an_unknown_tensor_is_named(engine: Engine):
    with pytest.raises(EngineError, match=r"'z'.* x, y, order, next_x, flat, again"):
        loaded(engine)["z"]


def test_an_output_is_not_read_before_a_run(engine: Engine):
    with pytest.raises(EngineError, match="before the first run"):
        loaded(engine)["flat"].read()


def test_an_output_without_a_bound_shape_is_not_written(engine: Engine):
    with pytest.raises(EngineError, match="cannot be written"):
        loaded(engine)["flat"].write(np.zeros(8, np.float32))


@pytest.mark.parametrize(
    ("more", "pair"),
    [
        ({"next_x": (2, 4), "flat": (8,)}, ("x", "flat")),  # shapes differ
        ({"again": (2,), "next_x": (2, 4)}, ("order", "next_x")),
        ({}, ("x", "next_x")),  # no shape was bound
        ({}, ("x", "z")),
    ],
)
def test_what_does_not_fit_is_not_fed(engine: Engine, more: dict[str, tuple[int, ...]], pair: tuple[str, str]):
    with pytest.raises(EngineError, match=r"^sum.onnx: "):
        loaded(engine, **more).feed(*pair)


def test_an_output_bound_to_a_wrong_size_fails(engine: Engine):
    session = loaded(engine, flat=(9,))
    with pytest.raises(EngineError, match=r"^sum.onnx: "):
        session.run()


def test_a_failing_run_names_the_graph_in_one_line(engine: Engine):
    session = loaded(engine)
    session["order"].write(np.array([0, 7], np.int64))
    with pytest.raises(EngineError, match=r"^sum.onnx: ") as caught:
        session.run()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("options", [{}, {"threads": 1}, {"threads": os.cpu_count()}, {"optimise": False}], ids=str)
def test_options_do_not_change_the_result(graph: Path, name: str, options: dict):
    with foley_engines.open(graph, engine=name, **options) as engine:
        session = loaded(engine)
        session.run()
        assert np.array_equal(session["flat"].read(), (X + WEIGHT).ravel())


@pytest.mark.parametrize("name", RUNNABLE)
@pytest.mark.parametrize("content", [None, b"", b"nothing at all", b"\x08\x08"], ids=str)
def test_a_file_that_is_no_graph_is_named(tmp_path: Path, name: str, content: bytes | None):
    file = tmp_path / "broken.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=r"^broken.onnx does not load in ") as caught:
        foley_engines.open(file, engine=name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", RUNNABLE)
def test_axes_without_a_name_are_free(tmp_path: Path, name: str):
    file = tmp_path / "free.onnx"
    save_graph("free (float[?,2] x, float[?,2] y) => (float[M,2] z) { z = Concat <axis = 0> (x, y) }", {}, file)
    with foley_engines.open(file, engine=name) as engine:
        session = engine.bind(x=(1, 2), y=(3, 2))
        session.run()
        assert session["z"].read().shape == (4, 2)
