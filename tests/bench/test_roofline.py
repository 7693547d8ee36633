"""Which limit is nearer, how near a stage comes to it, and what the peaks are the best of."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.commands import run_cli

from foley.bundle import load_bundle
from foley.demo_bundle import demo_bundle
from foley.request import make_request
from foley_bench.roofline import peaks as peaks_module
from foley_bench.roofline.count import count
from foley_bench.roofline.limits import Counts, Rounds, least_s, nearness
from foley_bench.roofline.peaks import Peaks, Task, array_sum, best_rates, measure_peaks, product_chain
from foley_bench.roofline.stages import count_stages, stage_sizes, time_stages
from foley_bench.roofline.table import roofline_table
from foley_engines import CpuSetup
from foley_engines.onnxruntime_cpu_session import CpuSession

PEAKS = Peaks(flops_per_s=100e9, bytes_per_s=10e9, product_size=512)
"""The ridge is at ten operations a byte."""
GRAPHS = ("text_encoder", "denoise_step", "latent_decoder", "vocoder")


@pytest.fixture
def small_peaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks_module, "SIZES", (32, 64))
    monkeypatch.setattr(peaks_module, "TERMS", 1 << 12)
    monkeypatch.setattr(peaks_module, "ROUNDS", 2)
    monkeypatch.setattr(peaks_module, "BLOCK_S", 1e-3)


@pytest.mark.parametrize(
    ("flops", "moved", "limit", "seconds"),
    [
        (2e9, 1e8, "operations", 0.02),  # 20 operations a byte
        (1e8, 1e9, "memory", 0.1),  # 0.1
        (0, 1e6, "memory", 1e-4),
    ],
)
def test_the_limit_that_takes_longer_is_the_nearer(flops: float, moved: float, limit: str, seconds: float) -> None:
    assert least_s(Counts(int(flops), int(moved), int(moved)), PEAKS) == (pytest.approx(seconds), limit)


def test_a_stage_beside_its_limit_by_hand() -> None:
    found = nearness(Counts(flops=2_000_000_000, least_bytes=100_000_000, moved_bytes=400_000_000), PEAKS, 0.08)
    rates = {"gflop_per_s": 25.0, "gb_per_s": 1.25, "moved_gb_per_s": 5.0}
    assert found == {**rates, "limit": "operations", "least_ms": 20.0, "fraction": 0.25}


def test_what_is_faster_than_the_peaks_is_told_and_not_cut_at_one() -> None:
    assert nearness(Counts(2_000_000_000, 1, 1), PEAKS, 0.01)["fraction"] == 2.0


def test_the_better_of_two_measurements_counts_for_each_peak() -> None:
    other = Peaks(flops_per_s=120e9, bytes_per_s=8e9, product_size=1024)
    rounds = Rounds({"fp32": PEAKS}, {"fp32": other})
    assert rounds.best("fp32") == Peaks(120e9, 10e9, 1024)
    told = rounds.figures()["fp32"]
    assert (told["gflop_per_s"], told["gb_per_s"]) == (120.0, 10.0)
    assert (told["before"]["gflop_per_s"], told["after"]["gb_per_s"]) == (100.0, 8.0)


def test_tasks_take_turns_in_blocks_as_long_as_one_another() -> None:
    asked: list[tuple[str, int]] = []

    def task(name: str, seconds: list[float]) -> Task:
        def run(times: int) -> float:
            asked.append((name, times))
            return seconds.pop(0)

        return Task(1, run)

    block = peaks_module.BLOCK_S
    tasks = [task("short", [block / 10, 0.5, 0.25]), task("long", [3 * block, 0.2, 0.4])]
    assert best_rates(tasks, 2) == [4.0, 5.0]
    assert asked == [("short", 1), ("long", 1), *[("short", 10), ("long", 1)] * 2]


def test_the_graphs_of_the_peaks_do_what_is_reckoned() -> None:
    assert count(product_chain(64, "fp32"), {}).flops == 2 * peaks_module.CHAIN * 64**3
    cost = count(array_sum(), {})
    assert (cost.flops, cost.least_bytes) == (0, 3 * 4 * peaks_module.TERMS)


@pytest.mark.usefixtures("small_peaks")
def test_peaks_are_measured_in_the_engine_and_grow_with_what_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    found = measure_peaks(CpuSetup(1), "fp32", 2)
    assert found.product_size in (32, 64)
    run: Callable[[CpuSession], None] = CpuSession.run
    monkeypatch.setattr(CpuSession, "run", lambda session: (time.sleep(0.02), run(session))[1])
    slowed = measure_peaks(CpuSetup(1), "fp32", 2)
    assert slowed.product_size == 64  # each run waits: the most operations win
    assert slowed.flops_per_s <= 2 * 4 * 64**3 / 0.02 < found.flops_per_s
    assert slowed.bytes_per_s <= 3 * 4 * 4096 / 0.02 < found.bytes_per_s


@pytest.mark.usefixtures("small_peaks")
def test_no_larger_product_is_tried_after_a_long_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks_module, "LONG_S", 0.0)
    assert measure_peaks(CpuSetup(1), "fp32", 1).product_size == 32


@pytest.mark.parametrize(("guidance", "batch", "rows"), [(2.0, 1, 2), (1.0, 1, 1), (2.0, 3, 6)])
def test_a_step_has_the_rows_and_columns_of_the_workload(guidance: float, batch: int, rows: int) -> None:
    demo = load_bundle(demo_bundle(), verify_files=False)
    request = make_request(demo.manifest.defaults, "a bell", seconds=5.12, guidance=guidance, max_batch=batch)
    sizes = stage_sizes(demo, request)
    assert sizes["denoise_step"] == {"S": batch, "R": rows, "n": 8 * 2}
    assert (sizes["latent_decoder"], sizes["vocoder"]) == ({"B": 1, "W": 64}, {"B": 1, "T": 512})


def test_a_steps_operations_grow_with_its_rows() -> None:
    demo = load_bundle(demo_bundle(), verify_files=False)
    request = make_request(demo.manifest.defaults, "a bell", guidance=2.0)
    guided, alone = (
        count_stages(demo, stage_sizes(demo, each))["denoise_step"] for each in (request, replace(request, guidance=1))
    )
    assert guided.flops == pytest.approx(2 * alone.flops, rel=0.01)
    assert guided.least_bytes < 1.1 * alone.least_bytes  # the same weights


def test_a_slowed_graph_is_slow_in_its_stage(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run: Callable[[CpuSession], None] = CpuSession.run

    def slowed(session: CpuSession) -> None:
        time.sleep(0.05 * session._graph.name.startswith("vocoder"))
        run(session)

    monkeypatch.setattr(CpuSession, "run", slowed)
    opened = load_bundle(bundle)
    sizes = stage_sizes(opened, make_request(opened.manifest.defaults, "a bell"))
    times = time_stages(opened, CpuSetup(1), sizes, 3, None)
    assert set(times) == set(GRAPHS)
    assert times["vocoder"].least >= 50
    assert max(times[name].least for name in GRAPHS if name != "vocoder") < 25


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    return run_cli(capsys, "bench", "roofline", *arguments)


@pytest.fixture
def kept(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], small_peaks: None, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A row of the mini bundle, with the table as it was printed."""
    results, plot = tmp_path / "rows.jsonl", tmp_path / "roof.png"
    files = ["--results", str(results), "--plot", str(plot)]
    code, printed, _ = command(capsys, str(bundle), "--threads", "1", "--repeats", "3", "--batch", "2", *files)
    assert code == 0
    assert plot.read_bytes().startswith(b"\x89PNG")
    return {**json.loads(results.read_text()), "printed": printed}


def test_the_command_prints_stages_and_keeps_a_row(kept: dict[str, Any]) -> None:
    for words in ("peaks, fp32", "denoise step", "vocoder", "nearer limit", "against torch"):
        assert words in kept["printed"]
    assert kept["configuration"]["batch"] == 2
    assert "steps" not in kept["configuration"]
    assert set(kept["fidelity"]) == set(kept["figures"]["stages"]) == set(GRAPHS)
    step = kept["figures"]["stages"]["denoise_step"]
    assert (step["sizes"]["S"], step["sizes"]["R"], step["ms"]["repeats"]) == (2, 4, 3)
    best = kept["figures"]["peaks"]["fp32"]
    assert best["gb_per_s"] == max(best["before"]["gb_per_s"], best["after"]["gb_per_s"])


def test_the_table_tells_of_peaks_that_moved_and_of_stages_beyond_them(kept: dict[str, Any]) -> None:
    figures = kept["figures"]
    figures["peaks"]["fp32"] |= {part: {"gflop_per_s": 10, "gb_per_s": 5} for part in ("before", "after")}
    figures["stages"] = {name: {**stage, "fraction": 0.5} for name, stage in figures["stages"].items()}
    figures["share"]["busy"] = 1.0
    calm = roofline_table(kept)
    figures["peaks"]["fp32"]["after"] = {"gflop_per_s": 12, "gb_per_s": 5}
    figures["stages"]["vocoder"]["fraction"] = 1.2
    figures["share"]["busy"] = 0.5
    told = roofline_table(kept)
    for words in ("before and 12 after", "vocoder: faster than the peaks", "had 50% of 1 cores"):
        assert words in told
        assert words not in calm


def test_counting_alone_opens_no_engine(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(CpuSession, "run", None)
    code, printed, _ = command(capsys, "--count-only", "--json")
    counted = json.loads(printed)
    assert code == 0
    assert counted["denoise_step"]["sizes"] == {"S": 1, "R": 2, "n": 8 // 2 * 2}
    assert counted["denoise_step"]["flops"] == pytest.approx(2.906e9, rel=0.001)
    assert "S=1" in command(capsys, "--count-only")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--count-only", "--plot", "roof.png"], "leave out --plot"),
        (["--engine", "cuda"], "for CUDA: pip"),
        (["--seconds", "0"], "seconds"),
        (["--batch", "65"], "slots"),
        (["no-such-bundle"], "there is no folder no-such-bundle"),
    ],
)
def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, printed, complaint = command(capsys, *arguments)
    assert code == 2
    assert words in complaint
    assert complaint.count("\n") == 1
    assert printed == ""
