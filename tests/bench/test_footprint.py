"""What is installed, imported and started, counted over stand-ins."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.commands import run_cli
from support.mini_bundle import write_mini_bundle

from foley.bundle import load_bundle
from foley.demo_bundle import demo_bundle
from foley.errors import EngineError, FailureError, UsageError
from foley.request import make_request
from foley_bench.build import Workload
from foley_bench.footprint import cli as footprint_cli
from foley_bench.footprint.environment import (
    Environment,
    diffusers_environment,
    make_environment,
    make_wheel,
    measured_environment,
    run,
)
from foley_bench.footprint.installed import installed
from foley_bench.footprint.starts import (
    Contestant,
    clock_imports,
    clock_starts,
    diffusers_contestant,
    foley_contestant,
)
from foley_bench.footprint.table import footprint_table
from foley_bench.latency.cold import ColdStart, cold_start, start
from foley_engines import CpuSetup

PYTHON = Path(sys.executable)
START = ColdStart(0.1, 0.2, 1.5, 0.5, 40.0, 80.0)


def distribution(site: Path, name: str, files: dict[str, int], *needs: str, extra: str = "") -> Path:
    """Install files of so many bytes; give the folder of what is said of them."""
    told = site / f"{name.replace('-', '_')}-1.0.dist-info"
    told.mkdir(parents=True)
    for file, size in files.items():
        (site / file).parent.mkdir(parents=True, exist_ok=True)
        (site / file).write_bytes(b"x" * size)
    lines = [f"Requires-Dist: {need}" for need in needs] + ([f"Provides-Extra: {extra}"] if extra else [])
    (told / "METADATA").write_text("\n".join(["Metadata-Version: 2.1", f"Name: {name}", "Version: 1.0", *lines, ""]))
    (told / "RECORD").write_text("".join(f"{file},,\n" for file in files))
    return told


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder in which `sound` needs `Deep_Part`, with the extra `fast` also `fast-part`, and elsewhere `other`."""
    site = tmp_path / "site-packages"
    needs = ("deep-part>=0.5", 'fast-part; extra == "fast"', 'other; sys_platform == "none"')
    cache = f"__pycache__/play.{sys.implementation.cache_tag}.pyc"
    files = {"sound/play.py": 100, f"sound/{cache}": 40, "sound/data.bin": 1000, "../bin/sound": 7}
    distribution(site, "sound", files, *needs, extra="fast")
    distribution(site, "Deep_Part", {"deep.py": 20, "gone.py": 5}, "sound")
    distribution(site, "fast-part", {"fast.so": 3000})
    distribution(site, "other", {"other.py": 50_000})
    distribution(site, "pip", {"pip.py": 90_000})
    (site / "gone.py").unlink()
    return site


def test_files_are_summed_by_distribution_and_bytecode_apart(site: Path) -> None:
    found = installed(["sound"], [str(site)])
    assert found == {
        "sound": {"version": "1.0", "bytes": 1107, "bytecode_bytes": 40},
        "deep-part": {"version": "1.0", "bytes": 20, "bytecode_bytes": 0},
    }


def test_an_extra_brings_what_it_needs_and_the_largest_comes_first(site: Path) -> None:
    assert list(installed(["sound[fast]"], [str(site)])) == ["fast-part", "sound", "deep-part"]


def test_bytecode_that_pip_has_not_listed_counts_too(site: Path) -> None:
    (site / "__pycache__").mkdir()
    (site / f"__pycache__/deep.{sys.implementation.cache_tag}.pyc").write_bytes(b"x" * 9)
    assert installed(["sound"], [str(site)])["deep-part"]["bytecode_bytes"] == 9


def test_what_is_missing_or_only_linked_is_an_error(site: Path) -> None:
    with pytest.raises(LookupError, match="absent is not installed for"):
        installed(["absent"], [str(site)])
    (site / "other-1.0.dist-info/RECORD").unlink()
    with pytest.raises(LookupError, match="other has no list of its files"):
        installed(["other"], [str(site)])
    (site / "pip-1.0.dist-info/direct_url.json").write_text('{"dir_info": {"editable": true}, "url": "file:///x"}')
    with pytest.raises(LookupError, match="pip is a link to a checkout"):
        installed(["pip"], [str(site)])


def test_figures_of_an_environment() -> None:
    sizes = {f"part{number}": {"version": "1", "bytes": 10**6, "bytecode_bytes": 10**5} for number in range(12)}
    environment = Environment(PYTHON, sizes)
    figures = environment.figures()
    assert (figures["installed_mb"], figures["bytecode_mb"], figures["distributions"]) == (12.0, 1.2, 12)
    assert figures["largest_mb"] == {f"part{number}": 1.0 for number in range(10)}
    assert environment.versions()["part11"] == "1"


def test_another_python_measures_its_own() -> None:
    numpy = measured_environment(PYTHON, ["numpy"]).distributions["numpy"]
    assert numpy["version"] == np.__version__
    assert 10e6 < numpy["bytes"] < 200e6


def test_what_fails_in_a_process_is_told_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(FailureError, match=r"failed: ZeroDivisionError: division by zero$"):
        run([sys.executable, "-c", "1 / 0"])
    with pytest.raises(FailureError, match="absent is not installed for"):
        measured_environment(PYTHON, ["absent"])
    with pytest.raises(FailureError, match="no-python does not run"):
        diffusers_environment(tmp_path, tmp_path / "no-python")


def test_imports_are_clocked_by_themselves_and_in_turn(tmp_path: Path) -> None:
    log = tmp_path / "log"
    note = f"import time; open({str(log)!r}, 'a').write('%s')"
    slow = Contestant(PYTHON, f"{note % 's'}; time.sleep(0.3)", lambda: START)
    quick = Contestant(PYTHON, note % "q", lambda: START)
    found = clock_imports({"slow": slow, "quick": quick}, 2)
    assert log.read_text() == "sq" * 3
    assert 0.3 <= found["slow"].least < 0.6
    assert found["quick"].least < 0.2
    assert found["quick"].repeats == 2


def test_starts_take_turns_and_the_first_does_not_count() -> None:
    later = [ColdStart(*[float(value)] * 6) for value in (9, 1, 3, 2)]
    order = []

    def begin(name: str, starts: list[ColdStart]) -> ColdStart:
        order.append(name)
        return starts.pop(0)

    both = {name: Contestant(PYTHON, "", lambda name=name, starts=[*later]: begin(name, starts)) for name in "ab"}
    found = clock_starts(both, 3)
    assert order == ["a", "b"] * 4
    assert found["a"]["first_clip_s"] == 2.0


def test_a_cold_start_runs_in_the_python_that_is_named(tmp_path: Path) -> None:
    bundle, log = write_mini_bundle(tmp_path / "mini"), tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$1" >> {log}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    found = cold_start(bundle, CpuSetup(1), Workload(steps=2), (str(python), "-I"))
    assert log.read_text() == "-I\n"
    assert 0 < found.imported_s < found.loaded_s < found.first_clip_s


def test_the_memory_of_a_start_is_not_that_of_who_starts_it() -> None:
    held = np.ones(50_000_000)  # 400 MB
    marks = dict.fromkeys(("imported", "loaded", "first_clip", "second_clip"), time.monotonic())
    words = (
        f"import json, resource; p = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; print(json.dumps({marks} | "
    )
    found = start([sys.executable, "-I", "-c", words + "{'loaded_kib': p, 'peak_kib': p}))"])
    assert held.nbytes == 400_000_000
    assert 4 < found.peak_mib < 100


def test_a_start_that_fails_keeps_its_last_word() -> None:
    with pytest.raises(EngineError, match=r"a cold start failed: no sound$"):
        start([sys.executable, "-c", "import sys; sys.exit('no sound')"])


def test_diffusers_is_asked_for_the_same_latents(tmp_path: Path) -> None:
    demo = load_bundle(demo_bundle(), verify_files=False)
    log = tmp_path / "log"
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho "$4" > {log}\nexit 1\n')
    python.chmod(0o755)
    asked = make_request(demo.manifest.defaults, "a bell", seconds=5.12)
    with pytest.raises(EngineError, match="a cold start failed"):
        diffusers_contestant(python, tmp_path, demo, asked, 1).start()
    told = json.loads(log.read_text())
    sizes = {"bins": demo.manifest.latents.bins, "columns": 64}
    assert told == {"threads": 1, "scheduler": "DPMSolverMultistepScheduler", "steps": 10, "guidance": 2.0, **sizes}
    odd = make_request(demo.manifest.defaults, "a bell", sampler="lcm")
    with pytest.raises(UsageError, match="lcm is the bundle's own"):
        diffusers_contestant(python, tmp_path, demo, odd, 1)


@pytest.mark.slow
def test_diffusers_starts_on_the_demos_checkpoint() -> None:
    demo = load_bundle(demo_bundle(), verify_files=False)
    request = make_request(demo.manifest.defaults, "a bell", steps=1)
    found = diffusers_contestant(PYTHON, footprint_cli.DEMO_CHECKPOINT, demo, request, 1).start()
    assert 0 < found.imported_s < found.loaded_s < found.first_clip_s
    assert found.peak_mib > 200


@pytest.mark.slow
def test_a_wheel_is_built_and_an_environment_made(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path)
    assert wheel is not None
    assert wheel.name.startswith("foley-")
    python = make_environment(tmp_path / "bare", ["--no-deps", str(wheel)])
    run([str(python), "-I", "-c", "import foley_bench.latency"])
    with pytest.raises(FailureError, match="No module named 'packaging'"):
        measured_environment(python, ["foley"])


def command(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    return run_cli(capsys, "bench", "footprint", *arguments)


@pytest.fixture
def kept(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """A row of the mini bundle, with the table as it was printed; installations are stood in for by this Python."""
    parts = {"foley": {"version": "0.1", "bytes": 160_000_000, "bytecode_bytes": 20_000_000}}
    stand_in = Environment(PYTHON, parts)
    monkeypatch.setattr(footprint_cli, "foley_environments", lambda _, extras: dict.fromkeys(extras, stand_in))
    monkeypatch.setattr(footprint_cli, "diffusers_environment", lambda *_: Environment(PYTHON, {}))
    monkeypatch.setattr(footprint_cli, "diffusers_contestant", lambda *_: Contestant(PYTHON, "pass", lambda: START))
    monkeypatch.setattr(footprint_cli, "IMPORTS", 1)
    checkpoint = tmp_path / "checkpoint"
    checkpoint.mkdir()
    (checkpoint / "model_index.json").write_text("{}")
    beside = ["--with", "diffusers", "--checkpoint", str(checkpoint), "--results", str(tmp_path / "rows.jsonl")]
    bundle = write_mini_bundle(tmp_path / "mini")
    options = ["--extras", "cpu,check", "--threads", "1", "--repeats", "1"]
    code, printed, complaint = command(capsys, str(bundle), *options, *beside)
    assert (code, complaint) == (0, "")
    return {**json.loads((tmp_path / "rows.jsonl").read_text()), "printed": printed}


def test_the_command_prints_columns_and_keeps_a_row(kept: dict[str, Any]) -> None:
    figures = kept["figures"]
    assert set(figures["extras"]) == {"cpu", "check"}
    assert 0 < figures["import_s"]["median"] < figures["cold_start"]["first_clip_s"]
    assert figures["diffusers"]["cold_start"]["first_clip_s"] == START.first_clip_s
    assert {"engine": "cpu", "extra": "cpu", "batch": 1}.items() <= kept["configuration"].items()
    assert set(kept["fidelity"]) == {"text_encoder", "denoise_step", "latent_decoder", "vocoder"}
    assert kept["method"]["installed"]["foley"] == {"foley": "0.1"}
    rows = {line[:30].strip(): line[30:].split() for line in kept["printed"].splitlines()}
    assert rows["installed, MB"] == ["160.00", "150.00", "0.00"]
    assert rows["first result after, s"][1:] == ["3.00", "1.50"]
    assert "foley[check]: 160 MB in 1 distributions: foley 160" in kept["printed"]


def test_the_table_has_no_column_for_a_peer_that_was_not_measured(kept: dict[str, Any]) -> None:
    del kept["figures"]["diffusers"]
    assert "diffusers" in kept["printed"]
    assert "diffusers" not in footprint_table(kept)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--extras", "gpu"], "--extras gpu: expected cpu"),
        (["--extras", "check"], "--extras check: expected cpu"),
        (["--peer-python", "python"], "add --with diffusers"),
        (["mini", "--with", "diffusers"], "name it: --checkpoint"),
        (["--with", "diffusers", "--checkpoint", "nowhere"], "nowhere is no checkpoint"),
        (["--with", "jax"], "jax"),
        (["no-such-bundle"], "there is no folder no-such-bundle"),
    ],
)
def test_misuse_is_one_line(capsys: pytest.CaptureFixture[str], arguments: list[str], words: str) -> None:
    code, printed, complaint = command(capsys, *arguments)
    assert code == 2
    assert words in complaint
    assert complaint.count("\n") == 1
    assert printed == ""


def test_foley_is_started_isolated_from_the_callers_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "foley").mkdir()
    (tmp_path / "foley/__init__.py").write_text("raise SystemExit('the wrong one')")
    begun = foley_contestant(PYTHON, write_mini_bundle(tmp_path / "mini"), 1).start()
    assert begun.first_clip_s > 0
