"""What every engine must do, over each engine: the CPU's for real, the others on fakes of NVIDIA's libraries."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.engine_hosts import HOSTS, engine_host
from support.mini_bundle import save_graph
from support.nvidia.machine import Machine
from support.sum_graph import SHAPES, SUM, SWAP, WEIGHT, X, Y, write_inputs, write_sum_graph

from foley_engines import Engine, GraphFile, Host, Session, Spelling
from foley_engines.errors import EngineError


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sum_graph(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="module", params=HOSTS)
def opened(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple]:
    with engine_host(request.param, tmp_path_factory.mktemp("plans")) as (host, machine):
        yield host, machine


@pytest.fixture(scope="module")
def host(opened: tuple[Host, Machine | None]) -> Host:
    return opened[0]


@pytest.fixture(scope="module")
def engine(host: Host, graph: Path) -> Engine:
    return host.open(GraphFile("sum", Spelling(graph)))


@pytest.fixture(params=["at once", "late"])
def timing(request: pytest.FixtureRequest, opened: tuple[Host, Machine | None]) -> Iterator[None]:
    """Work on the device is done when it is asked for, or as late as may be: at the next wait."""
    _, machine = opened
    if machine is None:
        yield
        return
    machine.lazy = request.param == "late"
    yield
    machine.lazy = False


@pytest.fixture
def lent(engine: Engine) -> Iterator[list[Session]]:
    sessions: list[Session] = []
    yield sessions
    for session in sessions:
        session.close()


@pytest.fixture
def loaded(engine: Engine, lent: list[Session], opened: tuple[Host, Machine | None], timing: None):
    def bind(**more: tuple[int, ...]) -> Session:
        lent.append(engine.bind(**SHAPES, **more))
        use_otherwise(lent[-1], opened[1])
        write_inputs(lent[-1])
        return lent[-1]

    return bind


def use_otherwise(session: Session, machine: Machine | None) -> None:
    """Leave other values in all of a session's memory: what is not waited for would be read of these."""
    late = machine is not None and machine.lazy
    if machine is not None:
        machine.lazy = False
    write_inputs(session, X - 100, 50 * Y)
    session.run()
    for name in ("x", "y", "order", "next_x", "flat", "again"):
        session[name].read()
    if machine is not None:
        machine.lazy = late


BOUND = [{}, {"next_x": (2, 4)}, {"next_x": (2, 4), "flat": (8,), "again": (2,)}]


def test_inputs_are_described(engine: Engine):
    assert [str(spec) for spec in engine.inputs.values()] == ["x float32 [B,4]", "y float32 [B,4]", "order int64 [B]"]


def test_outputs_are_named_with_their_types(engine: Engine):
    found = [(spec.name, spec.dtype) for spec in engine.outputs.values()]
    assert found == [("next_x", "float32"), ("flat", "float32"), ("again", "int64")]


@pytest.mark.parametrize("bound", BOUND, ids=str)
def test_a_run_computes_the_graph(loaded, bound: dict[str, tuple[int, ...]]):
    session = loaded(**bound)
    session.run()
    assert np.array_equal(session["next_x"].read(), (X + WEIGHT)[::-1])
    assert np.array_equal(session["flat"].read(), SUM)
    assert np.array_equal(session["again"].read(), [2, 0])
    assert session["again"].read().dtype == np.int64
    assert [session[name].shape for name in ("x", "next_x", "flat", "again")] == [(2, 4), (2, 4), (8,), (2,)]


def test_inputs_are_read_back_and_last_from_run_to_run(loaded):
    session = loaded()
    session.run()
    session["y"].write(2 * Y)
    session.run()
    assert np.array_equal(session["flat"].read(), (X + 2 * WEIGHT).ravel())
    assert np.array_equal(session["x"].read(), X)


def test_an_input_written_twice_holds_the_last(loaded):
    session = loaded()
    for factor in (5, 7, 2):
        session["y"].write(factor * Y)
    session.run()
    assert np.array_equal(session["flat"].read(), (X + 2 * WEIGHT).ravel())


def test_runs_asked_for_one_after_another_see_their_own_inputs(loaded):
    """More runs than the host may be ahead; each adds to the last one's output."""
    session, expected = loaded(next_x=(2, 4)), X
    for factor in range(1, 12):
        session["y"].write(factor * Y)
        session.run()
        session.feed("x", "next_x")
        expected = (expected + factor * WEIGHT)[::-1]
    assert np.array_equal(session["x"].read(), expected)


@pytest.mark.parametrize("bound", BOUND[:2], ids=["unbound", "bound"])
def test_what_is_read_is_a_copy(loaded, bound: dict[str, tuple[int, ...]]):
    session = loaded(**bound)
    session.run()
    first = session["next_x"].read()
    first[...] = -1
    assert np.array_equal(session["next_x"].read(), (X + WEIGHT)[::-1])
    session["y"].write(5 * Y)
    kept = session["next_x"].read()
    session.run()
    session.wait()
    assert np.array_equal(kept, (X + WEIGHT)[::-1])


def test_what_is_written_is_a_copy(loaded):
    session = loaded()
    mine = X.copy()
    session["x"].write(mine)
    mine[...] = -1
    session.run()
    assert np.array_equal(session["flat"].read(), SUM)


def test_an_array_may_lie_anyhow_in_memory(loaded):
    session = loaded()
    session["x"].write(np.asfortranarray(X)[::-1])
    session.run()
    assert np.array_equal(session["flat"].read(), (X[::-1] + WEIGHT).ravel())


def test_feeding_makes_the_output_the_next_input(loaded):
    session = loaded(next_x=(2, 4))
    expected = X
    for _ in range(5):
        session.run()
        expected = (expected + WEIGHT)[::-1]
        assert np.array_equal(session["next_x"].read(), expected)
        session.feed("x", "next_x")
        assert np.array_equal(session["x"].read(), expected)


def test_taking_copies_between_sessions_and_by_index(loaded, engine: Engine, lent: list[Session]):
    one = loaded(next_x=(2, 4))
    one.run()
    lent.append(engine.bind(x=(1, 4), y=(1, 4), order=(1,)))
    other = lent[-1]
    other["x"].take(one["next_x"], 1)
    other["y"].write(Y[:1])
    other["order"].take(one["again"], 1)
    one["x"].take(one["next_x"])
    one.run()
    other.run()
    assert np.array_equal(other["x"].read(), SUM[None, :4])
    assert np.array_equal(other["flat"].read(), SUM[:4] + WEIGHT)
    assert np.array_equal(other["order"].read(), [0])
    assert np.array_equal(one["flat"].read(), ((X + WEIGHT)[::-1] + WEIGHT).ravel())


def test_what_is_taken_is_what_was_there_when_it_was_asked_for(loaded):
    session = loaded(next_x=(2, 4))
    session.run()
    session["y"].take(session["next_x"])
    session["x"].write(np.zeros_like(X))
    session.run()
    assert np.array_equal(session["flat"].read(), ((X + WEIGHT)[::-1] * WEIGHT).ravel())


def test_what_was_taken_does_not_follow_what_is_written_later(loaded):
    """Two writes and no run between: the first was read before the second is staged."""
    session = loaded()
    session["x"].write(7 * X)
    session["y"].take(session["x"])
    session["x"].write(np.zeros_like(X))
    session.run()
    assert np.array_equal(session["flat"].read(), (7 * X * WEIGHT).ravel())


@pytest.mark.parametrize(
    ("target", "source", "index"),
    [("x", "order", ()), ("x", "next_x", (0,)), ("order", "x", ()), ("x", "next_x", (2,)), ("x", "next_x", (0, 0, 0))],
)
def test_what_does_not_fit_is_not_taken(loaded, target: str, source: str, index: tuple[int, ...]):
    session = loaded(next_x=(2, 4))
    session.run()
    with pytest.raises(EngineError, match=rf"{target}.*{source}|{source}.*no part"):
        session[target].take(session[source], *index)


def test_a_tensor_of_another_host_is_not_taken(loaded, tmp_path: Path, graph: Path):
    class Foreign:
        shape = (2, 4)

    with pytest.raises(EngineError, match=r"^x cannot take a tensor of another host"):
        loaded()["x"].take(Foreign())


def test_sessions_do_not_share_memory(loaded, engine: Engine, lent: list[Session]):
    one = loaded()
    lent.append(engine.bind(x=(3, 4), y=(3, 4), order=(3,)))
    other = lent[-1]
    other["x"].write(np.full((3, 4), 9, np.float32))
    other["y"].write(np.zeros((3, 4), np.float32))
    other["order"].write(np.zeros(3, np.int64))
    other.run()
    one.run()
    assert np.array_equal(one["flat"].read(), SUM)
    assert np.array_equal(other["flat"].read(), np.full(12, 9))


def test_sessions_of_the_same_shapes_do_not_share_memory(loaded):
    one, other = loaded(), loaded()
    other["y"].write(3 * Y)
    for _ in range(4):
        one.run()
        other.run()
    assert np.array_equal(one["flat"].read(), SUM)
    assert np.array_equal(other["flat"].read(), (X + 3 * WEIGHT).ravel())


def test_a_new_sessions_tensors_are_zeros(engine: Engine, lent: list[Session], timing: None):
    lent.append(engine.bind(x=(5, 4), y=(5, 4), order=(5,)))
    lent[-1].run()
    assert not lent[-1]["flat"].read().any()


def test_a_session_given_back_is_lent_again_for_its_shapes(engine: Engine):
    sevens, eights = ({"x": (size, 4), "y": (size, 4), "order": (size,)} for size in (7, 8))
    one = engine.bind(**sevens)
    one.close()
    sessions = [engine.bind(**eights), engine.bind(**sevens), engine.bind(**sevens)]
    assert [session is one for session in sessions] == [False, True, False]
    for session in sessions:
        session.close()


def test_a_session_given_back_twice_is_lent_once(engine: Engine):
    one = engine.bind(x=(6, 4), y=(6, 4), order=(6,))
    one.close()
    one.close()
    sessions = [engine.bind(x=(6, 4), y=(6, 4), order=(6,)) for _ in range(2)]
    assert sessions[0] is not sessions[1]
    for session in sessions:
        session.close()


def test_preparing_changes_no_result(engine: Engine, loaded):
    engine.prepare([SHAPES, {"x": (4, 4), "y": (4, 4), "order": (4,)}])
    session = loaded()
    session.run()
    assert np.array_equal(session["flat"].read(), SUM)


def test_shapes_that_fit_are_left_as_they_are(engine: Engine):
    assert engine.fit(SHAPES) == SHAPES


WRONG_SHAPES = {
    "sum.onnx: no shape for y float32 [B,4]; order int64 [B]": {"x": (2, 4)},
    "sum.onnx has no tensor 'z'; it has x, y, order, next_x": {**SHAPES, "z": (2, 4)},
    "sum.onnx: x has shape [2, 5], expected x float32 [B,4]": {**SHAPES, "x": (2, 5)},
    "sum.onnx: x has shape [2], expected x float32 [B,4]": {**SHAPES, "x": (2,)},
    "so its axis 'B' is 3, but that of x is 2": {**SHAPES, "order": (3,)},
    "next_x": {**SHAPES, "next_x": (3, 4)},
}


@pytest.mark.parametrize("message", WRONG_SHAPES)
def test_other_shapes_are_refused_when_they_are_bound(engine: Engine, message: str):
    with pytest.raises(EngineError) as caught:
        engine.bind(**WRONG_SHAPES[message])
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("value", "got"),
    [(X.astype(np.float64), "float64 [2, 4]"), (X[:1], "float32 [1, 4]"), (X.astype(np.int64), "int64 [2, 4]")],
)
def test_other_arrays_are_refused(loaded, value: np.ndarray, got: str):
    with pytest.raises(EngineError) as caught:
        loaded()["x"].write(value)
    assert str(caught.value) == f"x: got {got}, bound as float32 [2, 4]"


def test_an_unknown_tensor_is_named(loaded):
    with pytest.raises(EngineError, match=r"'z'.* x, y, order, next_x, flat, again"):
        loaded()["z"]


@pytest.mark.parametrize(
    ("more", "pair"),
    [
        ({"next_x": (2, 4), "flat": (8,)}, ("x", "flat")),  # shapes differ
        ({"again": (2,), "next_x": (2, 4)}, ("order", "next_x")),
        ({"next_x": (2, 4), "again": (2,)}, ("y", "again")),
        ({}, ("x", "z")),
    ],
)
def test_what_does_not_fit_is_not_fed(loaded, more: dict[str, tuple[int, ...]], pair: tuple[str, str]):
    with pytest.raises(EngineError, match=r"^sum.onnx: "):
        loaded(**more).feed(*pair)


def test_an_output_bound_to_a_wrong_size_fails(loaded):
    def run() -> None:
        session = loaded(flat=(9,))
        session.run()

    with pytest.raises(EngineError, match=r"^sum.onnx: .*flat|^flat: |^sum.onnx: "):
        run()


def test_an_output_bound_to_a_wrong_size_loses_no_session(engine: Engine, loaded):
    with pytest.raises(EngineError):
        loaded(flat=(12,)).run()
    session = loaded()
    session.run()
    assert np.array_equal(session["flat"].read(), SUM)


def test_axes_without_a_name_are_free(host: Host, tmp_path: Path):
    file = tmp_path / "graphs" / "free.onnx"
    file.parent.mkdir()
    save_graph("free (float[?,2] x, float[?,2] y) => (float[M,2] z) { z = Concat <axis = 0> (x, y) }", {}, file)
    session = host.open(GraphFile("free", Spelling(file))).bind(x=(1, 2), y=(3, 2), z=(4, 2))
    session["x"].write(X[:1, :2])
    session["y"].write(np.ones((3, 2), np.float32))
    session.run()
    assert np.array_equal(session["z"].read(), [[0, 1], [1, 1], [1, 1], [1, 1]])


@pytest.mark.parametrize("content", [None, b"", b"nothing at all", b"\x08\x08"], ids=str)
def test_a_file_that_is_no_graph_is_named(host: Host, tmp_path: Path, content: bytes | None):
    file = tmp_path / "broken.onnx"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(EngineError, match=r"^broken.onnx (does not load in|is no network for) ") as caught:
        host.open(GraphFile("broken", Spelling(file)))
    assert "\n" not in str(caught.value)


def test_a_graph_can_be_opened_twice_and_closed_in_any_order(host: Host, graph: Path):
    one, other = (host.open(GraphFile("sum", Spelling(graph))) for _ in range(2))
    sessions = [engine.bind(**SHAPES) for engine in (one, other)]
    for session in sessions:
        write_inputs(session)
        session.run()
    one.close()
    assert np.array_equal(sessions[1]["flat"].read(), SUM)
    sessions[0].close()  # late: its engine has freed it
    other.close()
    sessions[1].close()
    other.close()


def test_a_closed_engines_session_given_back_late_is_not_lent(host: Host, graph: Path):
    engine = host.open(GraphFile("sum", Spelling(graph)))
    session = engine.bind(**SHAPES)
    session["order"].write(SWAP)
    engine.close()
    session.close()
    again = host.open(GraphFile("sum", Spelling(graph))).bind(**SHAPES)
    assert again is not session
    again.close()


@pytest.mark.parametrize("name", HOSTS)
def test_a_failed_run_is_one_line(name: str, graph: Path, tmp_path: Path):
    """A kernel that reads beyond its input: told by the run, or by what waits for it."""

    def fail() -> None:
        with engine_host(name, tmp_path) as (host, _):
            session = host.open(GraphFile("sum", Spelling(graph))).bind(**SHAPES)
            write_inputs(session)
            session["order"].write(np.array([0, 7], np.int64))
            session.run()
            session["flat"].read()

    with pytest.raises(EngineError) as caught:
        fail()
    assert "\n" not in str(caught.value)
