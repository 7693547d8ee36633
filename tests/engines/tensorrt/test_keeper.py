"""Plans from request to record: built once, verified before they are kept, and used only where they fit."""

import json
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from support.engine_hosts import installed_tensorrt
from support.nvidia.machine import fake_device
from support.nvidia.onnx_network import OnnxNetwork
from support.plan_bench import make_bench
from support.sum_graph import SHAPES, SUM, SWAP, WEIGHT, X, Y, sum_graph, write_inputs, write_sum_graph

from foley_engines import BuildOptions, GraphFile, Spelling
from foley_engines.errors import EngineError, UsageError
from foley_engines.profiles import Sizes, fixed

TWO = {"B": fixed(2)}
SHAPES_OF_3 = {"x": (3, 4), "y": (3, 4), "order": (3,)}


def files(folder: Path, ending: str) -> list[str]:
    return sorted(place.name for place in folder.glob(f"*{ending}"))


def golden(batch: int = 2):
    """What torch would have recorded."""
    x = np.linspace(-1, 1, 4 * batch, dtype=np.float32).reshape(batch, 4)
    inputs = {"x": x, "y": np.ones_like(x), "order": np.arange(batch)[::-1].astype(np.int64)}
    added = x + WEIGHT
    return lambda: (inputs, {"next_x": added[::-1], "flat": added.ravel(), "again": 2 * inputs["order"]})


# Built, verified, recorded


def test_a_plan_is_built_verified_and_recorded(any_bench):
    assert np.array_equal(any_bench.run(any_bench.graph(golden=golden())), SUM)
    [record] = any_bench.records()
    assert (record.graph, record.profile, record.verified.against) == ("sum", {"B": (2, 2, 2)}, "torch")
    assert record.verified.floor_db == 35.0
    assert [figure.output for figure in record.verified.figures] == ["next_x", "flat", "again"]
    assert all(figure.snr_db > 120 for figure in record.verified.figures)
    assert record.parts["TensorRT"] == any_bench.fakes.tensorrt.__version__
    assert record.parts["GPU"] == "NVIDIA H100 80GB HBM3"
    assert record.parts["compute capability"] == "9.0"
    assert record.parts["GPU size"] == "132 multiprocessors, 80 GiB"
    assert record.parts["profile"] == "B=2"
    assert record.scratch_bytes > 0
    assert (any_bench.plans / record.plan).stat().st_size == record.bytes
    assert any_bench.counts["build"] == 1


def test_outputs_without_any_error_have_a_finite_figure(bench):
    """JSON has no infinity."""
    bench.run()
    [record] = bench.records()
    assert [figure.snr_db for figure in record.verified.figures] == [300.0] * 3
    json.loads(next(bench.plans.glob("*.json")).read_text(), parse_constant=pytest.fail)


def test_a_second_open_loads_and_builds_nothing(any_bench):
    any_bench.run()
    before = dict(any_bench.counts)
    any_bench.told.clear()
    assert np.array_equal(any_bench.run(build=False), SUM)
    assert any_bench.counts["build"] == before["build"] == 1
    assert any_bench.counts["deserialize"] == before["deserialize"] + 1
    [told] = any_bench.told
    assert told.startswith("loading sum-")


def test_sizes_that_were_not_recorded_are_verified_against_onnx_runtime(bench):
    bench.run(bench.graph(golden=golden(3)))
    [record] = bench.records()
    assert record.verified.against == "onnxruntime-cpu"


def test_an_example_is_what_a_plan_of_other_sizes_is_verified_with(bench, monkeypatch: pytest.MonkeyPatch):
    asked = []

    def example(sizes):
        asked.append(dict(sizes))
        return {"x": X, "y": Y, "order": SWAP}

    bench.run(bench.graph(golden=golden(3), example=example))
    assert asked == [{"B": 2}]


def test_what_is_verified_is_plain_captured_and_replayed(bench):
    bench.keeper().build(TWO)
    assert [bench.counts[name] for name in ("enqueue", "capture", "launch")] == [2, 1, 2]


# Below the floor


@pytest.mark.parametrize("noise", [1e-6, 1e-3])
def test_a_plan_below_its_floor_is_not_kept_and_its_worst_output_is_named(bench, spoil, noise: float):
    spoil("flat", lambda value: value * np.float32(1 + noise))
    with pytest.raises(EngineError, match=r"gives -?\d+\.\d dB at flat against torch, expected 150 or more") as caught:
        bench.run(bench.graph(golden=golden(), floor_db=150.0))
    assert str(caught.value).startswith("sum: the plan for B=2 ")
    assert "it was not kept" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert files(bench.plans, ".json") == files(bench.plans, ".plan") == []


def test_a_plan_at_its_floor_is_kept(bench, spoil):
    spoil("flat", lambda value: value * np.float32(1 + 1e-3))
    bench.run(bench.graph(golden=golden(), floor_db=59.0))
    [record] = bench.records()
    assert record.verified.figures[1].snr_db == pytest.approx(60.0, abs=0.1)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0])
def test_outputs_that_are_no_sound_are_not_kept(bench, spoil, value: float):
    spoil("next_x", lambda right: np.full_like(right, value))
    with pytest.raises(EngineError, match=r"(-inf|0\.0) dB at next_x"):
        bench.run()
    assert files(bench.plans, ".json") == []


def test_an_integer_output_is_verified_too(bench, spoil):
    spoil("again", lambda right: right + 1)
    with pytest.raises(EngineError, match="dB at again"):
        bench.run()


def test_a_recorded_output_of_another_shape_is_not_kept(bench):
    inputs, outputs = golden()()
    wrong = {**outputs, "flat": outputs["flat"][:4]}
    with pytest.raises(EngineError, match="-inf dB at flat"):
        bench.run(bench.graph(golden=lambda: (inputs, wrong)))


def test_what_is_right_only_once_is_not_kept(bench, monkeypatch: pytest.MonkeyPatch):
    """The first run is plain; that it is right says nothing of the graph that is replayed."""
    right, runs = OnnxNetwork.run, []

    def run(network, inputs):
        if np.any(inputs["x"]):
            runs.append(1)
        return {name: value * (1 if len(runs) < 3 else 2) for name, value in right(network, inputs).items()}

    monkeypatch.setattr(OnnxNetwork, "run", run)
    with pytest.raises(EngineError, match="dB at"):
        bench.run(bench.graph(golden=golden()))


# Another part, another plan


def rewrite(bench, weight: np.ndarray) -> None:
    write_sum_graph(bench.folder, weight)


@pytest.mark.parametrize(
    ("part", "change"),
    [
        ("weights", lambda bench: rewrite(bench, WEIGHT + 1)),
        ("GPU", lambda _: fake_device("NVIDIA H200")),
        ("compute capability", lambda _: fake_device(compute_capability=(9, 1))),
        ("GPU size", lambda _: fake_device(memory_bytes=40 << 30)),
    ],
)
def test_what_changes_is_told_and_the_plan_is_built_again(bench, part: str, change):
    bench.run()
    change(bench)
    bench.told.clear()
    bench.run()
    assert bench.counts["build"] == 2
    told = [words for words in bench.told if words.startswith("no plan for B=2 in ")]
    assert len(told) == 1
    assert f"the nearest differs in {part} " in told[0]
    assert len(bench.records()) == 2


def test_another_weight_gives_another_result_from_another_plan(bench):
    assert np.array_equal(bench.run(), SUM)
    rewrite(bench, WEIGHT + 1)
    assert np.array_equal(bench.run(), (X + WEIGHT + 1).ravel())
    rewrite(bench, WEIGHT)
    assert np.array_equal(bench.run(build=False), SUM)


def test_weights_beside_a_graph_that_nobody_described_are_a_part(bench):
    """Opened by its path alone: the graph's file is the same, its weights are not."""
    file = bench.folder / "graphs" / "sum.onnx"
    assert np.array_equal(bench.run(GraphFile("sum", Spelling(file))), SUM)
    content = file.read_bytes()
    rewrite(bench, WEIGHT + 1)
    assert file.read_bytes() == content
    assert np.array_equal(bench.run(GraphFile("sum", Spelling(file))), (X + WEIGHT + 1).ravel())


def test_another_tensorrt_is_told_and_builds_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):

    old = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.3"))
    old.run()
    old.close()
    new = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.16"))
    new.run()
    assert "the nearest differs in TensorRT 10.3.0 → 10.16.0.72" in new.told[0]
    assert (new.counts["build"], len(new.records())) == (1, 2)
    new.close()


def test_missing_plans_are_refused_where_building_is_not_allowed(any_bench):
    with pytest.raises(
        UsageError, match=r"^sum: no plan for B=2 in .*tensorrt: there is none yet; build it with foley"
    ):
        any_bench.run(build=False)
    assert any_bench.counts["build"] == 0
    assert not any_bench.plans.exists()


def test_stale_plans_are_refused_with_the_nearest_and_its_difference(bench):
    bench.run()
    fake_device("NVIDIA H200")
    with pytest.raises(UsageError, match=r"the nearest differs in GPU NVIDIA H100 80GB HBM3 → NVIDIA H200; build it"):
        bench.run(build=False)
    assert bench.counts["build"] == 1


def test_a_damaged_plan_is_refused_and_built_again_by_a_build(bench):
    bench.run()
    [record] = bench.records()
    place = bench.plans / record.plan
    place.write_bytes(place.read_bytes()[:-1])
    with pytest.raises(EngineError, match="; build it again"):
        bench.run()
    keeper = bench.keeper()
    assert keeper.find(TWO) is None
    keeper.build(TWO)
    assert keeper.find(TWO) is not None
    assert np.array_equal(bench.run(build=False), SUM)


def test_an_option_is_another_plan_to_build_but_any_plan_that_fits_is_used(bench):
    bench.keeper().build(TWO)
    slow = bench.keeper(options=BuildOptions(level=5))
    assert slow.find(TWO) is None
    slow.build(TWO)
    assert len(bench.records()) == 2
    assert np.array_equal(bench.run(build=False, options=BuildOptions(level=0)), SUM)
    assert bench.counts["build"] == 2


# Which plan


def test_the_narrowest_plan_that_admits_the_sizes_is_used(bench):
    keeper = bench.keeper()
    keeper.build({"B": Sizes(1, 8, 8)})
    keeper.build({"B": Sizes(1, 3, 3)})
    keeper.build(TWO)
    engine = bench.engine(build=False)
    for size, expected in ((2, "B=2"), (3, "B=1..3"), (1, "B=1..3"), (7, "B=1..8")):
        bench.told.clear()
        engine.close()
        engine.bind(x=(size, 4), y=(size, 4), order=(size,))
        [told] = bench.told
        [record] = [record for record in bench.records() if record.plan in told]
        assert record.parts["profile"] == expected


def test_a_loaded_range_is_used_before_anything_is_built(bench):
    bench.keeper().build({"B": Sizes(1, 4, 4)})
    engine = bench.engine()
    for size in (1, 2, 3, 4):
        engine.bind(x=(size, 4), y=(size, 4), order=(size,))
    assert (bench.counts["build"], bench.counts["deserialize"]) == (1, 2)
    engine.bind(x=(5, 4), y=(5, 4), order=(5,))
    assert bench.counts["build"] == 2


def test_sizes_that_leave_no_choice_are_written_into_the_network(bench):
    keeper = bench.keeper()
    keeper.build(TWO)
    assert [header.profiles for header in bench.headers()] == [()]
    keeper.build({"B": Sizes(1, 2, 4)})
    [ranged] = [header.profiles for header in bench.headers() if header.profiles]
    assert [{name: [tuple(each) for each in sizes] for name, sizes in profile.items()} for profile in ranged] == [
        {"x": [(1, 4), (2, 4), (4, 4)], "y": [(1, 4), (2, 4), (4, 4)], "order": [(1,), (2,), (4,)]}
    ]


def test_a_profile_of_the_graph_is_built_where_nothing_admits(bench):
    """As text encoders: any number of prompts, not just this one."""
    graph = bench.graph(profile=lambda _: {"B": Sizes(1, 1, 16)})
    engine = bench.engine(graph)
    for size in (2, 16, 1):
        engine.bind(x=(size, 4), y=(size, 4), order=(size,))
    assert bench.counts["build"] == 1
    assert [record.parts["profile"] for record in bench.records()] == ["B=1..1..16"]


def test_preparing_builds_and_binding_does_not(bench):
    engine = bench.engine()
    engine.prepare([SHAPES, SHAPES_OF_3, SHAPES])
    assert bench.counts["build"] == 2
    engine.bind(**SHAPES)
    engine.bind(**SHAPES_OF_3)
    assert bench.counts["build"] == 2


def test_growable_sizes_take_a_larger_plan(bench):
    bench.keeper().build({"B": fixed(4)})
    engine = bench.engine()
    assert engine.fit(SHAPES, ("B",)) == {"x": (4, 4), "y": (4, 4), "order": (4,)}
    assert engine.fit(SHAPES) == SHAPES
    assert engine.fit({"x": (5, 4), "y": (5, 4), "order": (5,)}, ("B",))["x"] == (5, 4)


# Failures


def test_a_refused_operator_is_named_with_its_node_and_reason(any_bench):
    any_bench.fakes.machine.refused_operators["Gather"] = "no kernel for this"
    with pytest.raises(EngineError) as caught:
        any_bench.run()
    words = str(caught.value)
    assert words.startswith("sum.onnx is no network for TensorRT ")
    assert "(Gather): " in words
    assert "no kernel for this" in words
    assert "\n" not in words
    assert not any_bench.plans.exists() or files(any_bench.plans, ".plan") == []


@pytest.mark.parametrize(
    ("member", "message"),
    [
        ("Builder.build_serialized_network", "^TensorRT builds no plan of sum.onnx: "),
        ("Runtime.deserialize_cuda_engine", "^sum: TensorRT does not take the plan: "),
        ("ICudaEngine.create_execution_context", "^sum.onnx: TensorRT makes no execution context: "),
    ],
)
def test_what_tensorrt_refuses_is_one_line_and_not_kept(any_bench, member: str, message: str):
    any_bench.fakes.machine.failures[member] = None
    with pytest.raises(EngineError, match=message) as caught:
        any_bench.run()
    assert "\n" not in str(caught.value)
    assert files(any_bench.plans, ".json") == files(any_bench.plans, ".plan") == []


@pytest.mark.parametrize("member", ["set_input_shape", "execute_async_v3", "set_tensor_address"])
def test_what_a_context_refuses_is_one_line_and_not_kept(any_bench, member: str):
    any_bench.fakes.machine.failures[f"IExecutionContext.{member}"] = False
    with pytest.raises(EngineError, match=r"^sum.onnx "):
        any_bench.run()
    assert files(any_bench.plans, ".json") == []


def test_the_last_words_of_the_log_are_the_reason(bench):
    """Not those of an earlier failure."""
    bench.fakes.machine.refused_operators["Gather"] = "first"
    with pytest.raises(EngineError, match="first"):
        bench.run()
    bench.fakes.machine.refused_operators.clear()
    bench.fakes.machine.failures["Builder.build_serialized_network"] = None
    with pytest.raises(EngineError, match="TensorRT gave no reason"):
        bench.run()


def test_too_little_memory_for_a_plan_is_told_in_mib(bench):
    bench.run()
    bench.close()
    machine = bench.fakes.machine
    taken = machine.memory.reserve((80 << 30) - machine.memory.used())
    with pytest.raises(EngineError) as caught:
        bench.run()
    words = str(caught.value)
    assert words.startswith("sum: sum-")
    assert "MiB of device memory or more, 0 MiB are free on NVIDIA H100 80GB HBM3" in words
    assert "fewer slots or seconds" in words
    machine.memory.unreserve(taken)


def test_too_little_memory_for_tensors_is_told_and_leaks_nothing(bench):
    engine, large = bench.engine(), {name: (500, *shape[1:]) for name, shape in SHAPES.items()}
    engine.prepare([large])
    machine = bench.fakes.machine
    live = machine.live()
    for spare in (0, 9000, 18000):
        taken = machine.memory.reserve((80 << 30) - machine.memory.used() - spare)
        with pytest.raises(EngineError, match=r"takes \d+ MiB of device memory, \d+ MiB of NVIDIA H100.* are free"):
            engine.bind(**large)
        machine.memory.unreserve(taken)
    assert machine.live() == live


# Interrupts and locks


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("mine")], ids=["interrupt", "error"])
def test_what_is_raised_during_a_build_ends_it_and_keeps_nothing(any_bench, error: BaseException):
    def tell(_graph: str, _what: str, fraction: float) -> None:
        if fraction:
            raise error

    any_bench._tell = tell
    with pytest.raises(type(error)) as caught:
        any_bench.run()
    assert caught.value is error
    assert files(any_bench.plans, ".json") == files(any_bench.plans, ".plan") == []
    any_bench._tell = lambda *_: None
    assert np.array_equal(any_bench.run(), SUM)  # the lock is free


def test_an_interrupt_while_verifying_keeps_nothing(bench):
    def tell(_graph: str, what: str, _fraction: float) -> None:
        if what == "verifying":
            raise KeyboardInterrupt

    bench._tell = tell
    with pytest.raises(KeyboardInterrupt):
        bench.run()
    assert files(bench.plans, ".json") == files(bench.plans, ".plan") == []


def test_progress_goes_from_nothing_to_all(bench):
    fractions = []
    bench._tell = lambda _graph, what, fraction: fractions.append(fraction) if "Building" in what else None
    bench.keeper().build(TWO)
    assert fractions == sorted(fractions)
    assert 0 < fractions[0] < 0.5
    assert fractions[-1] == 1.0


def test_two_threads_that_want_one_plan_build_it_once(bench):
    results: list[np.ndarray] = []
    threads = [threading.Thread(target=lambda: results.append(bench.run())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [np.array_equal(result, SUM) for result in results] == [True, True]
    assert bench.counts["build"] == 1


def test_two_threads_with_one_engine_load_one_plan(bench):
    engine = bench.engine()
    barrier = threading.Barrier(2)

    def prepare() -> None:
        barrier.wait()
        engine.prepare([SHAPES])

    threads = [threading.Thread(target=prepare) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (bench.counts["build"], bench.counts["deserialize"]) == (1, 2)


# Timings


def test_timings_of_earlier_builds_are_used(any_bench):
    any_bench.keeper().build(TWO)
    timed = any_bench.counts["timed"]
    assert timed > 0
    any_bench.keeper().build(TWO)
    assert any_bench.counts["timed"] == timed
    assert len(files(any_bench.plans, ".cache")) == 1


def test_timings_are_kept_even_of_a_plan_that_is_not(bench, spoil):
    spoil("flat", lambda value: 0 * value)
    with pytest.raises(EngineError, match="dB at flat"):
        bench.run()
    assert len(files(bench.plans, ".cache")) == 1


@pytest.mark.parametrize("content", [b"nothing of the kind", b'{"version": "1", "gpu": "x", "timed": []}', b""])
def test_timings_that_do_not_fit_are_begun_anew(bench, content: bytes):
    bench.keeper().build(TWO)
    [cache] = bench.plans.glob("*.cache")
    cache.write_bytes(content)
    timed = bench.counts["timed"]
    bench.keeper().build(TWO)
    assert bench.counts["timed"] == 2 * timed
    assert b"timed" in cache.read_bytes()


def test_timings_of_another_device_are_another_file(bench):
    bench.keeper().build(TWO)
    fake_device("NVIDIA A10", (8, 6))
    bench.keeper().build(TWO)
    assert len(files(bench.plans, ".cache")) == 2


# Folders


def test_plans_lie_in_the_bundle_or_where_they_were_asked_for(bench, tmp_path: Path):
    bench.run()
    assert len(files(bench.plans, ".plan")) == 1
    bench.run(plans=tmp_path / "elsewhere")
    assert files(tmp_path / "elsewhere", ".plan") == files(bench.plans, ".plan")


def test_a_folder_that_cannot_be_written_is_one_line(bench, tmp_path: Path):
    (tmp_path / "taken").write_bytes(b"")
    with pytest.raises(UsageError, match="cannot be written"):
        bench.run(plans=tmp_path / "taken")


def test_a_bundle_that_moved_keeps_its_plans(bench, tmp_path: Path):
    bench.run()
    moved = tmp_path / "moved"
    os.rename(bench.folder, moved)
    session = bench.engine(sum_graph(moved / "graphs" / "sum.onnx", folder=moved), build=False).bind(**SHAPES)
    write_inputs(session)
    session.run()
    assert np.array_equal(session["flat"].read(), SUM)


def test_a_graph_of_no_bundle_keeps_its_plans_beside_it(bench):
    bench.run(bench.graph(folder=None))
    assert list((bench.folder / "graphs" / "engines" / "tensorrt").glob("*.plan"))
    assert not bench.plans.exists()


def test_layers_are_told_as_json(bench):
    keeper = bench.keeper()
    assert json.loads(keeper.layers(keeper.build(TWO)))["Layers"]
