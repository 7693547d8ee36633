"""`foley bench compare` with real peers, at toy size."""

import json
from pathlib import Path

import pytest
from support.commands import ROOT, Command

from foley_bench.compare.contestants import ALL

DEMO = ROOT / "export/foley_export/demo_model/checkpoint"
BUNDLE = ROOT / "runtime/foley/demo"
QUICK = ("--threads", 1, "--rounds", 3, "--seconds", 0.64)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_demo_agrees_with_diffusers_in_every_unit(command: Command, tmp_path: Path) -> None:
    results = tmp_path / "rows.jsonl"
    units = [part for unit in ("step", "decode", "clip") for part in ("--unit", unit)]
    options = ("--with", "diffusers", *QUICK, "--sampler", "pndm", *units, "--estimate", 25, "--results", results)
    done = command("bench", "compare", DEMO, "--bundle", BUNDLE, *options)
    assert (done.code, done.err) == (0, "")
    [row] = map(json.loads, results.read_text().splitlines())
    assert row["configuration"]["peer"] == "diffusers"
    assert row["configuration"]["checkpoint"] == DEMO.name
    assert row["method"]["reference"] == "diffusers"
    assert row["fidelity"]["denoise_step"] > 80
    for unit in ("step", "decode", "clip"):
        assert row["figures"][unit]["foley_snr_db"] > 80
        assert row["figures"][unit]["peer_snr_db"] is None
    estimated = row["figures"]["estimated"]
    assert (estimated["steps"], estimated["evaluations"]) == (25, 26)
    assert row["figures"]["step"]["evaluations"] == 4  # PNDM evaluates once more


@pytest.mark.slow
def test_a_bundle_of_another_checkpoint_is_caught(command: Command, mini_bundle: Path) -> None:
    options = ("--with", "diffusers", *QUICK, "--sampler", "ddim")
    command("bench", "compare", DEMO, "--bundle", mini_bundle, *options).refused(code=1)


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "code"), [(("--with", "optimum"), 1), ((), 0)])
def test_a_peer_that_is_absent_makes_exit_code_1_where_it_was_asked_for(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...], code: int
) -> None:
    monkeypatch.setitem(ALL, "cpu", ("optimum",))  # what is run where none is named
    results = tmp_path / "rows.jsonl"
    options = (*asked, "--python", "optimum=/no/python", *QUICK, "--results", results)
    done = command("bench", "compare", DEMO, "--bundle", BUNDLE, *options)
    assert done.code == code
    assert "absent: /no/python does not start" in done.out
    assert not results.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--with", "onnx"], "there is no peer 'onnx'"),
        (["--python", "onnx=python"], "expected PEER=PATH"),
        (["--with", "diffusers", "--sampler", "euler-a"], "sampler is 'euler-a', expected one of pndm"),
        (["--with", "optimum", "--unit", "clip"], "optimum computes step and decode only"),
    ],
)
def test_misuse_is_one_line(command: Command, mini_bundle: Path, arguments: list[str], words: str) -> None:
    command("bench", "compare", DEMO, "--bundle", mini_bundle, *arguments).refused(words)
