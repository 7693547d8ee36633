"""ONNX Runtime on CUDA: what it is asked for, one CUDA graph for each set of addresses, and nothing left to the CPU."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.attention_graph import ATTENTION, attention_spelling
from support.mini_bundle import save_graph
from support.nvidia.fake_onnxruntime import Behaviour, FakeOnnxRuntime, installed_onnxruntime
from support.nvidia.install import Fakes
from support.sum_graph import SHAPES, SUM, WEIGHT, X, Y, sum_graph, write_inputs, write_sum_graph

import foley
from foley_engines import CudaSetup, GraphFile, Host, Spelling, open_host
from foley_engines.errors import EngineError
from foley_engines.onnxruntime_assignment import HEAVY


@pytest.fixture
def behaviour() -> Behaviour:
    return Behaviour()


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, behaviour: Behaviour) -> Iterator[tuple[FakeOnnxRuntime, Fakes]]:
    library, fakes = installed_onnxruntime(monkeypatch, behaviour)
    yield library, fakes
    fakes.machine.check()


@pytest.fixture
def library(installed: tuple[FakeOnnxRuntime, Fakes]) -> FakeOnnxRuntime:
    return installed[0]


@pytest.fixture
def host(installed: tuple[FakeOnnxRuntime, Fakes]) -> Iterator[Host]:
    with open_host("cuda") as opened:
        yield opened


@pytest.fixture
def graph(tmp_path: Path) -> GraphFile:
    return sum_graph(write_sum_graph(tmp_path))


def steps(session, count: int) -> np.ndarray:
    for _ in range(count):
        session.run()
        session.feed("x", "next_x")
    return session["x"].read()


def test_the_provider_is_asked_for_this_device_and_stream(host, library: FakeOnnxRuntime, graph: GraphFile):
    host.open(graph)
    [session] = library.sessions
    assert session.provider_options == {
        "device_id": "0",
        "user_compute_stream": str(host.device.handle),
        "enable_cuda_graph": "1",
        "use_tf32": "0",
        "prefer_nhwc": "1",
        "cudnn_conv_algo_search": "EXHAUSTIVE",
        "cudnn_conv_use_max_workspace": "1",
        "cudnn_conv1d_pad_to_nc1d": "1",
        "arena_extend_strategy": "kSameAsRequested",
    }
    assert not session.fallback
    assert session.options.entries["session.record_ep_graph_assignment_info"] == "1"


def test_options_are_texts(host, library: FakeOnnxRuntime, graph: GraphFile):
    """ONNX Runtime takes no other values."""
    host.open(graph)
    assert all(isinstance(value, str) for value in library.sessions[0].provider_options.values())


def test_a_set_of_addresses_has_one_cuda_graph(host, library: FakeOnnxRuntime, graph: GraphFile):
    engine = host.open(graph)
    one, other = engine.bind(**SHAPES), engine.bind(**SHAPES)
    for session in (one, other):
        write_inputs(session)
        steps(session, 6)
    [taken] = library.sessions
    found: dict[str, set[tuple[int, ...]]] = {}
    for run in taken.runs:
        found.setdefault(run.entries["gpu_graph_id"], set()).add(run.addresses)
    assert [len(addresses) for addresses in found.values()] == [1, 1, 1, 1]
    assert len(set().union(*found.values())) == 4
    assert "0" not in found  # ORT's own default
    assert "-1" not in found


def test_a_session_lent_again_keeps_its_cuda_graphs(host, library: FakeOnnxRuntime, graph: GraphFile):
    engine = host.open(graph)
    for _ in range(3):
        session = engine.bind(**SHAPES)
        write_inputs(session)
        steps(session, 3)
        session.close()
    assert {run.entries["gpu_graph_id"] for run in library.sessions[0].runs} == {"1", "2"}


def test_memory_that_is_used_again_gets_another_cuda_graph(host, library: FakeOnnxRuntime, graph: GraphFile):
    """The address may be the same as that of a freed tensor; the id never is."""
    engine = host.open(graph)
    for size in range(1, 12):
        session = engine.bind(x=(size, 4), y=(size, 4), order=(size,))
        session.run()
        session.close()
    ids = [run.entries["gpu_graph_id"] for run in library.sessions[0].runs]
    assert len(set(ids)) == 11


def test_a_run_is_not_waited_for(host, library: FakeOnnxRuntime, installed, graph: GraphFile):
    machine = installed[1].machine
    session = host.open(graph).bind(**SHAPES)
    write_inputs(session)
    session.wait()
    machine.lazy = True
    session.run()
    assert machine.timeline.streams[host.device.handle].queue
    assert library.sessions[0].runs[-1].entries["disable_synchronize_execution_providers"] == "1"
    assert np.array_equal(session["flat"].read(), SUM)


def test_without_cuda_graphs_none_is_captured(library: FakeOnnxRuntime, graph: GraphFile):
    with open_host(CudaSetup(captured=False)) as host:
        session = host.open(graph).bind(**SHAPES)
        write_inputs(session)
        assert np.array_equal(steps(session, 5), expected(5))
    [taken] = library.sessions
    assert taken.provider_options["enable_cuda_graph"] == "0"
    assert {run.entries["gpu_graph_id"] for run in taken.runs} == {"-1"}


def expected(count: int) -> np.ndarray:
    value = X
    for _ in range(count):
        value = (value + WEIGHT)[::-1]
    return value


def test_the_fake_notices_a_cuda_graph_with_other_addresses(host, installed, graph: GraphFile, monkeypatch):
    """The fault that a real one would hide."""
    engine = host.open(graph)
    monkeypatch.setattr(engine, "_graph_ids", iter([7, 7]))
    session = engine.bind(**SHAPES)
    write_inputs(session)
    steps(session, 2)
    machine = installed[1].machine
    assert machine.faults == ["CUDA graph 7 is run with other addresses than it was captured with"]
    machine.faults.clear()


@pytest.mark.parametrize("behaviour", [Behaviour(falls_back=True)])
def test_falling_back_to_the_cpu_is_an_error(host, graph: GraphFile):
    with pytest.raises(EngineError) as caught:
        host.open(graph)
    assert str(caught.value) == "sum.onnx: asked for CUDAExecutionProvider, onnxruntime took CPUExecutionProvider"


@pytest.mark.parametrize("behaviour", [Behaviour(on_cpu=("Conv", "Shape", "MatMul", "Conv"))])
def test_heavy_operators_on_the_cpu_are_an_error(host, graph: GraphFile):
    with pytest.raises(EngineError, match=r"^sum.onnx: onnxruntime leaves 2 × Conv, 1 × MatMul to the CPU; export"):
        host.open(graph)


@pytest.mark.parametrize("behaviour", [Behaviour(on_cpu=(kind,)) for kind in sorted(HEAVY)], ids=sorted(HEAVY))
def test_each_heavy_operator_is_noticed(host, graph: GraphFile, behaviour: Behaviour):
    with pytest.raises(EngineError, match=f"1 × {behaviour.on_cpu[0]} to the CPU"):
        host.open(graph)


@pytest.mark.parametrize("behaviour", [Behaviour(on_cpu=("Shape", "Gather", "Concat", "Cast"))])
def test_operators_that_compute_shapes_belong_on_the_cpu(host, graph: GraphFile):
    assert host.open(graph).inputs


@pytest.mark.parametrize("behaviour", [Behaviour(tells=False, on_cpu=("Conv",))])
def test_a_release_that_does_not_tell_is_not_asked(host, graph: GraphFile):
    assert host.open(graph).inputs


def test_as_many_fused_operators_as_were_written_run(host, tmp_path: Path):
    assert host.open(GraphFile("attention", attention_spelling(tmp_path))).inputs


@pytest.mark.parametrize("behaviour", [Behaviour(apart=(ATTENTION,))])
def test_a_fused_operator_that_is_taken_apart_is_an_error(host, tmp_path: Path):
    """It would be found in no other provider either."""
    with pytest.raises(EngineError) as caught:
        host.open(GraphFile("attention", attention_spelling(tmp_path)))
    assert str(caught.value) == (
        "attention.onnx: CUDAExecutionProvider runs 1 × MultiHeadAttention, expected 2: this onnxruntime has no kernel "
        "for the others; update it, or export the bundle with another --precision"
    )


@pytest.mark.parametrize("behaviour", [Behaviour(apart=(ATTENTION, ATTENTION))])
def test_no_fused_operator_at_all_is_an_error(host, tmp_path: Path):
    with pytest.raises(EngineError, match="runs 0 × MultiHeadAttention, expected 2"):
        host.open(GraphFile("attention", attention_spelling(tmp_path)))


@pytest.mark.parametrize("behaviour", [Behaviour(apart=(ATTENTION,))])
def test_the_fused_operators_of_the_spelling_that_is_taken_count(host, tmp_path: Path):
    spelling = attention_spelling(tmp_path)
    unfused = replace(spelling, fused={})
    assert host.open(GraphFile("attention", spelling, {"cuda": unfused})).inputs
    with pytest.raises(EngineError, match="expected 2"):
        host.open(GraphFile("attention", unfused, {"cpu": spelling}))


@pytest.mark.parametrize("behaviour", [Behaviour(tells=False, apart=(ATTENTION,))])
def test_a_release_that_does_not_tell_is_not_asked_for_fused_operators(host, tmp_path: Path):
    assert host.open(GraphFile("attention", attention_spelling(tmp_path))).inputs


def test_the_spelling_for_cuda_is_taken_then_the_cpus_then_the_standard(host, tmp_path: Path):
    def file(name: str, operator: str) -> Spelling:
        save_graph(f"{name} (float[B] x) => (float[B] y) {{ y = {operator} (x) }}", {}, tmp_path / f"{name}.onnx")
        return Spelling(tmp_path / f"{name}.onnx")

    standard, cpu, cuda = file("a", "Neg"), file("b", "Abs"), file("c", "Sign")
    results = []
    for spellings in ({"cpu": cpu, "cuda": cuda, "tensorrt": standard}, {"cpu": cpu}, {}):
        session = host.open(GraphFile("any", standard, spellings)).bind(x=(1,), y=(1,))
        session["x"].write(np.array([-3], np.float32))
        session.run()
        results.append(float(session["y"].read()[0]))
    assert results == [-1, 3, 3]  # Sign, Abs, Neg


def test_an_output_whose_shape_does_not_follow_is_asked_for(host, tmp_path: Path):
    file = tmp_path / "free.onnx"
    save_graph("free (float[B] x) => (float[N] y) { y = Concat <axis = 0> (x, x) }", {}, file)
    engine = host.open(GraphFile("free", Spelling(file)))
    with pytest.raises(EngineError, match="'N'"):
        engine.bind(x=(3,))
    session = engine.bind(x=(3,), y=(6,))
    session["x"].write(np.array([1, 2, 3], np.float32))
    session.run()
    assert session["y"].read().tolist() == [1, 2, 3, 1, 2, 3]


def test_a_wrong_multiple_is_refused_before_a_kernel_writes_beyond(host, graph: GraphFile):
    with pytest.raises(EngineError, match=r"flat: its axis '4\*B' is 12; B is 2"):
        host.open(graph).bind(**SHAPES, flat=(12,))


def test_a_run_that_fails_names_the_graph_in_one_line(host, library: FakeOnnxRuntime, graph: GraphFile, monkeypatch):
    session = host.open(graph).bind(**SHAPES)

    def fail(*_arguments: object) -> None:
        raise RuntimeError("CUDA failure 2:\nout of memory")

    monkeypatch.setattr(library.sessions[0], "run_with_iobinding", fail)
    with pytest.raises(EngineError, match=r"^sum.onnx: CUDA failure 2: out of memory$"):
        session.run()


def test_the_denoising_step_of_the_demo_equals_the_cpus(host):
    """A bundle whose shapes follow: every graph through the pipeline's own calls."""
    from foley.demo_bundle import demo_bundle
    from foley.graph_files import graph_file
    from foley_engines.fidelity import compare_outputs, run_once

    bundle = foley.load_bundle(demo_bundle(), verify_files=False)
    for name in ("text_encoder", "vocoder"):
        recorded = bundle.golden(name)
        inputs = {tensor.name: recorded[tensor.name] for tensor in bundle.graph(name).inputs}
        outputs = {tensor.name: recorded[tensor.name] for tensor in bundle.graph(name).outputs}
        [comparison] = compare_outputs(outputs, run_once(host.open(graph_file(bundle, name)), inputs))
        assert comparison.snr_db > 80


def test_inputs_written_late_are_read_by_their_own_run(host, installed, graph: GraphFile):
    installed[1].machine.lazy = True
    session = host.open(graph).bind(**SHAPES)
    write_inputs(session)
    results = []
    for factor in range(5):
        session["y"].write(factor * Y)
        session.run()
        results.append(session["flat"].read())
    assert all(np.array_equal(got, (X + factor * WEIGHT).ravel()) for factor, got in enumerate(results))
