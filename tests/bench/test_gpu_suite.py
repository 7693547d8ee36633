"""The suite's runner over made-up parts, and its plan."""

import json
import sys
from pathlib import Path

import pytest
from support.commands import ROOT

from foley.cli import cli
from foley.demo_bundle import demo_bundle
from foley_bench.gpu_suite.plan import Part, Subject, parts
from foley_bench.gpu_suite.run import Outcome, run_parts


def part(name: str, code: str, most_s: float = 30, **more: object) -> Part:
    return Part(name, (sys.executable, "-c", code), most_s, **more)  # type: ignore[arg-type]


def run(tmp_path: Path, *several: Part, limit_s: float = 60.0) -> dict[str, Outcome]:
    outcomes = run_parts(several, tmp_path / "suite.json", tmp_path / "rows.jsonl", limit_s, lambda _: None)
    return {outcome.part: outcome for outcome in outcomes}


def test_a_part_that_fails_or_hangs_spoils_no_other(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        part("broken", "print('first'); raise SystemExit('the reason')"),
        part("hanging", "import time; print('working', flush=True); time.sleep(60)", most_s=1),
        part("whole", "print('fine')"),
    )
    assert {name: outcome.state for name, outcome in found.items()} == {
        "broken": "failed", "hanging": "ended", "whole": "done"
    }  # fmt: skip
    assert found["broken"].said == ("first", "the reason")
    assert found["hanging"].why == "it took more than 1 s"
    assert found["hanging"].seconds < 20


def test_what_a_hanging_part_started_is_ended_too(tmp_path: Path) -> None:
    mark = tmp_path / "grandchild"
    inner = f"import time, pathlib; time.sleep(3); pathlib.Path({str(mark)!r}).touch()"
    outer = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {inner!r}]); time.sleep(60)"
    run(tmp_path, part("hanging", outer, most_s=1), part("waiting", "import time; time.sleep(4)"))
    assert not mark.exists()


def test_a_part_whose_needs_are_not_met_is_skipped_with_the_reason(tmp_path: Path) -> None:
    found = run(
        tmp_path,
        part("export", "raise SystemExit(1)"),
        part("verify", "print('never')", needs=("export",)),
        part("tensorrt", "print('never')", missing="tensorrt is not installed"),
    )
    assert (found["verify"].state, found["verify"].why) == ("skipped", "it needs export")
    assert (found["tensorrt"].state, found["tensorrt"].why) == ("skipped", "tensorrt is not installed")


def test_the_time_is_kept_and_what_was_left_out_is_named(tmp_path: Path) -> None:
    found = run(tmp_path, part("long", "import time; time.sleep(60)"), part("late", "print('never')"), limit_s=1.0)
    assert found["long"].state == "ended"
    assert (found["late"].state, found["late"].why) == ("skipped", "no time was left")


def test_the_file_is_whole_after_every_part_and_holds_the_rows(tmp_path: Path) -> None:
    write = "import pathlib; pathlib.Path(r'{}').open('a').write('{{\"name\": \"latency\"}}\\n')"
    run(tmp_path, part("measuring", write.format(tmp_path / "rows.jsonl")), part("after", "pass"))
    written = json.loads((tmp_path / "suite.json").read_text())
    assert [each["state"] for each in written["figures"]["parts"]] == ["done", "done"]
    assert written["figures"]["rows"] == [{"name": "latency"}]
    assert written["machine"]["cores"]


def test_the_plan_prepares_what_is_not_given_and_skips_engines_that_are_not_here(tmp_path: Path) -> None:
    names = [each.name for each in parts(Subject(tmp_path))]
    assert names[:2] == ["checkpoint", "export"]
    assert "tensorrt: build" in names
    assert names.index("cuda: verify") < names.index("cuda: steps beside torch") < names.index("tensorrt: build")
    assert all(each.missing for each in parts(Subject(tmp_path)) if each.name.startswith(("cuda", "tensorrt")))
    given = Subject(tmp_path, checkpoint=tmp_path / "c", bundle=tmp_path / "b")
    assert next(each.name for each in parts(given)) == "cuda: verify"


CHECKPOINT = ROOT / "export/foley_export/demo_model/checkpoint"
LONG = ("throughput", "roofline")


@pytest.mark.slow
def test_the_suite_on_the_demo_and_the_cpu(tmp_path: Path) -> None:
    subject = Subject(tmp_path, "tiny", ("cpu",), CHECKPOINT, demo_bundle(), batches=(1, 2))
    short = [each for each in parts(subject) if not each.name.endswith(LONG)]
    outcomes = run_parts(short, tmp_path / "suite.json", subject.rows, 600.0, lambda _: None)
    assert {outcome.part: (outcome.state, outcome.said) for outcome in outcomes if outcome.state != "done"} == {}
    rows = json.loads((tmp_path / "suite.json").read_text())["figures"]["rows"]
    assert {row["name"] for row in rows} == {"steps a second", "latency"}


@pytest.mark.parametrize("size", ["tiny", "full"])
def test_what_takes_long_is_asked_for_in_words_that_exist(tmp_path: Path, size: str) -> None:
    """An option that does not exist is refused before the help is shown."""
    subject = Subject(tmp_path, size, ("cpu", "cuda"), tmp_path / "c", tmp_path / "b")  # type: ignore[arg-type]
    for each in parts(subject):
        words = list(each.command[each.command.index("foley") + 1 :]) if "foley" in each.command else []
        if words[:1] == ["bench"]:
            assert cli.main([*words, "--help"], standalone_mode=False) == 0
