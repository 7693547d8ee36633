"""What `foley bench baseline` keeps, and what `foley bench check` makes of it."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from support.commands import run_cli

import foley
from foley.errors import EngineError, UsageError
from foley_bench.build import Workload
from foley_bench.latency.cold import engine_options_of
from foley_bench.regression import baseline, check, cli, sample
from foley_bench.regression.check import PROCESSOR, WALL, judge
from foley_bench.regression.child import measure
from foley_bench.regression.clip import PacedClip, Turns, pace_clip
from foley_bench.regression.orders import Order, read_order
from foley_bench.regression.sample import Sample, find_turns, run_child
from foley_bench.regression.verdict import compare, final_finding, first_finding, locate
from foley_bench.regression.yardstick import Yardstick, yardstick_file, yardstick_graph
from foley_engines import CpuSetup
from foley_engines.onnxruntime_cpu_session import CpuSession

CLIP = PacedClip(steps_s=2.0, rendering_s=1.0, yardsticks_s=0.5, work_cpu_s=2.4, yardsticks_cpu_s=0.4, runs=5)


def order(bundle: Path, graph: Path) -> Order:
    return Order(bundle, engine_options_of(CpuSetup(1)), Workload(steps=2), graph, Turns(2, 3), 3)


def around(centre: float, count: int = 6, spread: float = 0.01) -> list[float]:
    return [float(each) for each in centre * np.exp(spread * np.linspace(-1, 1, count))]


def a_sample(ratios: list[float], cpu_ratios: list[float], busy: float) -> Sample:
    """Make processes of one clip each, of one core."""
    clips = [
        PacedClip(wall, 0.0, 1.0, cpu * busy, busy, 1)
        for wall, cpu in zip(ratios, cpu_ratios, strict=True)
    ]  # fmt: skip
    return Sample(tuple((clip,) for clip in clips))


def test_the_yardstick_is_always_the_same_and_computes() -> None:
    assert yardstick_graph("fp32").SerializeToString() == yardstick_graph("fp32").SerializeToString()
    with yardstick_file("fp32") as file, Yardstick(file, CpuSetup(1)) as yardstick:
        yardstick.run(2)
        output = yardstick._session["z"].read()
    assert output.shape == (128, 1536)
    assert 0.1 < float(np.abs(output).mean()) < 10
    assert not file.exists()


@pytest.mark.parametrize(
    ("precision", "kind"), [("fp16", onnx.TensorProto.FLOAT16), ("bf16", onnx.TensorProto.BFLOAT16)]
)
def test_the_yardstick_computes_in_the_bundles_precision(precision: Any, kind: int) -> None:
    graph = yardstick_graph(precision).graph
    assert {each.data_type for each in graph.initializer if each.name != "tokens"} == {kind}


def test_a_clip_is_the_work_in_yardsticks() -> None:
    assert CLIP.ratio == pytest.approx(3.0 / (0.5 / 5))
    assert CLIP.cpu_ratio == pytest.approx(2.4 / (0.4 / 5))


def test_the_yardstick_runs_after_every_step_and_at_the_end_and_is_not_in_the_work(bundle: Path) -> None:
    taken: list[int] = []

    class Slow:
        def run(self, times: int) -> None:
            taken.append(times)
            time.sleep(0.2)

    with foley.load(bundle, threads=1) as pipeline:
        request = pipeline.request("a cat", steps=3, sampler="ddim")
        clip = pace_clip(pipeline, request, Slow(), Turns(2, 7))  # type: ignore[arg-type]
    assert taken == [2, 2, 2, 7]
    assert clip.runs == 13
    assert clip.yardsticks_s >= 0.8
    assert clip.work_s < 0.4


def test_an_order_survives_the_command_line(tmp_path: Path) -> None:
    given = order(tmp_path / "bundle", tmp_path / "yardstick.onnx")
    assert read_order(given.text()) == given


def test_a_process_of_its_own_gives_clips(bundle: Path) -> None:
    with yardstick_file("fp32") as graph:
        clips = run_child(order(bundle, graph))
    assert [clip.runs for clip in clips] == [2 * 2 + 3] * 3
    assert min(clip.work_cpu_s for clip in clips) > 0


def test_a_process_that_fails_says_why(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"a process that measures failed: .*there is no folder"):
        run_child(order(tmp_path / "none", tmp_path / "yardstick.onnx"))


def test_turns_give_the_yardstick_its_share(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = replace(CLIP, steps_s=4 * 1.0, rendering_s=3.0, yardsticks_s=0.5, runs=5)
    monkeypatch.setattr(sample, "run_child", lambda order: [clip] * order.clips)
    assert find_turns(order(bundle, bundle)) == Turns(step=3, rendering=9)


def test_processes_count_once_each_by_their_median_clip() -> None:
    clips = tuple(replace(CLIP, steps_s=steps_s) for steps_s in (1.0, 2.0, 30.0))
    assert Sample((clips, clips)).ratios == [pytest.approx(30.0)] * 2


def test_an_odd_process_does_not_decide() -> None:
    calm = around(1.0, 12)
    assert locate([*calm[:-1], 9.0]).centre == pytest.approx(0.0, abs=0.002)
    assert locate([*calm[:-1], 9.0]).error < 0.005


def test_a_difference_is_of_logarithms_with_both_errors() -> None:
    found = compare(around(1.0), around(1.2))
    assert found.ratio == pytest.approx(1.2)
    assert found.error == pytest.approx(2**0.5 * locate(around(1.0)).error)


@pytest.mark.parametrize(
    ("first", "finding"),
    [(1.0, "no slower"), (1.03, "no slower"), (0.9, "faster"), (1.06, None), (1.3, None)],
)
def test_one_sample_decides_only_that_nothing_is_slower(first: float, finding: str | None) -> None:
    assert first_finding(around(1.0, 12), around(first)) == finding


@pytest.mark.parametrize(
    ("first", "second", "finding"),
    [
        (1.1, 1.1, "slower"),
        (1.3, 1.0, "cannot tell"),
        (1.16, 1.03, "cannot tell"),  # the second does not show it by itself
        (1.06, 1.0, "no slower"),
        (0.9, 0.9, "faster"),
    ],
)
def test_a_second_sample_confirms(first: float, second: float, finding: str) -> None:
    assert final_finding(around(1.0, 12), around(first), around(second)) == finding


def test_noise_that_hides_ten_per_cent_is_no_verdict() -> None:
    wild = around(1.0, 12, spread=0.4)
    assert first_finding(wild, around(1.0, spread=0.4)) is None
    assert final_finding(wild, around(1.0, spread=0.4), around(1.0, spread=0.4)) == "cannot tell"
    assert final_finding(wild, around(3.0, spread=0.4), around(3.0, spread=0.4)) == "slower"


def kept(busy: float, engine: str = "cpu") -> dict[str, Any]:
    figures = {WALL: around(1.0, 12), PROCESSOR: around(1.0, 12), "share": {"busy": busy}}
    return {"configuration": {"engine": engine}, "figures": figures}


@pytest.mark.parametrize(
    ("then", "now", "engine", "gate"),
    [(0.9, 0.9, "cpu", WALL), (0.9, 0.5, "cpu", PROCESSOR), (0.5, 0.9, "cpu", PROCESSOR), (0.1, 0.1, "cuda", WALL)],
)
def test_processor_time_judges_where_others_had_the_cores(then: float, now: float, engine: str, gate: str) -> None:
    taken = a_sample(around(1.0), around(1.0), now)
    assert judge(kept(then, engine), lambda: taken, 1)[0].gate == gate


def test_a_wait_that_takes_no_processor_time_is_seen_on_a_calm_machine() -> None:
    clips = [PacedClip(1.5 * each, 0.0, 1.0, 1.0, 0.95, 1) for each in around(1.0)]
    waits = Sample(tuple((clip,) for clip in clips))
    judged, both = judge(kept(0.9), lambda: waits, 1)
    assert (judged.finding, judged.gate) == ("slower", WALL)
    assert len(both.processes) == 12


def test_a_second_sample_is_taken_only_where_the_first_does_not_decide() -> None:
    taken = []

    def take(ratio: float) -> Callable[[], Sample]:
        return lambda: taken.append(ratio) or a_sample(around(ratio), around(ratio), 0.9)  # type: ignore[func-returns-value]

    assert judge(kept(0.9), take(1.0), 1)[0].finding == "no slower"
    assert judge(kept(0.9), take(1.1), 1)[0].finding == "slower"
    assert taken == [1.0, 1.1, 1.1]


def compute(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let each denoising step compute for so long, and processes be this one."""
    run: Callable[[CpuSession], None] = original_run

    def slowed(session: CpuSession) -> None:
        run(session)
        end = time.process_time() + (seconds if session._graph.stem.startswith("denoise_step") else 0)
        while time.process_time() < end:
            pass

    monkeypatch.setattr(CpuSession, "run", slowed)
    monkeypatch.setattr(sample, "run_child", measure)


original_run = CpuSession.run
OPTIONS = ["--threads", "1", "--steps", "2", "--processes", "8", "--clips", "3"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    return run_cli(capsys, "bench", *arguments)


def test_slower_steps_are_caught_and_the_same_ones_are_not(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "baseline.jsonl"
    compute(monkeypatch, 0.03)
    code, printed, complaint = run(capsys, "baseline", str(file), str(bundle), *OPTIONS)
    assert (code, complaint) == (0, "")
    assert "8 processes; wall time ±" in printed
    row = json.loads(file.read_text())
    assert len(row["figures"]["ratios"]) == len(row["figures"]["cpu_ratios"]) == 8
    assert row["method"]["turns"]["step"] >= 1
    assert set(row["fidelity"]) == {"text_encoder", "denoise_step", "latent_decoder", "vocoder"}
    code, printed, _ = run(capsys, "check", str(file), str(bundle))
    assert code in (0, 3)
    assert "slower:" not in printed.replace("no slower:", "")
    compute(monkeypatch, 0.06)
    code, printed, _ = run(capsys, "check", str(file), str(bundle), "--json")
    judged = json.loads(printed)
    assert code == 1
    assert judged["name"] == "check"
    assert judged["figures"]["finding"] == "slower"
    assert 1.3 < judged["figures"]["ratio"] < 2.5
    assert len(judged["figures"]["ratios"]) == 8  # two samples


@pytest.mark.parametrize(
    ("findings", "code"),
    [
        (["no slower", "faster"], 0),
        (["no slower", "cannot tell"], 3),
        (["cannot tell", "slower", "no slower"], 1),
    ],
)
def test_exit_codes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, findings: list[str], code: int
) -> None:
    file, left = tmp_path / "baseline.jsonl", iter(findings)
    what: dict[str, Any] = {
        "precision": "fp32",
        "engine": "cpu",
        "threads": 1,
        "seconds": 1.0,
        "sampler": "ddim",
        "guidance": 1.0,
    }
    rows = [
        row_of(configuration={**what, "bundle": "demo", "batch": 1, "steps": steps}) for steps in range(len(findings))
    ]
    file.write_text("\n".join(map(json.dumps, rows)))

    def judged(row: dict[str, Any], folder: Path) -> dict[str, Any]:
        figures = {"finding": next(left), "gate": WALL, "ratio": 1.01, "noise": 0.02, WALL: [1.0]}
        return {**row, "figures": figures, "fidelity": {"vocoder": 100.0}}

    monkeypatch.setattr(cli, "check_row", judged)
    found, printed, _ = run(capsys, "check", str(file))
    assert found == code
    assert printed.count("\n") == len(findings)
    assert f"{findings[0]}: +1.0% (noise ±2.0%, wall time, 1 processes)" in printed


def row_of(**parts: Any) -> dict[str, Any]:
    machine = {"processor": baseline.machine()["processor"]}
    return {"name": "baseline", "commit": "abc", "machine": machine, "configuration": {"steps": 1}, **parts}


def test_the_newest_row_of_a_configuration_on_this_processor_counts(tmp_path: Path) -> None:
    other, file = {"processor": "another"}, tmp_path / "rows.jsonl"
    rows = [
        row_of(commit="old"), row_of(configuration={"steps": 2}), row_of(commit="new"),
        row_of(commit="elsewhere", machine=other), row_of(name="latency"),
    ]  # fmt: skip
    file.write_text("\n".join(map(json.dumps, rows)))
    assert [(each["configuration"]["steps"], each["commit"]) for each in baseline.read_baseline(file)] == [
        (1, "new"),
        (2, "abc"),
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "there is no file"),
        ("", "has no row of a baseline"),
        ("{oh", "does not hold a row of JSON on each line"),
        (json.dumps(row_of(machine={"processor": "Abacus 3"})), "is of Abacus 3, this is"),
    ],
)
def test_a_file_that_is_no_baseline_here_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, words: str
) -> None:
    file = tmp_path / "rows.jsonl"
    if text is not None:
        file.write_text(text)
    code, printed, complaint = run(capsys, "check", str(file))
    assert (code, printed) == (2, "")
    assert words in complaint
    assert "foley bench baseline" in complaint
    assert complaint.count("\n") == 1


@pytest.fixture
def measured(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sample, "run_child", lambda order: [CLIP] * order.clips)
    return baseline.measure_baseline(bundle, CpuSetup(1), Workload(steps=2), 8, 3)


@pytest.mark.parametrize(
    ("part", "name", "value"),
    [
        ("method", "yardstick", 0),
        ("method", "schema", 0),
        ("method", "library", "onnxruntime 1.0"),
        ("configuration", "threads", 64),
        ("configuration", "precision", "fp16"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    measured: dict[str, Any], bundle: Path, part: str, name: str, value: object
) -> None:
    baseline.measured_again(measured, bundle)
    changed = {**measured, part: {**measured[part], name: value}}
    with pytest.raises(UsageError, match=rf"the baseline's {name} is .*{value}.*, now it is .*: not comparable"):
        baseline.measured_again(changed, bundle)


def test_the_same_clips_are_made_again(measured: dict[str, Any], bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    orders = []

    def fake(order: Order) -> list[PacedClip]:
        orders.append(order)
        return [CLIP] * order.clips

    monkeypatch.setattr(sample, "run_child", fake)
    judged = check.check_row(measured, bundle)
    assert judged["figures"]["finding"] == "no slower"
    assert len(orders) == 4
    assert {(each.workload.steps, each.workload.batch, each.clips) for each in orders} == {(2, 1, 3)}
    assert vars(orders[0].turns) == measured["method"]["turns"]
    assert judged["configuration"] == measured["configuration"]


def test_a_bundle_that_was_not_named_is_asked_for(
    measured: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(measured))
    code, _, complaint = run(capsys, "check", str(file))
    assert code == 2
    assert "has a row of the bundle 'mini': name its folder too" in complaint
