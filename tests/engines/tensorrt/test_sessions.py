"""Sessions of plans at work: the CPU's results, however runs are enqueued, captured, interleaved and given back."""

import gc
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest
from support.engine_hosts import RELEASES, installed_tensorrt
from support.sum_graph import SHAPES, SUM, WEIGHT, X, Y, sum_graph, write_inputs

import foley
from foley.graph_files import graph_file
from foley_engines import TensorRtSetup, open_host
from foley_engines.cuda.memory import TURNS
from foley_engines.errors import EngineError
from foley_engines.fidelity import compare_outputs, run_once
from foley_engines.pool import IDLE
from foley_engines.profiles import Sizes

KNOBS = {"steps": 6, "guidance_stop": 0.5, "count": 2}


@pytest.fixture(params=[False, True], ids=["at once", "late"])
def lazy(request: pytest.FixtureRequest, bench):
    bench.fakes.machine.lazy = request.param


def loaded(engine, size: int = 2, **more: tuple[int, ...]):
    session = engine.bind(**{name: (size, *shape[1:]) for name, shape in SHAPES.items()}, **more)
    write_inputs(session) if size == 2 else None
    return session


def steps(session, count: int) -> np.ndarray:
    """Run and feed; each step adds other weights to the last one's output."""
    for step in range(count):
        session["y"].write((1 + step) * Y)
        session.run()
        session.feed("x", "next_x")
    return session["x"].read()


def expected(count: int) -> np.ndarray:
    value = X
    for step in range(count):
        value = (value + (1 + step) * WEIGHT)[::-1]
    return value


@pytest.mark.parametrize("captured", [True, False], ids=["captured", "plain"])
def test_many_steps_equal_the_cpus(bench, lazy, captured: bool):
    session = loaded(bench.engine(captured=captured))
    assert np.array_equal(steps(session, 23), expected(23))


def test_a_second_run_is_captured_and_later_ones_are_replayed(bench):
    """Two sets of addresses, for buffers that change places: two captures."""
    engine = bench.engine()
    engine.prepare([SHAPES])
    counts = bench.counts
    counts.clear()
    session = loaded(engine)
    assert np.array_equal(steps(session, 12), expected(12))
    assert (counts["enqueue"], counts["capture"], counts["launch"]) == (2 + 2, 2, 10)


def test_without_cuda_graphs_every_run_is_enqueued(bench):
    engine = bench.engine(captured=False)
    engine.prepare([SHAPES])
    bench.counts.clear()
    steps(loaded(engine), 12)
    assert (bench.counts["enqueue"], bench.counts["capture"], bench.counts["launch"]) == (12, 0, 0)


def test_the_host_is_at_most_two_runs_ahead(bench):
    """What is staged for a run is not overwritten before the device has read it."""
    engine = bench.engine()
    engine.prepare([SHAPES])
    session = loaded(engine)
    session.wait()
    machine = bench.fakes.machine
    machine.lazy = True
    pending = []
    for step in range(8):
        session["y"].write(step * Y)
        session.run()
        pending.append(sum(event.pending for event in machine.events.values()))
    assert 0 < max(pending) <= TURNS
    assert np.array_equal(session["flat"].read(), (X + 7 * WEIGHT).ravel())


def test_two_sessions_interleaved_do_not_meet(bench, lazy):
    engine = bench.engine()
    twos, threes = loaded(engine), loaded(engine, 3)
    threes["order"].write(np.arange(3))
    threes["y"].write(np.ones((3, 4), np.float32))
    for step in range(7):
        twos["y"].write(step * Y)
        twos.run()
        threes.run()
        threes.feed("x", "next_x")
        twos.feed("x", "next_x")
    value = X
    for step in range(7):
        value = (value + step * WEIGHT)[::-1]
    assert np.array_equal(twos["x"].read(), value)
    assert np.array_equal(threes["x"].read(), np.tile(7 * WEIGHT, (3, 1)))


def test_scratch_that_grows_is_captured_anew(bench, lazy):
    """A larger engine moves the memory that captured graphs of a smaller one would go on using."""
    engine = bench.engine()
    engine.prepare([SHAPES, {"x": (900, 4), "y": (900, 4), "order": (900,)}])
    host = bench.hosts[0]
    host.scratch.close()
    bench.counts.clear()
    small = loaded(engine)
    steps(small, 6)
    assert bench.counts["capture"] == 2
    generation = host.scratch.generation
    large = loaded(engine, 900)
    small.run()  # under way in the memory that is given up
    large.run()
    assert host.scratch.generation > generation
    small["x"].write(X)
    assert np.array_equal(steps(small, 7), expected(7))
    assert bench.counts["capture"] == 4
    large.run()
    large.run()
    large.wait()
    assert bench.fakes.machine.faults == []


def test_verifying_another_plan_meanwhile_spoils_nothing(bench, lazy):
    """Building and verifying uses the same stream and scratch memory."""
    engine = bench.engine()
    session = loaded(engine)
    first = steps(session, 5)
    assert np.array_equal(first, expected(5))
    engine.prepare([{"x": (400, 4), "y": (400, 4), "order": (400,)}])
    session["x"].write(X)
    assert np.array_equal(steps(session, 6), expected(6))


@pytest.mark.parametrize("order", list(itertools.permutations(("session", "other", "engine"))), ids="-".join)
def test_nothing_leaks_whatever_is_closed_first(bench, lazy, order: tuple[str, ...]):
    engine = bench.engine()
    things = {"session": loaded(engine), "other": loaded(engine), "engine": engine}
    for name in ("session", "other"):
        steps(things[name], 4)
        things[name].run()  # under way while it is closed
    for name in order:
        things[name].close()
    bench.close()


def test_a_host_closed_first_frees_all(bench, lazy):
    engine = bench.engine()
    session = loaded(engine)
    steps(session, 4)
    bench.close()
    session.close()
    engine.close()
    bench.fakes.machine.check()


def test_of_many_idle_sessions_the_oldest_are_freed(bench):
    """Of one plan; and while one is in use, it is not counted."""
    bench.keeper().build({"B": Sizes(1, 12, 12)})
    engine = bench.engine(build=False)
    used = loaded(engine)
    one = len(bench.fakes.machine.memory.live())
    loaded(engine, 12).close()
    each = len(bench.fakes.machine.memory.live()) - one
    for size in range(1, 12):
        loaded(engine, size).close()
    assert len(bench.fakes.machine.memory.live()) <= one + (IDLE + 1) * each
    assert np.array_equal(steps(used, 3), expected(3))


def test_a_session_that_was_dropped_and_not_closed_is_freed_with_its_engine(bench):
    engine = bench.engine()
    session = loaded(engine)
    steps(session, 3)
    del session
    gc.collect()
    bench.close()


def test_an_output_that_does_not_follow_is_told(bench):
    engine = bench.engine()
    loaded(engine).close()
    live = bench.fakes.machine.live()
    for _ in range(3):
        with pytest.raises(EngineError, match=r"^sum.onnx: flat is \[8\], asked for \[12\]"):
            loaded(engine, flat=(12,))
    assert bench.fakes.machine.live() == live  # the session was given back each time


# Bundles


@pytest.fixture(params=RELEASES)
def fakes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    installed = installed_tensorrt(monkeypatch, request.param)
    yield installed
    installed.machine.check()


def test_the_denoising_step_equals_the_cpus_and_torchs(fakes, mini_bundle: Path, tmp_path: Path):
    bundle = foley.load_bundle(mini_bundle)
    golden = bundle.golden("denoise_step")
    graph = graph_file(bundle, "denoise_step")
    given = {tensor.name: golden[tensor.name] for tensor in bundle.graph("denoise_step").inputs}
    with open_host(TensorRtSetup(plans=tmp_path)) as host, open_host("cpu") as cpu:
        got, expected_ = run_once(host.open(graph), given), run_once(cpu.open(graph), given)
    for reference in (expected_, golden):
        [comparison] = compare_outputs({"next_state": reference["next_state"]}, got)
        assert comparison.snr_db > 120


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_clips_equal_the_cpus(fakes, late: bool, mini_bundle: Path, tmp_path: Path, pipeline: foley.Pipeline):
    """Batches that shrink, guidance that stops, noise that is drawn: other shapes and inputs during one request."""
    fakes.machine.lazy = late
    wanted = pipeline.generate(["a dog", "rain on a tin roof"], sampler="euler-a", seed=5, **KNOBS)
    with foley.load(mini_bundle, engine=TensorRtSetup(plans=tmp_path)) as loaded_:
        for _ in range(2):
            clips = loaded_.generate(["a dog", "rain on a tin roof"], sampler="euler-a", seed=5, **KNOBS)
            for clip, reference in zip(clips, wanted, strict=True):
                assert np.abs(clip.latents - reference.latents).max() < 1e-4
                assert np.abs(clip.samples - reference.samples).max() < 1e-4
                assert clip.samples.shape == reference.samples.shape


def test_a_second_generation_takes_the_sessions_of_the_first(fakes, mini_bundle: Path, tmp_path: Path):
    """No memory is taken, and what was captured is only launched."""
    with foley.load(mini_bundle, engine=TensorRtSetup(plans=tmp_path)) as loaded_:
        for _ in range(2):
            loaded_.generate("a dog", steps=4)
        memory, captures = fakes.machine.memory.live(), fakes.machine.counts["capture"]
        loaded_.generate("rain", steps=4)
        assert fakes.machine.memory.live() == memory
        assert fakes.machine.counts["capture"] == captures


def test_a_batch_dropped_half_way_gives_its_session_back(fakes, mini_bundle: Path, tmp_path: Path):
    with foley.load(mini_bundle, engine=TensorRtSetup(plans=tmp_path)) as loaded_:
        for _ in range(4):
            generation = loaded_.start(loaded_.request("a dog", steps=6))
            next(iter(generation))
            live = len(fakes.machine.live())
            del generation
            gc.collect()
        again = loaded_.start(loaded_.request("a dog", steps=6))
        next(iter(again))
        assert len(fakes.machine.live()) == live


def test_a_batch_that_ends_gives_its_session_back_at_once(bench, mini_bundle: Path):
    with foley.load(mini_bundle, engine=TensorRtSetup(plans=bench.plans)) as loaded_:
        clips = loaded_.generate(["a dog", "rain"], max_batch=1, steps=3)
        denoiser = loaded_.graph("denoise_step")
        assert len(clips) == 2
        [plan] = denoiser._plans
        assert len(plan._pool._all) == 1


def test_two_threads_with_one_pipeline_get_their_own_clips(
    fakes, mini_bundle: Path, tmp_path: Path, pipeline: foley.Pipeline
):
    """On one stream; a capture of one thread must not swallow what the other asks for."""
    prompts = ["a dog", "rain", "a bell", "wind"]
    wanted = [pipeline.generate(prompt, steps=8, seed=3)[0].samples for prompt in prompts]
    got: dict[str, np.ndarray] = {}
    errors: list[BaseException] = []
    with foley.load(mini_bundle, engine=TensorRtSetup(plans=tmp_path)) as loaded_:
        barrier = threading.Barrier(len(prompts))

        def generate(prompt: str) -> None:
            try:
                barrier.wait(30)
                got[prompt] = loaded_.generate(prompt, steps=8, seed=3)[0].samples
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=generate, args=(prompt,)) for prompt in prompts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert errors == []
    for prompt, samples in zip(prompts, wanted, strict=True):
        assert np.abs(got[prompt] - samples).max() < 1e-4


def test_a_graph_from_elsewhere_is_opened_beside_a_pipelines(bench, tmp_path: Path):
    host = bench.host()
    engines = [host.open(sum_graph(bench.folder / "graphs" / "sum.onnx")) for _ in range(2)]
    sessions = [loaded(engine) for engine in engines]
    for session in sessions:
        session.run()
    sessions[1]["x"].take(sessions[0]["next_x"])
    sessions[1].run()
    assert np.array_equal(sessions[1]["flat"].read(), ((X + WEIGHT)[::-1] + WEIGHT).ravel())
    assert np.array_equal(sessions[0]["flat"].read(), SUM)
