"""`foley build`: plans for what a product will ask, through the command line over a fake TensorRT."""

import json
import shutil
from pathlib import Path

import click
import numpy as np
import pytest
import soundfile
from msgspec.structs import replace
from support.bundles import scale_weights
from support.commands import Command
from support.engine_hosts import RELEASES, installed_tensorrt
from support.nvidia.install import Fakes
from support.nvidia.machine import fake_device

import foley
from foley.build_profiles import profile_for, profiles_of, wishes
from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley.manifest import Manifest
from foley.prompt import PromptTokenizer
from foley_engines import Setup
from foley_engines.profiles import Sizes, admits, describe, fixed

GRAPHS = ["text_encoder", "denoise_step", "latent_decoder", "vocoder"]


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch):
    installed = installed_tensorrt(monkeypatch)
    yield installed
    installed.machine.check()


@pytest.fixture
def build(command: Command, bundle_copy: Path, fakes: Fakes):
    def run(*arguments: object):
        return command("build", bundle_copy, *arguments)

    return run


@pytest.fixture
def manifest(mini_bundle: Path) -> Manifest:
    return foley.load_bundle(mini_bundle).manifest


def records(folder: Path) -> list[dict]:
    return [json.loads(place.read_text()) for place in sorted((folder / "engines/tensorrt").glob("*.json"))]


def sizes(done) -> dict[str, list[str]]:
    """What was printed: graph → sizes of its plans."""
    found: dict[str, list[str]] = {}
    for line in done.out.splitlines():
        record = json.loads(line)
        profile = {symbol: Sizes(*each) for symbol, each in record["profile"].items()}
        found.setdefault(record["graph"], []).append(describe(profile))
    return found


# The command


def test_every_graph_gets_a_plan_and_a_line(build, bundle_copy: Path, fakes: Fakes):
    done = build()
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == GRAPHS
    for line in done.out.splitlines():
        for words in ("MiB", " s ", "SNR", "dB against ", "(floor 80)"):
            assert words in line
    assert fakes.machine.counts["build"] == 4
    assert len(records(bundle_copy)) == 4
    assert "verifying" in done.err


def test_what_is_there_is_kept(build, fakes: Fakes):
    first = build()
    again = build()
    assert (again.code, again.out, again.err) == (0, first.out, "")
    assert fakes.machine.counts["build"] == 4


def test_force_builds_again(build, bundle_copy: Path, fakes: Fakes):
    build()
    assert build("--force", "--graph", "vocoder").code == 0
    assert fakes.machine.counts["build"] == 5
    assert len(records(bundle_copy)) == 4


def test_a_damaged_plan_is_built_again(build, bundle_copy: Path, fakes: Fakes):
    build("--graph", "vocoder")
    [record] = records(bundle_copy)
    (bundle_copy / "engines/tensorrt" / record["plan"]).write_bytes(b"")
    assert build("--graph", "vocoder").code == 0
    assert fakes.machine.counts["build"] == 2


def test_json_lines_are_the_records(build, bundle_copy: Path):
    done = build("--json")
    lines = [json.loads(line) for line in done.out.splitlines()]
    assert [line["graph"] for line in lines] == GRAPHS
    assert sorted(lines, key=str) == sorted(records(bundle_copy), key=str)


def test_one_graph_may_be_chosen(build, bundle_copy: Path):
    build("--graph", "vocoder", "--graph", "denoise_step")
    assert {record["graph"] for record in records(bundle_copy)} == {"vocoder", "denoise_step"}


@pytest.mark.parametrize(
    ("arguments", "denoise", "vocoder"),
    [
        ([], ["R=2 S=1 W=8"], ["B=1 T=64"]),
        (["--slots", "1,3"], ["R=2 S=1 W=8", "R=6 S=3 W=8"], ["B=1 T=64"]),
        (["--slots", "1..4"], ["R=2..8 S=1..4 W=8"], ["B=1 T=64"]),
        (["--rows", "unguided"], ["R=1 S=1 W=8"], ["B=1 T=64"]),
        (["--rows", "both"], ["R=2 S=1 W=8", "R=1 S=1 W=8"], ["B=1 T=64"]),
        (["--seconds", "0.32"], ["R=2 S=1 W=4"], ["B=1 T=32"]),
        (["--seconds", "0.32..1.28"], ["R=2 S=1 W=4..16"], ["B=1 T=32..128"]),
        (
            ["--seconds", "0.3,0.5", "--slots", "2"],
            ["R=4 S=2 W=4", "R=4 S=2 W=8"],
            ["B=1 T=32", "B=1 T=64"],
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_ranges_and_lists_become_profiles(build, arguments: list[str], denoise: list[str], vocoder: list[str]):
    done = build("--json", *arguments)
    assert done.code == 0, done.err
    found = sizes(done)
    assert (found["denoise_step"], found["vocoder"]) == (denoise, vocoder)
    assert found["text_encoder"] == ["B=1..1..16 L=8..8..12"]


MISUSE = {
    ("--graph", "unet"): "--graph: there is no graph 'unet'; the bundle has text_encoder, denoise_step, latent_decoder",
    ("--slots", "0"): "--slots 0: expected whole numbers from 1 to 64, as in 1,4,1..8",
    ("--slots", "1.5"): "--slots 1.5: expected whole numbers",
    ("--slots", "4..1"): "--slots 4..1: expected whole numbers",
    ("--slots", "65"): "--slots 65: expected whole numbers",
    ("--slots", "-1"): "--slots -1: expected whole numbers",
    ("--slots", "nan"): "--slots nan",
    ("--slots", "inf"): "--slots inf",
    ("--slots", "1..inf"): "--slots 1..inf",
    ("--slots", "1,,2"): "--slots 1,,2: '' is no number and no range",
    ("--slots", "1...2.5"): "'1...2.5' is no number and no range",
    ("--seconds", "abc"): "--seconds abc: 'abc' is no number and no range; expected 1, or 1..8",
    ("--seconds", "0"): "--seconds 0: expected seconds above 0",
    ("--seconds", "2..1"): "--seconds 2..1: expected seconds above 0",
    ("--seconds", "601"): "up to 600",
    ("--seconds", "nan"): "--seconds nan: expected seconds above 0",
    ("--seconds", "inf"): "inf",
    ("--seconds", "1.2.3"): "--seconds 1.2.3: '1.2.3' is no number",
    ("--rows", "some"): "'some' is not one of 'guided', 'unguided', 'both'",
    ("--level", "6"): "builder level is 6",
    ("--workspace", "0"): "workspace is 0 MiB",
    ("--aux-streams", "-1"): "auxiliary streams are -1",
    ("--tiling", "some"): "'some' is not one of",
    ("--portable", "some"): "'some' is not one of",
    ("--engine", "cuda"): "'cuda' is not 'tensorrt'",
    ("--device", "3"): "there is no CUDA device 3: this machine has 1",
    ("--plans", "bundle.json"): "bundle.json cannot be written",
}


@pytest.mark.parametrize("arguments", MISUSE, ids=" ".join)
def test_misuse_is_one_line_and_builds_nothing(
    build, bundle_copy: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
):
    monkeypatch.chdir(bundle_copy)
    build(*arguments).refused(MISUSE[arguments])
    assert records(bundle_copy) == []
    assert fakes.machine.counts["build"] == 0


def test_a_folder_that_is_no_bundle_is_misuse(command: Command, fakes: Fakes, tmp_path: Path):
    command("build", tmp_path / "none").refused("there is no folder")


def test_a_machine_without_tensorrt_is_one_line(command: Command, mini_bundle: Path):
    command("build", mini_bundle).refused("pip install 'tensorrt>=10.3'")


def test_tiling_that_this_tensorrt_has_not_is_one_line(
    command: Command, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch
):
    installed_tensorrt(monkeypatch, "10.3")
    done = command("build", bundle_copy, "--tiling", "fast")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines()[-1] == "foley: tiling is 'fast', but TensorRT 10.3.0 has none; leave it out"


def test_options_reach_the_record(build, bundle_copy: Path):
    options = ["--level", 5, "--tf32", "--workspace", 64, "--aux-streams", 0, "--portable", "ampere+"]
    assert build("--graph", "vocoder", "--refittable", "--strip", "--tiling", "fast", *options).code == 0
    [record] = records(bundle_copy)
    wanted = {"level": "5", "TF32": "yes", "workspace": "64 MiB", "auxiliary streams": "0", "portable": "ampere+"}
    assert wanted.items() <= record["parts"].items()
    assert {"refittable": "yes", "stripped": "yes", "tiling": "fast"}.items() <= record["parts"].items()
    assert record["weights_inside"] is None


def test_plans_for_later_releases_are_verified_with_their_host_code(build, bundle_copy: Path):
    assert build("--graph", "vocoder", "--version-compatible").code == 0
    [record] = records(bundle_copy)
    assert record["parts"]["version-compatible"] == "yes"


def test_refit_puts_new_weights_into_plans(build, bundle_copy: Path, fakes: Fakes):
    build("--refittable")
    scale_weights(bundle_copy, "vocoder", 1.5)
    done = build("--graph", "vocoder", "--refit")
    assert done.code == 0
    assert "which weights " in done.err
    assert fakes.machine.counts["build"] == 4
    assert len(records(bundle_copy)) == 5
    assert build("--graph", "vocoder", "--refittable").err == ""  # up to date


def test_a_refit_that_departs_from_torch_is_refused(build, bundle_copy: Path, fakes: Fakes):
    """The recorded outputs are still the old weights'."""
    build("--refittable", "--seconds", "1.28", "--graph", "text_encoder")
    scale_weights(bundle_copy, "text_encoder", 1.5)
    done = build("--refit", "--graph", "text_encoder")
    assert (done.code, done.out) == (1, "")
    assert "dB at context against torch, expected 80 or more; it was not kept" in done.err
    assert len(records(bundle_copy)) == 1


def test_refit_needs_a_plan_that_takes_weights(build, bundle_copy: Path, fakes: Fakes):
    build()
    done = build("--refit", "--slots", "2", "--graph", "denoise_step")
    assert done.code == 2
    assert "build one with: foley build --refittable" in done.err
    assert fakes.machine.counts["build"] == 4


def test_a_refitted_bundle_generates_with_its_new_weights(
    build, command: Command, bundle_copy: Path, fakes: Fakes, tmp_path: Path
):
    build("--refittable", "--slots", "1")
    builds = fakes.machine.counts["build"]
    scale_weights(bundle_copy, "denoise_step", 1.01)
    assert build("--refit", "--graph", "denoise_step").code == 0
    assert fakes.machine.counts["build"] == builds
    same_as_cpu(command, bundle_copy, tmp_path)


def test_plans_of_another_gpu_are_built_beside(build, bundle_copy: Path, fakes: Fakes):
    build("--graph", "vocoder")
    fake_device("NVIDIA A10", (8, 6))
    build("--graph", "vocoder")
    assert [record["parts"]["GPU"] for record in records(bundle_copy)].count("NVIDIA A10") == 1
    assert len(records(bundle_copy)) == 2


def test_a_bundle_with_plans_still_loads_and_verifies(build, command: Command, bundle_copy: Path):
    """Plans are not the bundle's files."""
    build()
    assert command("verify", bundle_copy, "--threads", 1).code == 0
    assert foley.load_bundle(bundle_copy)


# From build to sound


def same_as_cpu(command: Command, bundle: Path, folder: Path, *knobs: object) -> None:
    """Generate without building, and compare with the CPU's clip."""
    clips = []
    for engine in (["tensorrt", "--no-build"], ["cpu"]):
        clip = folder / f"{engine[0]}.wav"
        done = command("generate", "a dog", "--bundle", bundle, "--engine", *engine, "-o", clip, "--seed", 4, *knobs)
        assert done.code == 0, done.err
        clips.append(soundfile.read(clip)[0])
    assert clips[0].shape == clips[1].shape
    assert np.abs(clips[0] - clips[1]).max() <= 2 / 32768


@pytest.mark.parametrize("release", RELEASES)
def test_what_was_built_generates_the_cpus_clip(
    command: Command, bundle_copy: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, release: str
):
    fakes = installed_tensorrt(monkeypatch, release)
    assert command("build", bundle_copy).code == 0
    same_as_cpu(command, bundle_copy, tmp_path)
    assert fakes.machine.counts["build"] == 4
    fakes.machine.check()


def test_stripped_plans_generate_the_cpus_clip(build, command: Command, bundle_copy: Path, tmp_path: Path):
    assert build("--strip").code == 0
    same_as_cpu(command, bundle_copy, tmp_path)


def test_plans_elsewhere_are_used_where_they_are_named(
    build, command: Command, bundle_copy: Path, fakes: Fakes, tmp_path: Path
):
    assert build("--plans", tmp_path / "plans").code == 0
    assert records(bundle_copy) == []
    unnamed = ["--no-build", "-o", tmp_path / "dog.wav"]
    done = command("generate", "a dog", "--bundle", bundle_copy, "--engine", "tensorrt", *unnamed)
    assert (done.code, done.out) == (2, "")
    assert "there is none yet; build it with foley build" in done.err
    place = ["--plans", tmp_path / "plans", "--no-build", "-o", tmp_path / "dog.wav"]
    assert command("generate", "a dog", "--bundle", bundle_copy, "--engine", "tensorrt", *place).code == 0
    assert fakes.machine.counts["build"] == 4


def test_a_range_serves_what_it_holds_and_refuses_the_rest(
    build, command: Command, bundle_copy: Path, tmp_path: Path, fakes: Fakes
):
    assert build("--slots", "1..3", "--seconds", "0.3..1").code == 0
    same_as_cpu(command, bundle_copy, tmp_path, "--seconds", 0.7)
    done = command("generate", "a dog", "--bundle", bundle_copy, "--engine", "tensorrt", "--no-build", "--seconds", 3)
    assert done.code == 2
    assert "no plan for " in done.err
    assert "the nearest differs in profile " in done.err


def test_generating_without_plans_builds_them_and_says_so(
    command: Command, bundle_copy: Path, fakes: Fakes, tmp_path: Path
):
    arguments = ["generate", "a dog", "--bundle", bundle_copy, "--engine", "tensorrt", "-o", tmp_path / "dog.wav"]
    first = command(*arguments)
    assert first.code == 0
    assert first.err.count("there is none yet") == 4
    assert fakes.machine.counts["build"] == 4
    again = command(*arguments, "--no-build")
    assert (again.code, fakes.machine.counts["build"]) == (0, 4)


def test_an_interrupted_build_keeps_nothing(build, bundle_copy: Path, fakes: Fakes, monkeypatch: pytest.MonkeyPatch):
    def tell(_self: object, _graph: str, _what: str, fraction: float) -> None:
        if fraction:
            raise KeyboardInterrupt

    monkeypatch.setattr("foley.cli.engine.Teller.__call__", tell)
    done = build()
    assert (done.code, done.err.strip()) == (130, "foley: interrupted; nothing half-written was kept")
    assert list((bundle_copy / "engines/tensorrt").glob("*.plan")) == []


def test_the_demo_is_built_and_generates(command: Command, fakes: Fakes, tmp_path: Path):
    bundle = shutil.copytree(demo_bundle(), tmp_path / "demo")
    shutil.rmtree(bundle / "engines", ignore_errors=True)
    done = command("build", bundle, "--json")
    assert done.code == 0, done.err
    assert sizes(done) == {
        "text_encoder": ["B=1..1..16"],
        "denoise_step": ["R=2 S=1 n=8"],
        "latent_decoder": ["B=1 W=32"],
        "vocoder": ["B=1 T=256"],
    }
    against = {record["graph"]: record["verified"]["against"] for record in records(bundle)}
    assert against["text_encoder"] == "torch"
    same_as_cpu(command, bundle, tmp_path, "--steps", 2)


# Wishes and profiles


def sizes_of(manifest: Manifest, name: str, **wanted: str) -> list[str]:
    return [describe(profile) for profile in profiles_of(manifest, [name], wishes(manifest, **wanted))[name]]


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ("1", [fixed(1)]),
        ("1,4,1..8", [fixed(1), fixed(4), Sizes(1, 8, 8)]),
        (" 2 , 3..3 ", [fixed(2), fixed(3)]),
        ("64", [fixed(64)]),
    ],
)
def test_slots_are_values_and_ranges(manifest: Manifest, text: str, slots: list[Sizes]):
    found = wishes(manifest, slots=text)
    assert [wish.slots for wish in found] == slots
    assert [(wish.rows.low, wish.rows.high) for wish in found] == [(2 * each.low, 2 * each.high) for each in slots]


def test_the_default_is_one_guided_clip_of_the_bundles_length(manifest: Manifest):
    [wish] = wishes(manifest)
    assert (wish.slots, wish.rows, wish.columns, wish.words) == (fixed(1), fixed(2), fixed(8), "1 slot, 0.5 s")


def test_a_bundle_without_guidance_is_built_without(manifest: Manifest):
    [wish] = wishes(replace(manifest, defaults=replace(manifest.defaults, guidance=1.0)))
    assert wish.rows == fixed(1)


@pytest.mark.parametrize("seconds", [0.05, 0.08, 0.32, 0.33, 0.5, 1.0, 2.56, 10.24, 59.99])
def test_columns_are_those_of_a_request(manifest: Manifest, seconds: float, pipeline: foley.Pipeline):
    """What is built fits what is asked for, to the column."""
    [wish] = wishes(manifest, seconds=str(seconds))
    assert wish.columns == fixed(pipeline.request("a dog", seconds=seconds).columns(manifest.latents, manifest.audio))


def test_every_profile_appears_once(manifest: Manifest):
    wanted = {"slots": "1,2,1", "seconds": "0.5,0.51", "rows": "both"}
    assert sizes_of(manifest, "denoise_step", **wanted) == ["R=2 S=1 W=8", "R=1 S=1 W=8", "R=4 S=2 W=8", "R=2 S=2 W=8"]
    assert [len(sizes_of(manifest, name, **wanted)) for name in ("text_encoder", "latent_decoder", "vocoder")] == [
        1
    ] * 3


def test_an_axis_that_nothing_decides_is_told(manifest: Manifest):
    vocoder = manifest.graphs["vocoder"]
    [mel] = vocoder.inputs
    odd = replace(vocoder, inputs=(mel, replace(mel, name="speaker", shape=("Q", 4))))
    with pytest.raises(UsageError, match=r"^vocoder: nothing says how large its axis 'Q' may be"):
        sizes_of(replace(manifest, graphs={**manifest.graphs, "vocoder": odd}), "vocoder")


def test_what_is_built_during_work_is_just_what_was_asked_for_but_for_texts(manifest: Manifest):
    asked = {"S": 2, "R": 3, "W": 8}
    assert profile_for(manifest, "denoise_step", asked) == {name: fixed(size) for name, size in asked.items()}
    assert describe(profile_for(manifest, "text_encoder", {"B": 3, "L": 9})) == "B=1..1..16 L=8..8..12"


def test_a_plan_for_texts_admits_every_text(manifest: Manifest, mini_bundle: Path):
    """The shapes that the tokenizer really gives: padded, longer, and cut."""
    profile = profile_for(manifest, "text_encoder", {"B": 1, "L": 9})
    [facts] = manifest.conditioning.encoders[0].tokenizers
    tokenizer = PromptTokenizer(mini_bundle, facts)
    for texts in (["a"], ["a dog barking in the rain on the tin"] * 16):
        batch, length = tokenizer.inputs(texts)["input_ids"].shape
        assert admits(profile, {"B": batch, "L": length})


@pytest.mark.parametrize(("given", "allowed"), [([], False), (["--host-code"], True)], ids=str)
def test_plans_run_host_code_only_where_that_was_asked_for(given: list[str], allowed: bool):
    seen: list[Setup] = []
    command = click.command()(engine_options(seen.append))
    command.main(["--engine", "tensorrt", *given], standalone_mode=False)
    assert [setup.host_code for setup in seen] == [allowed]
