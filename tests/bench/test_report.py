"""The tables that `foley bench report` renders from rows."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.commands import ROOT, run_cli

from foley_bench.report.heading import heading, labels
from foley_bench.report.kept import is_disturbed, newest
from foley_bench.report.kinds import KINDS
from foley_bench.report.page import page_text, shown_rows, tables
from foley_bench.report.plots import plot_names

Row = dict[str, Any]
PAGE = "# Foley\n\n<!-- bench:begin -->\nold\n<!-- bench:end -->\n\nThe end.\n"
WHAT = {
    "bundle": "demo", "system": "auffusion", "precision": "fp32", "engine": "cpu", "threads": 2, "cuda_graphs": None,
    "seconds": 2.56, "steps": 10, "sampler": "dpmpp-2m", "guidance": 2.0, "batch": 1,
}  # fmt: skip


def spread(median: float, repeats: int = 30) -> dict[str, float | int | None]:
    return {"repeats": repeats, "median": median, "least": median / 2, "most": median * 2, "p5": None, "p95": None}


def row(name: str, figures: dict[str, Any], **parts: Any) -> Row:
    """Make a row; `what` holds items of the configuration that are others."""
    what = {**WHAT, **parts.pop("what", {})}
    return {
        "name": name,
        "date": "2026-11-21",
        "commit": "abc",
        "machine": {"processor": "Abacus 3", "cores": 2, "memory_gib": 23.5, "system": "Linux"},
        "versions": {"foley": "0.1.0", "onnxruntime": "1.31.1"},
        "configuration": what,
        "figures": figures,
        "fidelity": {"denoise_step": 125.7, "vocoder": 105.5},
        "method": {"library": "onnxruntime 1.31.1"},
        **parts,
    }


def latency(whole_ms: float = 321.0, busy: float = 0.97, **parts: Any) -> Row:
    stages = ("text_encoder", "denoise_step", "denoising", "latent_decoder", "vocoder", "audio_write", "host")
    figures = {stage: spread(place + 0.25) for place, stage in enumerate(stages)}
    share = {"busy": busy, "cores": 2}
    return row("latency", {**figures, "whole": spread(whole_ms), "real_time_factor": 0.125, "share": share}, **parts)


def throughput() -> Row:
    each = {
        "clips_per_minute": spread(60.0), "gain": spread(1.0), "steps_per_s": 10.0, "rows_per_s": 20.0,
        "latency_ms": spread(1000.0), "peak_mib": 300.0, "device_mib": None,
    }  # fmt: skip
    figures = {"batches": {"1": each, "2": {**each, "gain": spread(1.5)}}, "knee": 2, "best": 2, "ended": "enough"}
    return row("throughput", {**figures, "busy": 0.95}, what={"batch": [1, 2]})


def fidelity(name: str, snr_db: float | str = "exact", **what: Any) -> Row:
    figures = {
        "snr_db": {"median": snr_db, "least": snr_db}, "exact_clips": 0, "log_mel_db": spread(0.125),
        "frechet": 1.5, "score": {"fraction": 0.75, "passed": 9, "total": 12}, "latency_ms": spread(300.0),
        "latency_ratio": spread(0.5), "clips": 12, "measure": "score", "front": True,
    }  # fmt: skip
    return row("fidelity", figures, what={"name": name, "compared_with": {**WHAT, "name": "base"}, **what})


def compare(peer: str, **figures: Any) -> Row:
    unit = {
        "steps": 3, "evaluations": 3, "wall_ratio": spread(1.75, 10), "processor_ratio": spread(1.625, 10),
        "foley_ms": spread(100.0), "peer_ms": spread(175.0), "foley_snr_db": 101.5, "peer_snr_db": None,
        "foley_peak_mib": 210, "peer_peak_mib": 430, "foley_busy": 0.9, "peer_busy": 0.8,
    }  # fmt: skip
    timed = {"status": "timed", "why": "", "step": unit, "foley": {}, "peer": {"versions": {"abacus": "2.5"}}}
    return row("compare", {**timed, **figures}, what={"peer": peer}, method={"library": "x", "reference": "diffusers"})


def roofline() -> Row:
    stage = {
        "ms": spread(2.0), "flops": 3e9, "least_bytes": 4e6, "moved_bytes": 5e6, "flop_per_byte": 750.0,
        "gflop_per_s": 60.0, "gb_per_s": 2.0, "limit": "arithmetic", "fraction": 0.625,
    }  # fmt: skip
    peaks = {"fp32": {"gflop_per_s": 96.0, "gb_per_s": 9.5, "product_size": 1024, "before": {}, "after": {}}}
    return row("roofline", {"stages": {"denoise_step": stage}, "peaks": peaks, "share": {"busy": 0.9, "cores": 2}})


def footprint() -> Row:
    cold = {"imported_s": 0.2, "loaded_s": 0.5, "first_clip_s": 1.5, "loaded_mib": 90.0, "peak_mib": 210.0}
    sizes = {"installed_mb": 131.5, "bytecode_mb": 12.0, "distributions": 9, "largest_mb": {}}
    started = {"import_s": spread(0.125), "cold_start": cold}
    peer = {**sizes, **started, "installed_mb": 1234.5, "checkpoint_mb": 25.0}
    figures = {"extras": {"cpu": sizes}, "bundle_mb": 13.5, **started, "diffusers": peer}
    return row("footprint", figures, what={"extra": "cpu"})


def shown(*rows: Row) -> str:
    chosen = shown_rows(rows, disturbed=False)
    return page_text(chosen, [None for _ in tables(chosen)])


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_the_newest_row_of_a_configuration_and_machine_is_shown() -> None:
    elsewhere = {**latency()["machine"], "processor": "Abacus 4"}
    rows = [
        latency(1.0, date="2026-11-22"),
        latency(2.0, date="2026-11-22", commit="later"),
        latency(3.0, date="2026-11-20"),
        latency(4.0, what={"steps": 25}),
        latency(5.0, machine=elsewhere),
        latency(6.0, method={"library": "onnxruntime-gpu 1.27 on H100"}),
        latency(7.0, method={"library": "onnxruntime-gpu 1.28 on H100"}),
    ]
    assert sorted(each["figures"]["whole"]["median"] for each in newest(rows)) == [2.0, 4.0, 5.0, 7.0]


def test_rows_of_one_machine_and_commit_share_a_table_and_tell_their_difference() -> None:
    text = shown(latency(321.0), latency(654.0, what={"steps": 25, "guidance": 1.0}))
    assert text.count("| median, ms |") == 1
    assert lines_with(text, "| steps 10, guidance 2 |", "321.0")
    assert lines_with(text, "| steps 25, guidance 1 |", "654.0")
    assert shown(latency(), latency(what={"steps": 25}, commit="other")).count("| median, ms |") == 2


def test_a_table_stands_under_machine_versions_and_configuration() -> None:
    above = heading([latency(), latency(what={"steps": 25})])
    for words in ("Abacus 3, 2 cores, 23.5 GiB, Linux", "onnxruntime 1.31.1", "commit abc, 2026-11-21", "threads 2"):
        assert words in above
    assert "steps" not in above
    assert labels([latency()]) == ["demo"]
    assert "on H100" not in above
    assert "Linux, H100;" in heading([latency(method={"library": "tensorrt 10 on H100"})])


@pytest.mark.parametrize(
    ("rows", "cells"),
    [
        (
            [latency()],
            ["| demo | 0.2 | 1.2 | 2.2 | 3.2 | 4.2 | 5.2 | 6.2 | 321.0 | 160.5–642.0 | 30 | 0.125 | – | – | 106 |"],
        ),
        ([throughput()], ["| 1 | 60.00 | 1.00 | 0.50–2.00 | 10.00 |", "| 2 (knee) | 60.00 | 1.50 |", "Ended: enough."]),
        (
            [fidelity("base"), fidelity("half", 43.21, engine="cuda")],
            ["| engine cpu, name base | exact |", "| engine cuda, name half | 43.2 | 43.2 | 0.125 | 1.500 | 9 of 12 |"],
        ),
        (
            [compare("eager"), compare("compiled", status="disagrees", why="its output has 3 dB")],
            [
                "| eager | step | 1.75 | 0.88–3.50 | 1.62 | 10 |", "| 101.5 | equal | 210 | 430 | 90% | 80% |",
                "| compiled | disagrees: its out", "Libraries of eager: abacus 2.5.",
            ],
        ),
        (
            [roofline()],
            ["| denoise step | 2.00 | 3.000 | 4.0 | 750.0 | 60.0 | 2.00 | arithmetic | 62.5% |", "fp32 96.0 GFLOP/s"],
        ),
        (
            [footprint()],
            ["| installed, MB | 131.5 | 1234.5 |", "| import, s | 0.125 | 0.125 |", "checkpoint, MB | 13.5 | 25.0 |"],
        ),
    ],
    ids=list(KINDS),
)  # fmt: skip
def test_each_kind_has_its_table(rows: Sequence[Row], cells: Sequence[str]) -> None:
    text = shown(*rows)
    for cell in cells:
        assert cell in text
    assert text.startswith(f"#### {KINDS[rows[0]['name']].title}\n\nAbacus 3, ")
    table = [line.count("|") for line in text.splitlines() if line.startswith("|")]
    assert len(set(table)) == 1


def test_an_estimated_clip_says_so() -> None:
    estimate = {
        "steps": 25, "evaluations": 26, "parts": ["step", "decode"], "wall_ratio": spread(1.5),
        "foley_s": spread(10.0), "peer_s": spread(15.0),
    }  # fmt: skip
    line = lines_with(shown(compare("eager", estimated=estimate)), "estimated")[0]
    assert line.startswith("| eager | clip of 25 steps, estimated from step and decode | 1.50 |")


def test_builds_that_were_compared_with_others_have_tables_of_their_own() -> None:
    other = fidelity("base")
    other["configuration"]["compared_with"]["steps"] = 50
    assert shown(fidelity("half"), other).count("| build |") == 2


@pytest.mark.parametrize(
    ("measured", "disturbed"),
    [
        (latency(busy=0.5), True),
        (latency(busy=0.8), False),
        (latency(busy=0.5, what={"engine": "cuda"}), False),
        ({**throughput(), "figures": {"busy": 0.5}}, True),
        (compare("eager"), False),
    ],
)
def test_a_row_is_disturbed_where_others_had_the_cores(measured: Row, *, disturbed: bool) -> None:
    assert is_disturbed(measured) == disturbed


def test_disturbed_rows_are_left_out_and_do_not_hide_older_ones() -> None:
    rows = [latency(321.0), latency(654.0, busy=0.5, date="2026-11-22")]
    assert shown_rows(rows, disturbed=False) == [rows[0]]
    assert shown_rows(rows, disturbed=True) == [rows[1]]
    assert "| demo, **disturbed**: had 50% of its cores |" in page_text([rows[1]], [None])


def test_pictures_are_numbered_within_their_kind() -> None:
    names = plot_names(["latency", "footprint", "roofline", "roofline"])
    assert names == ["latency.png", None, "roofline.png", "roofline-2.png"]


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    return run_cli(capsys, "bench", "report", *arguments)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(each) + "\n" for each in (latency(), row("quality score", {}))))
    return file


@pytest.fixture
def page(tmp_path: Path) -> Path:
    file = tmp_path / "docs" / "README.md"
    file.parent.mkdir()
    file.write_text(PAGE)
    return file


def test_a_page_is_written_and_checked(results: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = run(capsys, str(results), "--check", str(page))
    assert code == 1
    assert f"{page} does not show these rows" in complaint
    assert page.read_text() == PAGE
    assert run(capsys, str(results), "--write", str(page)) == (0, "", "")
    assert page.read_text().startswith("# Foley\n\n<!-- bench:begin -->\n#### Latency\n")
    assert page.read_text().endswith("<!-- bench:end -->\n\nThe end.\n")
    assert run(capsys, str(results), "--check", str(page)) == (0, "", "")
    page.write_text(page.read_text().replace("321.0", "123.0"))
    assert run(capsys, str(results), "--check", str(page))[0] == 1


def test_without_a_page_the_tables_are_printed(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with results.open("a") as more:
        more.write(json.dumps(latency(busy=0.1, what={"steps": 3})) + "\n")
    code, printed, told = run(capsys, str(results))
    assert code == 0
    assert "321.0" in printed
    assert "steps 3" not in printed
    assert told == "1 rows that others disturbed were left out; --disturbed shows them\n"
    assert "| steps 3, **disturbed**" in run(capsys, str(results), "--disturbed")[1]


def test_pictures_are_drawn_and_linked_from_the_page(
    results: Path, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [throughput(), fidelity("base"), fidelity("half", 40.0), compare("eager"), footprint()]
    with results.open("a") as more:
        more.writelines(json.dumps(each) + "\n" for each in rows)
    pictures = page.parent.parent / "pictures"
    assert run(capsys, str(results), "--write", str(page), "--plots", str(pictures))[0] == 0
    names = ["compare.png", "fidelity.png", "latency.png", "throughput.png"]
    assert sorted(each.name for each in pictures.iterdir()) == names
    for name in names:
        assert f"](../pictures/{name})" in page.read_text()
        assert (pictures / name).read_bytes().startswith(b"\x89PNG")
    assert run(capsys, str(results), "--check", str(page), "--plots", str(pictures))[0] == 0
    assert run(capsys, str(results), "--check", str(page))[0] == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "there is no row to show, none was kept"),
        (json.dumps(latency(busy=0.1)), "1 were disturbed by others: --disturbed shows them"),
        ("{oh", "rows.jsonl:1 is no row"),
        ("[]", "rows.jsonl:1 is no row"),
        ('{"name": "latency"}', "rows.jsonl:1 is no row"),
    ],
)
def test_files_without_rows_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, words: str
) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(text)
    code, printed, complaint = run(capsys, str(file))
    assert (code, printed) == (2, "")
    assert words in complaint
    assert complaint.count("\n") == 1


@pytest.mark.parametrize("option", ["--write", "--check"])
def test_missing_markers_are_one_line(
    results: Path, page: Path, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    page.write_text("# Foley\n")
    code, _, complaint = run(capsys, str(results), option, str(page))
    assert code == 2
    assert "the page lacks <!-- bench:begin --> … <!-- bench:end -->" in complaint
    assert complaint.count("\n") == 1
    assert page.read_text() == "# Foley\n"


def test_writing_and_checking_at_once_is_misuse(results: Path, page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, str(results), "--write", str(page), "--check", str(page))[0] == 2


def test_files_are_those_of_the_clone_by_default(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "there are no bench/results/*.jsonl here" in run(capsys)[2]
    (tmp_path / "bench/results").mkdir(parents=True)
    results.rename(tmp_path / "bench/results/cpu.jsonl")
    assert "321.0" in run(capsys)[1]


def test_the_readme_shows_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Write it anew with: foley bench report --write README.md --plots bench/results."""
    monkeypatch.chdir(ROOT)
    assert run(capsys, "--check", "README.md", "--plots", "bench/results") == (0, "", "")
    text = (ROOT / "README.md").read_text()
    shown = text[text.index("<!-- bench:begin -->") : text.index("<!-- bench:end -->")]
    links = [line.partition("](")[2].rstrip(")") for line in shown.splitlines() if line.startswith("![")]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []
