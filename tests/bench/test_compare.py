"""`foley bench compare` over peers that only sleep: turns, agreement, ratios, and peers that go wrong."""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from foley.errors import EngineError, UsageError, VerificationError
from foley_bench.compare import child
from foley_bench.compare.agreement import Reference, heard
from foley_bench.compare.contestants import ALL, Contestant, Unit, make_peer, peer_names
from foley_bench.compare.figures import Scope
from foley_bench.compare.outcome import Outcome, compare, prepared
from foley_bench.compare.plot import plot_ratios
from foley_bench.compare.table import compare_table
from foley_bench.compare.turns import Course, HomeDisagreesError, Task, loaded, references, run_pair

STUB = Path(__file__).with_name("stub_peer.py")
STEPS = Task("step", 3)
MakeStub = Callable[..., Contestant]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "turns.log"


@pytest.fixture
def stub(tmp_path: Path, log: Path) -> MakeStub:
    def make(name: str, *, units: tuple[Unit, ...] = ("step",), **settings: Any) -> Contestant:
        shared = {"name": name, "log": str(log), "threads": 1, "checkpoint": str(tmp_path), "units": list(units)}
        return Contestant(name, STUB, "fp32", units, {**shared, **settings})

    return make


@pytest.fixture
def course(tmp_path: Path) -> Course:
    latents = np.random.default_rng(0).standard_normal((1, 4, 8, 8)).astype(np.float32)
    np.savez(tmp_path / "inputs.npz", latents=latents)
    outputs: dict[Unit, Any] = {"step": latents, "decode": latents[:, 0]}
    right = {Task(unit, steps): Reference("diffusers", outputs[unit]) for unit in outputs for steps in (1, 3)}
    return Course(tmp_path / "inputs.npz", (STEPS,), right, rounds=3, threads=1)


def outcome(first: Contestant, second: Contestant, course: Course, tmp_path: Path, scope: Scope) -> Outcome:
    [found] = compare(first, [second], course, scope, tmp_path / "cache", lambda _: None)
    return found


def test_contestants_take_turns(stub: MakeStub, course: Course, log: Path) -> None:
    pair = run_pair(stub("foley"), stub("peer"), course)
    assert log.read_text().splitlines() == ["foley step 3", "peer step 3"] * (1 + 3)
    assert len(pair.rounds) == 3
    assert pair.first["versions"].keys() == {"numpy"}


def test_units_take_turns_within_a_round_and_a_peer_gets_its_own_only(
    stub: MakeStub, course: Course, log: Path
) -> None:
    both = replace(course, tasks=(STEPS, Task("decode", 3)), rounds=1, warm_up=0)
    run_pair(stub("foley", units=("step", "decode")), stub("peer", units=("step", "decode")), both)
    assert log.read_text().splitlines() == ["foley step 3", "peer step 3", "foley decode 3", "peer decode 3"]
    log.unlink()
    run_pair(stub("foley", units=("step", "decode")), stub("peer"), both)
    assert log.read_text().splitlines() == ["foley step 3", "peer step 3"]


def test_a_peer_of_half_the_speed_has_ratio_two(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    slow = stub("peer", sleep_s=0.6)
    found = outcome(stub("foley", sleep_s=0.3), slow, course, tmp_path, Scope(1, on_cpu=True))
    assert found.status == "timed"
    assert found.figures["step"]["wall_ratio"]["median"] == pytest.approx(2, rel=0.05)
    assert found.figures["step"]["wall_ratio"]["repeats"] == 3
    assert found.figures["step"]["peer_snr_db"] is None
    assert found.figures["step"]["peer_busy"] < 0.5
    assert found.figures["peer"]["threads"] == 1


def test_a_wrong_output_is_told_and_not_timed(
    stub: MakeStub, course: Course, tmp_path: Path, log: Path
) -> None:  # fmt: skip
    found = outcome(stub("foley"), stub("peer", factor=1.001), course, tmp_path, Scope(1, on_cpu=True))
    assert found == Outcome("peer", "disagrees", "60.0 dB from diffusers, expected at least 80 (fp32)")
    assert len(log.read_text().splitlines()) == 2  # it is not run to the end


def test_the_floor_is_that_of_the_precision(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    half = replace(stub("peer", factor=1.001), precision="fp16")
    found = outcome(stub("foley"), half, course, tmp_path, Scope(1, on_cpu=False))
    assert found.figures["step"]["peer_snr_db"] == 60.0
    assert found.figures["step"]["processor_ratio"] is None


def test_nothing_is_measured_against_a_foley_that_is_wrong(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    with pytest.raises(HomeDisagreesError, match=r"foley's step: 0\.0 dB from diffusers, expected at least 80"):
        outcome(stub("foley", factor=2.0), stub("peer"), course, tmp_path, Scope(1, on_cpu=True))


@pytest.mark.parametrize(
    ("settings", "status", "words"),
    [
        ({"counted": 2}, "failed", "peer: computes on 2 threads, expected 1"),
        ({"crash": True}, "failed", "peer: the process ended with exit code 3: out of luck"),
        ({"absent": True}, "absent", "No module named 'peerless' in "),
        ({"evaluations": 4}, "failed", "peer: evaluated the U-Net 4 times, foley 3"),
    ],
)
def test_a_peer_that_goes_wrong_is_one_line_and_the_next_one_runs(
    stub: MakeStub, course: Course, tmp_path: Path, settings: dict[str, Any], status: str, words: str
) -> None:
    peers = [stub("peer", **settings), stub("next")]
    scope = Scope(1, on_cpu=True)
    wrong, following = compare(stub("foley"), peers, course, scope, tmp_path / "cache", lambda _: None)
    assert (wrong.status, wrong.figures) == (status, {})
    assert wrong.why is not None
    assert words in wrong.why
    assert "\n" not in wrong.why
    assert following.status == "timed"


def test_a_peer_that_hangs_is_ended_and_told(
    stub: MakeStub, course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child, "ANSWER_S", 8.0)  # on a busy machine loading takes seconds as well
    found = outcome(stub("foley"), stub("peer", sleep_s=60.0), course, tmp_path, Scope(1, on_cpu=True))
    assert (found.status, found.why) == ("failed", "peer: gave no answer within 8 s")


def test_an_interpreter_that_is_not_there_is_an_absent_peer(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    nowhere = replace(stub("peer"), python="no/such/python")
    found = outcome(stub("foley"), nowhere, course, tmp_path, Scope(1, on_cpu=True))
    assert found.status == "absent"
    assert found.why == "no/such/python does not start: No such file or directory; name another by --python"


def test_what_libraries_print_is_no_answer(stub: MakeStub, course: Course) -> None:
    assert len(run_pair(stub("foley"), stub("peer", noise=True), course).rounds) == 3


def test_threads_are_fixed_before_a_library_is_imported(stub: MakeStub, tmp_path: Path) -> None:
    program = tmp_path / "threads_peer.py"
    program.write_text(
        "import os\nCOUNT = int(os.environ['OMP_NUM_THREADS'])\n"
        "class Peer:\n    LIBRARIES = ()\n    def load(self, settings):\n        return {'threads': COUNT}\n"
    )
    with loaded(replace(stub("peer"), file=program), 3) as ready:
        assert ready.facts["threads"] == 3


def test_peers_stay_off_the_network_and_other_interpreters_have_no_modules_of_ours(
    stub: MakeStub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "environment_peer.py"
    program.write_text(
        "import os\nTOLD = {name: os.environ.get(name) for name in ('HF_HUB_OFFLINE', 'PYTHONPATH')}\n"
        "class Peer:\n    LIBRARIES = ()\n    def load(self, settings):\n        return {'threads': 1, **TOLD}\n"
    )
    monkeypatch.setenv("PYTHONPATH", "ours")
    own = replace(stub("peer"), file=program)
    detour = Path(sys.executable).parent / ".." / Path(sys.executable).parent.name / Path(sys.executable).name
    other = replace(own, python=str(detour))  # another name of this interpreter
    with loaded(own, 1) as ready:
        assert (ready.facts["HF_HUB_OFFLINE"], ready.facts["PYTHONPATH"]) == ("1", "ours")
    with loaded(other, 1) as ready:
        assert (ready.facts["HF_HUB_OFFLINE"], ready.facts["PYTHONPATH"]) == ("1", None)


def test_a_contestant_that_the_processor_only_emulates_gets_one_step(
    stub: MakeStub, course: Course, log: Path
) -> None:  # fmt: skip
    run_pair(stub("foley"), stub("peer", emulated=True), course)
    assert set(log.read_text().splitlines()) == {"foley step 1", "peer step 1"}


def test_a_clip_is_estimated_from_its_parts_and_called_so(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    tasks = (STEPS, Task("decode", 3))
    slow = stub("peer", units=("step", "decode"), sleep_s=0.2)
    quick = stub("foley", units=("step", "decode"), sleep_s=0.1)
    found = outcome(quick, slow, replace(course, tasks=tasks), tmp_path, Scope(1, True, estimate=(25, 26)))
    estimated = found.figures["estimated"]
    assert (estimated["steps"], estimated["parts"]) == (25, ["step", "decode"])
    assert estimated["peer_s"]["median"] == pytest.approx(0.2 / 3 * 26 + 0.2, rel=0.1)
    assert estimated["wall_ratio"]["median"] == pytest.approx(2, rel=0.1)


def test_what_a_peer_prepares_is_kept(stub: MakeStub, tmp_path: Path) -> None:
    peer, cache = replace(stub("peer"), prepared=True), tmp_path.parent / f"{tmp_path.name}-cache"
    ready, seconds = prepared(peer, 1, cache)
    again, nothing = prepared(peer, 1, cache)
    assert seconds is not None
    assert nothing is None
    assert again.settings["prepared"] == ready.settings["prepared"]
    assert (Path(ready.settings["prepared"]) / "model").is_file()
    (tmp_path / "weights").write_text("another checkpoint")
    assert prepared(peer, 1, cache)[0].settings["prepared"] != ready.settings["prepared"]


def test_a_peer_that_cannot_be_prepared_leaves_nothing(stub: MakeStub, tmp_path: Path) -> None:
    cache = tmp_path.parent / f"{tmp_path.name}-cache"
    with pytest.raises(EngineError, match="peer: RuntimeError: no room"):
        prepared(replace(stub("peer", unpreparable=True), prepared=True), 1, cache)
    assert list(cache.iterdir()) == []


def test_a_reference_that_overflows_is_no_reference(stub: MakeStub, course: Course) -> None:
    with pytest.raises(EngineError, match="foley gave NaN or infinity after 3 steps; try fewer --steps"):
        references(stub("foley", factor=float("inf")), (STEPS,), course.inputs, 1)


def test_pictures_are_compared_as_the_mel_that_they_stand_for() -> None:
    picture = np.linspace(-2, 2, 3 * 4 * 2, dtype=np.float32).reshape(1, 3, 4, 2)
    mel = heard("decode", picture)
    assert mel.shape == (1, 4, 2)
    assert mel[0, -1, 0] == pytest.approx(np.log(1e-5))  # row 0 is the highest bin, and black
    assert heard("step", picture) is picture


def test_another_shape_is_no_agreement() -> None:
    with pytest.raises(VerificationError, match=r"gave \[1, 3\], diffusers \[1, 4\]"):
        Reference("diffusers", np.ones((1, 4), np.float32)).compare(np.ones((1, 3), np.float32), "fp32")


def test_names_of_peers() -> None:
    assert peer_names("diffusers, openvino-bf16,diffusers", "cpu") == ["diffusers", "openvino-bf16"]
    assert peer_names("all", "cpu") == list(ALL["cpu"])
    for wrong in ("onnx", "optimum-bf16", "diffusers-int8", ""):
        with pytest.raises(UsageError, match="there is no peer"):
            peer_names(wrong, "cpu")


def test_a_peer_is_made_for_what_it_can_do() -> None:
    shared = {"device": "cpu", "threads": 1}
    peer = make_peer("torch-compile-bf16", shared, ("step", "clip"), {"torch-compile": "python9"})
    assert (peer.precision, peer.python, peer.settings["compiled"]) == ("bf16", "python9", True)
    assert make_peer("optimum", shared, ("step", "clip"), {}).units == ("step",)
    with pytest.raises(UsageError, match="optimum computes step and decode only"):
        make_peer("optimum", shared, ("clip",), {})
    with pytest.raises(UsageError, match="openvino runs on cpu, not on cuda"):
        make_peer("openvino", {**shared, "device": "cuda"}, ("step",), {})


def rows(stub: MakeStub, course: Course, tmp_path: Path) -> list[dict[str, Any]]:
    what = {
        "bundle": "demo", "precision": "fp32", "engine": "cpu", "threads": 1, "steps": 3, "sampler": "ddim",
        "seconds": 2.56, "guidance": 2.0, "batch": 1,
    }  # fmt: skip
    peers = [stub("fast"), stub("bfloat", emulated=True), stub("gone", absent=True)]
    found = compare(stub("foley"), peers, course, Scope(1, on_cpu=True), tmp_path / "cache", lambda _: None)
    return [
        {
            "configuration": what | {"peer": each.name},
            "method": {"reference": "diffusers"},
            "figures": {"status": each.status, "why": each.why, **each.figures},
        }
        for each in found
    ]


def test_the_table_has_a_line_a_peer_and_the_plot_its_points(stub: MakeStub, course: Course, tmp_path: Path) -> None:
    found = rows(stub, course, tmp_path)
    lines = compare_table(found).splitlines()
    assert [line.split()[0] for line in lines[3:6]] == ["fast", "bfloat", "gone"]
    assert "equal" in lines[3]
    assert "absent: No module named 'peerless'" in lines[5]
    assert "Foley's own outputs: step equal" in lines
    assert "* this processor has no bfloat16: emulated, one step" in lines
    assert any(line.startswith("3 rounds") for line in lines)
    plot_ratios(found, tmp_path / "ratios.png")
    assert (tmp_path / "ratios.png").read_bytes().startswith(b"\x89PNG")
