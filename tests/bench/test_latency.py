"""Where `foley bench latency` says that the time goes."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import pytest
from support.commands import run_cli

import foley
from foley.errors import EngineError
from foley_bench.build import Workload
from foley_bench.latency.cold import cold_start
from foley_bench.latency.stages import STAGES, ClipTimes, clock_clip, stage_spreads
from foley_engines import CpuSetup
from foley_engines.onnxruntime_cpu_session import CpuSession

SLOWED_S = 0.2
STAGE_OF = {graph: graph for graph in ("text_encoder", "latent_decoder", "vocoder")} | {"denoise_step": "denoising"}


def slow(monkeypatch: pytest.MonkeyPatch, graph: str) -> None:
    """Let every run of a graph take `SLOWED_S` longer."""
    run: Callable[[CpuSession], None] = CpuSession.run

    def slowed(session: CpuSession) -> None:
        if session._graph.name.split(".")[0] == graph:
            time.sleep(SLOWED_S)
        run(session)

    monkeypatch.setattr(CpuSession, "run", slowed)


def medians(bundle: Path, prompts: list[str]) -> dict[str, float]:
    with foley.load(bundle, threads=1) as pipeline:
        clock_clip(pipeline, pipeline.request("a cat", steps=2, guidance=1.0, sampler="ddim"))
        clips = [
            clock_clip(pipeline, pipeline.request(text, steps=2, guidance=1.0, sampler="ddim")) for text in prompts
        ]
    return {stage: median(getattr(clip, stage) for clip in clips) for stage in (*STAGES, "whole")}


@pytest.mark.parametrize("graph", STAGE_OF)
def test_a_slowed_graph_slows_its_stage_and_no_other(bundle: Path, monkeypatch: pytest.MonkeyPatch, graph: str) -> None:
    before = medians(bundle, ["a dog", "a bell", "a dog"])
    slow(monkeypatch, graph)
    after = medians(bundle, ["a dog", "a bell", "a dog"])
    added_ms = SLOWED_S * 1e3 * (2 if graph == "denoise_step" else 1)
    rises = {stage: after[stage] - before[stage] for stage in after}
    assert rises[STAGE_OF[graph]] == pytest.approx(added_ms, rel=0.05)
    assert rises["whole"] == pytest.approx(added_ms, rel=0.05)
    others = [rise for stage, rise in rises.items() if stage not in (STAGE_OF[graph], "whole")]
    assert max(map(abs, others)) < 0.05 * added_ms


def test_the_stages_and_the_host_make_the_whole() -> None:
    clip = ClipTimes(text_encoder=1, steps=(2, 3), latent_decoder=4, vocoder=5, audio_write=6, whole=30)
    assert (clip.denoising, clip.host) == (5, 9)
    described = stage_spreads([clip])
    assert described["denoise_step"].repeats == 2
    assert sum(described[stage].median for stage in STAGES) == described["whole"].median


def test_prompts_take_turns_so_that_the_encoder_runs_each_time(bundle: Path) -> None:
    with foley.load(bundle) as pipeline:
        texts = [Workload(batch=2).request(pipeline, number).prompts[0][0].text for number in (-1, 0, 1)]
        assert texts[0] != texts[1] != texts[2]
        assert len(Workload(batch=2).request(pipeline, 0).prompts) == 2


def test_a_cold_start_counts_from_before_the_process(bundle: Path) -> None:
    found = cold_start(bundle, CpuSetup(1), Workload(steps=2))
    assert 0 < found.imported_s < found.loaded_s < found.first_clip_s
    assert found.second_clip_s > 0
    assert 10 < found.loaded_mib <= found.peak_mib < 4096


def test_a_cold_start_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"a cold start failed: .*there is no folder"):
        cold_start(tmp_path / "none", CpuSetup(1), Workload())


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    return run_cli(capsys, "bench", "latency", *arguments)


def test_the_command_prints_stages_and_keeps_a_row(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    results, plot = tmp_path / "rows.jsonl", tmp_path / "bars.png"
    options = ["--steps", "2", "--repeats", "3", "--threads", "1", "--no-cold"]
    code, printed, _ = run(capsys, str(bundle), *options, "--results", str(results), "--plot", str(plot))
    assert code == 0
    for words in ("text encoder", "one step", "vocoder", "host overhead", "whole clip", "against torch", "3 repeats"):
        assert words in printed
    kept = json.loads(results.read_text())
    assert kept["configuration"]["steps"] == 2
    assert kept["configuration"]["threads"] == 1
    assert set(kept["fidelity"]) == {"text_encoder", "denoise_step", "latent_decoder", "vocoder"}
    assert kept["figures"]["denoise_step"]["repeats"] == 3 * 2
    assert kept["method"]["library"].startswith("onnxruntime ")
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--engine", "cuda"], "for CUDA: pip"),
        (["--sampler", "heun"], "heun"),
        (["--steps", "0"], "steps"),
        (["no-such-bundle"], "there is no folder no-such-bundle"),
    ],
)
def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, printed, complaint = run(capsys, *arguments)
    assert code in (1, 2)
    assert words in complaint
    assert complaint.count("\n") == 1
    assert printed == ""


def test_a_picture_that_cannot_be_drawn_is_told_before_anything_is_measured(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("foley_bench.latency.cli.measure_latency", lambda *_: pytest.fail("it was measured"))
    code, _, complaint = run(capsys, str(bundle), "--plot", str(tmp_path / "none" / "bars.png"))
    assert (code, complaint.count("\n")) == (2, 1)
    monkeypatch.setattr("foley_bench.options.find_spec", lambda _: None)
    code, _, complaint = run(capsys, str(bundle), "--plot", str(tmp_path / "bars.png"))
    assert code == 2
    assert "--plot needs matplotlib, which is not installed; install it with: pip install matplotlib" in complaint
