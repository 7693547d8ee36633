"""The bundle that is taken where none is named: what it is used for, what is said, and what if it is not there."""

import json
from pathlib import Path

import pytest
import soundfile
from support.commands import Command

import foley
from foley.demo_bundle import demo_bundle
from foley.errors import BundleError

NOTE = "bundle: the demo model (short procedural sounds; see README)\n"


@pytest.fixture
def demo(mini_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the mini bundle be the demo."""
    monkeypatch.setattr("foley.demo_bundle.FOLDER", mini_bundle)
    return mini_bundle


@pytest.fixture
def no_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("foley.demo_bundle.FOLDER", tmp_path / "none")
    return tmp_path / "none"


@pytest.fixture
def generate(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`foley generate "a dog"` without --bundle, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda *options: command("generate", "a dog", "--threads", 1, "-o", "dog.wav", *options)


def test_it_lies_beside_the_runtime():
    import foley.demo_bundle

    assert Path(foley.__file__).parent / "demo" == foley.demo_bundle.FOLDER


def test_load_takes_it(demo: Path):
    with foley.load(threads=1) as pipeline:
        assert pipeline.bundle == foley.load_bundle(demo)


def test_generate_takes_it_and_says_so(demo: Path, generate):
    done = generate()
    assert (done.code, done.out, done.err) == (0, "dog.wav\n", NOTE)
    assert soundfile.info("dog.wav").frames == 8000


def test_a_named_bundle_is_not_remarked_on(demo: Path, generate):
    assert generate("--bundle", demo).err == ""


def test_json_is_not_remarked_on(demo: Path, generate):
    done = generate("--json")
    assert (json.loads(done.out)["seconds"], done.err) == (0.5, "")


def test_it_takes_any_request(demo: Path, generate):
    assert generate("--seconds", 10, "--steps", 1).code == 0
    assert soundfile.info("dog.wav").frames == 160_000


def test_misuse_stays_one_line(demo: Path, generate, tmp_path: Path):
    generate("--steps", 0).refused("steps is 0")
    generate("--sampler", "eular", "--format", "ogg").refused("-o dog.wav and --format ogg disagree")
    assert list(tmp_path.iterdir()) == []


def test_inspect_and_verify_take_it(demo: Path, command: Command):
    assert command("inspect").out == command("inspect", demo).out != ""
    assert json.loads(command("inspect", "--json").out) == json.loads((demo / "bundle.json").read_text())
    done = command("verify", "--threads", 1)
    assert (done.code, done.err, done.out) == (0, "", command("verify", demo, "--threads", 1).out)


@pytest.mark.parametrize("arguments", [("generate", "a dog"), ("inspect",), ("verify",)], ids=lambda given: given[0])
def test_without_one_a_bundle_is_asked_for(no_demo: Path, command: Command, arguments: tuple[str, ...]):
    command(*arguments).refused(f"{no_demo / 'bundle.json'} is missing", "--bundle BUNDLE")


def test_load_without_one_is_a_bundle_error(no_demo: Path):
    with pytest.raises(BundleError, match="no demo bundle") as caught:
        foley.load()
    assert "\n" not in str(caught.value)


def test_an_empty_folder_is_none(no_demo: Path):
    no_demo.mkdir()
    with pytest.raises(BundleError, match="no demo bundle"):
        demo_bundle()


def test_a_damaged_one_is_named(bundle_copy: Path, monkeypatch: pytest.MonkeyPatch, command: Command):
    monkeypatch.setattr("foley.demo_bundle.FOLDER", bundle_copy)
    (bundle_copy / "graphs/vocoder.weights").unlink()
    command("generate", "a dog").refused("vocoder.weights is missing")
