"""Other weights in a plan that is there, and plans that leave theirs out."""

import numpy as np
import onnx
import pytest
from support.sum_graph import SUM, WEIGHT, X, write_sum_graph

from foley_engines import BuildOptions, GraphFile, Spelling
from foley_engines.errors import EngineError, UsageError
from foley_engines.profiles import Sizes, fixed

TWO = {"B": fixed(2)}
REFITTABLE, STRIPPED = BuildOptions(refittable=True), BuildOptions(stripped=True)
OTHER_SUM = (X + WEIGHT + 1).ravel()


def change_weights(bench) -> None:
    write_sum_graph(bench.folder, WEIGHT + 1)


@pytest.mark.parametrize("options", [REFITTABLE, BuildOptions(refittable=True, stripped=True)], ids=str)
def test_new_weights_go_into_a_refittable_plan(any_bench, options: BuildOptions):
    any_bench.keeper(options=options).build(TWO)
    change_weights(any_bench)
    assert np.array_equal(any_bench.run(options=options), OTHER_SUM)
    assert any_bench.counts["build"] == 1
    old, new = any_bench.records()
    assert old.plan == new.plan
    assert old.parts["weights"] != new.parts["weights"]
    assert len(any_bench.headers()) == 1
    any_bench.told.clear()
    assert np.array_equal(any_bench.run(build=False), OTHER_SUM)
    assert all(words.startswith("loading") for words in any_bench.told)


def test_the_old_weights_still_run_from_the_same_plan(bench):
    bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(bench)
    bench.run()
    write_sum_graph(bench.folder)
    refits = bench.counts["refit"]
    assert np.array_equal(bench.run(build=False), SUM)
    assert (bench.counts["build"], bench.counts["refit"]) == (1, refits)


def test_a_refit_is_asked_for_and_verified(bench):
    bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(bench)
    record = bench.keeper(options=REFITTABLE).refit(TWO)
    assert record.verified.against == "onnxruntime-cpu"
    assert bench.counts["build"] == 1
    assert bench.keeper(options=REFITTABLE).find(TWO) == record


def test_a_refit_below_the_floor_is_not_recorded(bench, spoil):
    bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(bench)
    spoil("flat", lambda value: 0 * value)
    with pytest.raises(EngineError, match="dB at flat"):
        bench.keeper(options=REFITTABLE).refit(TWO)
    assert len(bench.records()) == 1


def test_a_plan_that_was_not_built_for_it_is_built_again(bench):
    bench.run()
    change_weights(bench)
    with pytest.raises(UsageError, match=r"^sum: no plan for B=2 in .* build one with: foley build --refittable"):
        bench.keeper(options=REFITTABLE).refit(TWO)
    assert np.array_equal(bench.run(), OTHER_SUM)
    assert (bench.counts["build"], bench.counts["refit"]) == (2, 0)


def test_a_refit_is_of_the_asked_sizes(bench):
    bench.keeper(options=REFITTABLE).build({"B": Sizes(1, 4, 4)})
    change_weights(bench)
    with pytest.raises(UsageError, match="no plan for B=2"):
        bench.keeper(options=REFITTABLE).refit(TWO)
    assert bench.keeper(options=REFITTABLE).refit({"B": Sizes(1, 4, 4)}).profile == {"B": (1, 4, 4)}


def test_a_refit_with_a_missing_weight_is_an_error_that_names_it(any_bench, monkeypatch: pytest.MonkeyPatch):
    any_bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(any_bench)
    keeper = any_bench.keeper(options=REFITTABLE)
    monkeypatch.setattr("support.nvidia.trt_refit.read_file", lambda _path: Empty())
    with pytest.raises(EngineError, match=r"^the weights of sum.onnx do not fit the plan: .*weight") as caught:
        keeper.refit(TWO)
    assert "\n" not in str(caught.value)
    assert len(any_bench.records()) == 1


class Empty:
    """A graph without weights."""

    def weights(self) -> dict[str, object]:
        return {}


def test_a_refit_that_tensorrt_refuses_is_an_error(any_bench):
    any_bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(any_bench)
    any_bench.fakes.machine.failures["Refitter.refit_cuda_engine"] = False
    with pytest.raises(EngineError, match=r"^the weights of sum.onnx could not be put into the plan: "):
        any_bench.keeper(options=REFITTABLE).refit(TWO)
    assert len(any_bench.records()) == 1


def test_a_failed_refit_during_work_is_told_and_a_plan_is_built(bench):
    bench.keeper(options=REFITTABLE).build(TWO)
    change_weights(bench)
    bench.fakes.machine.failures["Refitter.refit_cuda_engine"] = False
    assert np.array_equal(bench.run(), OTHER_SUM)
    assert bench.counts["build"] == 2
    assert any("could not be put into the plan" in words for words in bench.told)


def test_a_stripped_plan_takes_its_weights_at_each_load(any_bench):
    any_bench.keeper(options=STRIPPED).build(TWO)
    [header] = any_bench.headers()
    assert header.stripped
    [record] = any_bench.records()
    assert record.weights_inside is None
    refits = any_bench.counts["refit"]
    assert np.array_equal(any_bench.run(build=False), SUM)
    assert any_bench.counts["refit"] == refits + 1


def test_a_stripped_plan_is_not_given_other_weights(bench):
    """It was built for identical ones: with others it would compute nonsense."""
    bench.keeper(options=STRIPPED).build(TWO)
    change_weights(bench)
    assert np.array_equal(bench.run(), OTHER_SUM)
    assert bench.counts["build"] == 2
    assert bench.fakes.machine.faults == []


def test_a_plan_with_its_own_weights_is_not_refitted(bench):
    bench.keeper(options=REFITTABLE).build(TWO)
    bench.run()
    assert bench.counts["refit"] == 0


def test_another_structure_is_another_plan(bench, tmp_path):
    """The same weights in another graph do not go in."""
    bench.keeper(options=REFITTABLE).build(TWO)
    file = bench.folder / "graphs" / "sum.onnx"
    model = onnx.load(file, load_external_data=False)
    model.graph.node[1].op_type = "Sub"
    file.write_bytes(model.SerializeToString())
    assert np.array_equal(bench.run(), (X - WEIGHT).ravel())
    assert bench.counts["build"] == 2


def test_weights_inside_the_graphs_file_are_weights_where_its_structure_is_known(bench):
    """An exporter tells the structure apart from the small weights in the same file."""
    file = bench.folder / "graphs" / "sum.onnx"

    def graph() -> GraphFile:
        return GraphFile("sum", Spelling(file, structure="s" * 64))

    bench.keeper(graph(), options=REFITTABLE).build(TWO)
    model = onnx.load(file)
    model.doc_string = "another file of the same structure"
    file.write_bytes(model.SerializeToString())
    assert np.array_equal(bench.run(graph()), SUM)
    assert bench.counts["build"] == 1
