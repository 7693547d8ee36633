"""Clips a minute over the batch: what ends a series, where its knee is, and what the command says."""

import json
from dataclasses import replace

import numpy as np
import pytest
from support.bundles import scale_weights
from support.commands import ROOT, run_python
from support.nvidia.install import installed

import foley
from foley_bench.build import Workload
from foley_bench.throughput.cli import read_batches
from foley_bench.throughput.figures import gains, knee, series_figures
from foley_bench.throughput.memory import free_device_mib, free_host_mib, predicted_mib
from foley_bench.throughput.series import Limits, Series, ladder_up_to, measure_series
from foley_bench.throughput.visit import Visit, rows_of_clip, visit_batch
from foley_engines import CpuSetup, CudaSetup
from foley_engines.errors import EngineError

FREE = Limits(free_mib=lambda: 1000.0)


def made(batch: int, latency_s: float, peak_mib: float = 100.0, device_mib=None, device_free_mib=None) -> Visit:
    return Visit(
        batch=batch, calls=1, latency_s=latency_s, denoise_s=latency_s / 2, evaluations=10, rows=20,
        peak_mib=peak_mib, device_mib=device_mib, device_free_mib=device_free_mib, busy=1.0,
    )  # fmt: skip


class Machine:
    """Measures batches by latencies that it is given for each, in turn, and remembers which were asked for."""

    def __init__(self, latency_s, **more):
        self.latency_s, self.more, self.asked = latency_s, more, []

    def __call__(self, batch: int) -> Visit:
        self.asked.append(batch)
        found = self.latency_s(batch) if callable(self.latency_s) else self.latency_s[batch].pop(0)
        if isinstance(found, Exception):
            raise found
        return made(batch, found, **{name: read(batch) for name, read in self.more.items()})


def climbs(batch: int) -> float:
    """A batch whose fixed part is shared: 0.9 s and 0.1 s a clip."""
    return 0.9 + 0.1 * batch


@pytest.mark.parametrize(("most", "batches"), [(1, (1,)), (2, (1, 2)), (6, (1, 2, 4, 6)), (8, (1, 2, 4, 8))])
def test_a_ladder_doubles_and_ends_at_the_most(most, batches):
    assert ladder_up_to(most) == batches


@pytest.mark.parametrize(
    ("rates", "found"),
    [
        ({1: 10.0}, 1),
        ({1: 10.0, 2: 18.0, 4: 30.0, 8: 31.0}, 4),
        ({1: 10.0, 2: 18.0, 4: 28.0, 8: 31.0}, 8),
        ({1: 96.0, 2: 100.0, 4: 90.0}, 1),
        ({1: 94.9, 2: 100.0, 4: 90.0}, 2),
    ],
)
def test_the_knee_is_the_smallest_batch_within_a_twentieth_of_the_best(rates, found):
    assert knee(rates) == found


def test_figures_are_rates_of_clips_steps_and_rows():
    visit = made(4, latency_s=2.0)
    assert (visit.clips_per_minute, visit.steps_per_s, visit.rows_per_s) == (120.0, 40.0, 80.0)


def test_gains_are_of_one_round_so_that_drift_cancels():
    """The machine is half as fast in the second round, and again in the third, which began elsewhere."""
    rounds = ({1: made(1, 1.0), 2: made(2, 1.0)}, {1: made(1, 2.0), 2: made(2, 2.0)}, {2: made(2, 9.0)})
    assert gains(Series(rounds, ""), 2) == [2.0, 2.0]
    figures = series_figures(Series(rounds, "why"))
    assert figures["batches"]["2"]["gain"]["median"] == 2.0
    assert figures["batches"]["2"]["clips_per_minute"]["repeats"] == 3
    assert (figures["knee"], figures["best"], figures["ended"]) == (2, 2, "why")


def test_the_knee_is_of_gains_and_not_of_rounds_that_are_not_alike():
    """Two clips are 2 % faster than one in both rounds that have both; the third, slow one has only batch 1."""
    rounds = ({1: made(1, 1.0), 2: made(2, 1.96)}, {1: made(1, 4.0), 2: made(2, 7.84)}, {1: made(1, 4.0)})
    assert series_figures(Series(rounds, ""))["knee"] == 1


def test_a_tenth_more_clips_lead_further():
    machine = Machine(lambda batch: batch / 1.1 ** (batch.bit_length() - 1))
    assert list(measure_series(ladder_up_to(8), machine, FREE, rounds=1).rounds[0]) == [1, 2, 4, 8]


def test_an_engine_that_slows_with_the_batch_gains_nothing():
    machine = Machine(lambda batch: 0.5 * batch)
    series = measure_series(ladder_up_to(16), machine, FREE, rounds=2)
    assert machine.asked == [1, 2, 1, 2, 1, 2]  # climbed, made again to be sure, a second round
    assert series.ended == "saturated: batch 2 makes +0 % clips of batch 1"
    assert series_figures(series)["knee"] == 1


def test_batches_that_gain_are_climbed_to_the_most_and_take_turns_after():
    machine = Machine(climbs)
    series = measure_series((1, 2, 4), machine, FREE, rounds=3)
    assert machine.asked == [1, 2, 4] * 3
    assert series.ended == "batch 4 was the largest asked for"
    assert series_figures(series)["batches"]["4"]["gain"]["median"] == pytest.approx(4 / 1.3, abs=1e-4)


def test_one_disturbed_visit_does_not_end_a_series():
    machine = Machine({1: [1.0, 1.0], 2: [2.0, 1.1], 4: [1.3]})
    series = measure_series((1, 2, 4), machine, FREE, rounds=1)
    assert machine.asked == [1, 2, 1, 2, 4]
    assert list(series.rounds[0]) == [1, 2, 4]


def test_batches_that_were_named_are_measured_without_a_gain():
    machine = Machine(lambda batch: 0.5 * batch)
    series = measure_series((1, 2, 4), machine, replace(FREE, saturates=False), rounds=1)
    assert list(series.rounds[0]) == [1, 2, 4]


def test_memory_is_predicted_along_a_line_that_never_falls():
    assert predicted_mib([(1, 100.0)], 2) is None
    assert predicted_mib([(1, 90.0), (2, 100.0), (4, 300.0)], 8) == 700.0
    assert predicted_mib([(1, 110.0), (2, 100.0)], 4) == 100.0


def test_a_batch_that_would_not_fit_is_not_begun():
    machine = Machine(climbs, peak_mib=lambda batch: 300.0 * batch)
    series = measure_series((1, 2, 4), machine, FREE, rounds=1)
    assert machine.asked == [1, 2]
    assert series.ended == "batch 4 would take about 1200 MiB of memory, 1000 MiB are free"


def test_a_batch_that_would_not_fit_the_device_is_not_begun():
    sizes = {"device_mib": lambda batch: 100.0 * batch, "device_free_mib": lambda _: 350.0}
    series = measure_series((1, 2, 4), Machine(climbs, **sizes), FREE, rounds=1)
    assert series.ended == "batch 4 would take about 400 MiB of GPU memory, 350 MiB are free"


def test_a_machine_that_does_not_tell_its_memory_is_tried():
    machine = Machine(climbs, peak_mib=lambda batch: 300.0 * batch)
    measure_series((1, 2, 4), machine, replace(FREE, free_mib=lambda: None), rounds=1)
    assert machine.asked == [1, 2, 4]


def test_an_engine_that_fails_ends_the_series_with_a_line():
    machine = Machine({1: [1.0], 2: [1.1], 4: [EngineError("no room")]})
    series = measure_series((1, 2, 4, 8), machine, FREE, rounds=1)
    assert list(series.rounds[0]) == [1, 2]
    assert series.ended == "batch 4 failed: no room"


def test_a_later_round_that_fails_keeps_what_was_measured():
    machine = Machine({1: [1.0, 1.0], 2: [1.1, EngineError("no room")]})
    series = measure_series((1, 2), machine, FREE, rounds=3)
    assert series.ended == "batch 2 was the largest asked for; batch 2 failed: no room"
    assert [list(measured) for measured in series.rounds] == [[1, 2], [1]]


def test_a_first_batch_that_fails_is_an_error():
    with pytest.raises(EngineError, match="no room"):
        measure_series((1, 2), Machine({1: [EngineError("no room")]}), FREE, rounds=1)


def test_a_budget_leaves_one_visit():
    machine = Machine(climbs)
    series = measure_series((1, 2), machine, replace(FREE, budget_s=0.0), rounds=3)
    assert machine.asked == [1]
    assert series.ended == "the budget of 0 s was used up before batch 2; the budget of 0 s was used up"


def test_the_systems_memory_is_read_where_it_is_told(tmp_path):
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 4096 kB\nMemAvailable:    2048 kB\n")
    assert free_host_mib(file) == 2.0
    assert free_host_mib(tmp_path / "none") is None


def test_a_gpu_tells_its_free_memory(monkeypatch):
    assert free_device_mib(CpuSetup()) is None
    installed(monkeypatch, tensorrt="10.16", cuda="12")
    assert free_device_mib(CudaSetup()) > 0
    assert free_device_mib(CudaSetup(device=77)) is None


@pytest.mark.parametrize(
    ("knobs", "evaluations", "rows"),
    [
        ({"guidance": 1.0}, 4, 4),
        ({"guidance": 2.0}, 4, 8),
        ({"guidance": 2.0, "guidance_stop": 0.5}, 4, 6),
        ({"guidance": 2.0}, 5, 10),
    ],
)
def test_rows_of_guidance_are_counted(bundle, knobs, evaluations, rows):
    with foley.load(bundle, threads=1) as pipeline:
        assert rows_of_clip(pipeline.request("a cat", **knobs), evaluations) == rows


def test_a_visit_is_a_process_of_its_own(bundle):
    visit = visit_batch(bundle, CpuSetup(1), Workload(steps=3, sampler="pndm", guidance=3.0, batch=2))
    assert (visit.batch, visit.evaluations, visit.rows) == (2, 4, 8)  # PNDM evaluates once more
    assert 0 < visit.denoise_s < visit.latency_s
    assert visit.calls > 1  # a second's
    assert 10 < visit.peak_mib < 4096
    assert visit.device_mib is None


def test_memory_is_not_that_of_the_process_that_started_it(bundle):
    ballast = np.ones(600 << 17)  # 600 MiB
    visit = visit_batch(bundle, CpuSetup(1), Workload(steps=2))
    assert visit.peak_mib < ballast.nbytes / 2**20 - 100


def test_a_visit_that_fails_says_why_in_a_line(tmp_path):
    with pytest.raises(EngineError, match=r"^there is no folder .*none"):
        visit_batch(tmp_path / "none", CpuSetup(1), Workload())


def test_a_process_that_was_killed_is_told(bundle, tmp_path, monkeypatch):
    killed = tmp_path / "python"
    killed.write_text("#!/bin/sh\nkill -9 $$\n")
    killed.chmod(0o755)
    monkeypatch.setattr("sys.executable", str(killed))
    with pytest.raises(EngineError, match="ended by signal 9, as a system does that runs out of memory"):
        visit_batch(bundle, CpuSetup(1), Workload())


def test_the_command_prints_batches_and_keeps_a_row(bundle, tmp_path, command):
    results, plot = tmp_path / "rows.jsonl", tmp_path / "curve.png"
    options = ["--steps", "2", "--threads", "1", "--batches", "2,1", "--rounds", "1"]
    done = command("bench", "throughput", bundle, *options, "--results", results, "--plot", plot)
    assert done.code == 0, done
    for words in ("clips/min", "← knee", "knee: batch", "ended: batch 2 was the largest", "against torch"):
        assert words in done.out
    kept = json.loads(results.read_text())
    assert kept["name"] == "throughput"
    assert kept["configuration"]["batch"] == [1, 2]
    assert set(kept["fidelity"]) == {"text_encoder", "denoise_step", "latent_decoder", "vocoder"}
    first, second = kept["figures"]["batches"].values()
    assert first["rows_per_s"] == pytest.approx(2 * first["steps_per_s"], rel=1e-3)  # the mini bundle is guided
    assert second["gain"]["median"] > 0
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "cuda"], "for CUDA: pip"),
        (["--sampler", "heun"], "heun"),
        (["--steps", "0"], "steps"),
        (["--batches", "1,two"], "1,2,4"),
        (["--batches", "0"], "1,2,4"),
        (["--most", "0"], "--most"),
        (["no-such-bundle"], "there is no folder no-such-bundle"),
    ],
)
def test_misuse_is_one_line(command, arguments, words):
    command("bench", "throughput", *arguments).refused(words)


def test_a_damaged_bundle_is_seen_before_any_process(bundle, command):
    scale_weights(bundle, "vocoder", 2.0)
    (bundle / "graphs/vocoder.weights").write_bytes(b"")
    command("bench", "throughput", bundle).refused("vocoder.weights")


def test_batches_are_sorted_and_different():
    assert read_batches(None, None, "4, 1,2,4") == (1, 2, 4)
    assert read_batches(None, None, None) is None


def test_no_torch_is_imported():
    paths = [str(ROOT / name) for name in ("export", "bench")]
    text = (
        f"import sys; sys.path[:0] = {paths}\n"
        "import foley_bench.throughput.cli, foley_bench.throughput.plot, foley_bench.fidelity.cli, "
        "foley_bench.fidelity.plot\n"
        "print([name for name in ('torch', 'onnx', 'diffusers', 'transformers', 'scipy') if name in sys.modules])"
    )
    assert run_python("-c", text).out == "[]\n"
