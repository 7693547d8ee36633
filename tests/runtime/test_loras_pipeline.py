"""LoRAs in a loaded pipeline: the sound they make, how they come off, and what stays when something fails."""

import errno
import gc
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from support import mini_model
from support.bundles import edit_manifest
from support.commands import Command
from support.lora_files import (
    TABLE,
    TO_Q,
    add_parameters,
    change_matrix,
    low_rank,
    pair,
    place_of,
    text_lora,
    unet_lora,
    write_lora,
)

import foley
from foley import Lora
from foley.errors import BundleError, RequestError, UsageError
from foley.loras import overlay as overlay_module
from foley_engines.onnxruntime_cpu import CpuEngine

CHANNELS, WIDTH = mini_model.CHANNELS, mini_model.WIDTH


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where overlays are made."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def bundle(bundle_copy: Path) -> Path:
    return add_parameters(bundle_copy)


@pytest.fixture
def loaded(bundle: Path) -> Iterator[foley.Pipeline]:
    with foley.load(bundle, threads=1) as pipeline:
        yield pipeline


@pytest.fixture
def lora(tmp_path: Path) -> Path:
    return unet_lora(tmp_path / "rain.safetensors")


def sound(pipeline: foley.Pipeline) -> np.ndarray:
    [clip] = pipeline.generate("a dog barking", seed=3)
    return clip.samples


def sound_of(folder: Path, *loras: Lora) -> np.ndarray:
    with foley.load(folder, threads=1, loras=loras) as pipeline:
        return sound(pipeline)


def added(seed: int = 0, scale: float = 1.0) -> np.ndarray:
    """What `unet_lora` adds to the projection as it is stored, [in,out]."""
    down, up = low_rank(CHANNELS, WIDTH, seed=seed)
    return np.float32(scale) * (up @ down).T


def changed_by_hand(bundle: Path, place: Path, change: np.ndarray) -> np.ndarray:
    shutil.copytree(bundle, place)
    change_matrix(place, "denoise_step", "projection", change)
    return sound_of(place)


# What is heard


@pytest.mark.parametrize("scale", [1.0, 0.5, -0.7])
def test_the_sound_of_a_bundle_whose_weights_were_changed_by_hand(bundle: Path, lora: Path, tmp_path, scale: float):
    expected = changed_by_hand(bundle, tmp_path / "hand", added(scale=scale))
    got, plain = sound_of(bundle, Lora(lora, scale)), sound_of(bundle)
    assert mini_model.snr_db(expected, got) > 110
    assert mini_model.snr_db(expected, plain) < 40


def test_two_loras_add_up(bundle: Path, lora: Path, tmp_path: Path):
    other = unet_lora(tmp_path / "wind.safetensors", seed=1)
    expected = changed_by_hand(bundle, tmp_path / "hand", added() + added(seed=1, scale=0.5))
    assert mini_model.snr_db(expected, sound_of(bundle, Lora(lora), Lora(other, 0.5))) > 110


def test_alpha_scales(bundle: Path, lora: Path, tmp_path: Path):
    down, up = low_rank(CHANNELS, WIDTH)
    kohya = "lora_unet_" + TO_Q.removeprefix("unet.").replace(".", "_")
    names = {f"{kohya}.lora_down.weight": down, f"{kohya}.lora_up.weight": up, f"{kohya}.alpha": np.array(1.0, "<f4")}
    half = write_lora(tmp_path / "kohya.safetensors", names)
    settings = {"lora_adapter_metadata": json.dumps({"unet.lora_alpha": 1})}
    said = write_lora(tmp_path / "said.safetensors", pair(TO_Q, down, up), settings)
    expected = sound_of(bundle, Lora(lora, 0.5))
    assert np.array_equal(sound_of(bundle, Lora(half)), expected)
    assert np.array_equal(sound_of(bundle, Lora(said)), expected)


def test_a_lora_on_the_text_encoder_is_heard_in_a_prompt_that_was_encoded_before(loaded, tmp_path: Path):
    plain = sound(loaded)
    loaded.use_loras([Lora(text_lora(tmp_path / "text.safetensors"))])
    assert not np.array_equal(sound(loaded), plain)
    loaded.use_loras([])
    assert np.array_equal(sound(loaded), plain)


def test_weights_stored_in_half(bundle: Path, lora: Path):
    """A matrix that lies in the file as float16 is read, summed in float32 and rounded as such."""
    offset, shape = place_of(bundle, "denoise_step", "projection")
    places = bundle / "graphs/denoise_step.parameters.json"
    places.write_bytes(places.read_bytes().replace(b"float32", b"float16"))
    overlay = overlay_module.write_overlay(foley.load_bundle(bundle, verify_files=False), [Lora(lora)])
    files = [folder / "graphs/denoise_step.weights" for folder in (bundle, overlay.folder)]
    old, new = (np.fromfile(file, "<f2", int(np.prod(shape)), offset=offset) for file in files)
    with np.errstate(all="ignore"):
        assert np.array_equal(new, (old.astype(np.float32) + added().ravel()).astype(np.float16), equal_nan=True)
    overlay.close()


# Off again


def test_taken_off_bit_for_bit(loaded: foley.Pipeline, lora: Path):
    plain = sound(loaded)
    loaded.use_loras([Lora(lora)])
    with_lora = sound(loaded)
    loaded.use_loras([Lora(lora, 0.3)])
    loaded.use_loras([Lora(lora)])
    assert np.array_equal(sound(loaded), with_lora)
    loaded.use_loras([])
    assert np.array_equal(sound(loaded), plain)
    assert not np.array_equal(with_lora, plain)
    assert loaded.loras == ()


def test_scale_0_is_the_bundle_itself(loaded: foley.Pipeline, lora: Path, temporary: Path):
    plain = sound(loaded)
    loaded.use_loras([Lora(lora, 0.0)])
    assert list(temporary.iterdir()) == []
    assert np.array_equal(sound(loaded), plain)


def test_only_the_graphs_that_change_are_loaded_again(loaded, lora: Path, tmp_path: Path, monkeypatch):
    sound(loaded)
    opened, make = [], CpuEngine.__init__
    monkeypatch.setattr(
        CpuEngine, "__init__", lambda self, graph, **how: (opened.append(graph), make(self, graph, **how))[1]
    )
    loaded.use_loras([Lora(lora)])
    assert opened == []
    sound(loaded)
    loaded.use_loras([Lora(text_lora(tmp_path / "text.safetensors"))])
    sound(loaded)
    assert [graph.name for graph in opened] == ["denoise_step.onnx", "text_encoder.onnx", "denoise_step.onnx"]


def test_the_bundle_is_not_touched(bundle: Path, lora: Path):
    sound_of(bundle, Lora(lora))
    foley.load_bundle(bundle)  # checks every digest


# The files


def test_files_are_gone_when_the_pipeline_closes(bundle: Path, lora: Path, temporary: Path):
    with foley.load(bundle, threads=1, loras=[Lora(lora)]) as pipeline:
        [first] = temporary.iterdir()
        names = sorted(path.name for path in first.rglob("*") if path.is_file())
        assert names == ["denoise_step.onnx", "denoise_step.weights"]
        kept = pipeline.start(pipeline.request("rain"))
        pipeline.use_loras([Lora(lora, 2)])
        [second] = temporary.iterdir()
        assert second != first
        assert kept.total_steps == 4
    assert list(temporary.iterdir()) == []


def test_files_are_gone_when_a_pipeline_is_forgotten(bundle: Path, lora: Path, temporary: Path):
    pipeline = foley.load(bundle, threads=1, loras=[Lora(lora)])
    assert list(temporary.iterdir())
    del pipeline
    gc.collect()
    assert list(temporary.iterdir()) == []


def fail_to_write(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def copyfile(source: Path, target: Path) -> None:
        Path(target).write_bytes(b"half")
        raise OSError(number, os.strerror(number), str(target))

    monkeypatch.setattr(overlay_module.shutil, "copyfile", copyfile)


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "is full: .* TMPDIR"), (errno.EACCES, "cannot be written to .* TMPDIR")]
)
def test_a_failed_write_leaves_the_pipeline_as_it_was(loaded, lora: Path, temporary, monkeypatch, number, words):
    loaded.use_loras([Lora(lora)])
    before, kept = sound(loaded), list(temporary.iterdir())
    fail_to_write(monkeypatch, number)
    with pytest.raises(UsageError, match=words) as caught:
        loaded.use_loras([Lora(lora, 2)])
    assert "\n" not in str(caught.value)
    assert list(temporary.iterdir()) == kept
    assert loaded.loras == (Lora(lora),)
    assert np.array_equal(sound(loaded), before)


def test_an_interrupt_leaves_nothing(loaded: foley.Pipeline, lora: Path, temporary: Path):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loaded.use_loras([Lora(lora)], tell=interrupt)
    assert list(temporary.iterdir()) == []


def test_no_temporary_folder(loaded: foley.Pipeline, lora: Path, temporary: Path):
    temporary.rmdir()
    with pytest.raises(UsageError, match="no temporary folder can be made: No such file"):
        loaded.use_loras([Lora(lora)])


def test_a_refused_lora_loads_no_pipeline(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    closed, close = [], foley.Pipeline.close
    monkeypatch.setattr(foley.Pipeline, "close", lambda self: (closed.append(self), close(self)))
    with pytest.raises(UsageError, match=r"none.safetensors does not exist"):
        foley.load(bundle, loras=[Lora(tmp_path / "none.safetensors")])
    assert len(closed) == 1


def test_progress_is_told(loaded: foley.Pipeline, lora: Path):
    told = []
    loaded.use_loras([Lora(lora, 0.5)], tell=lambda *what: told.append(what))
    assert told == [("denoise_step", "weights with rain@0.5", 0.0), ("denoise_step", "weights with rain@0.5", 1.0)]


# Meanwhile


def test_a_generation_that_was_started_before_stops_with_one_line(loaded: foley.Pipeline, lora: Path):
    generation = loaded.start(loaded.request("rain", steps=4))
    steps = iter(generation)
    next(steps)
    loaded.use_loras([Lora(lora)])
    with pytest.raises(RequestError, match="LoRAs were changed after this generation was started; start it anew"):
        next(steps)
    with pytest.raises(RequestError, match="not denoised yet"):
        generation.clips()


def test_a_finished_generation_still_gives_its_clips(loaded: foley.Pipeline, lora: Path):
    expected = sound(loaded)
    generation = loaded.start(loaded.request("a dog barking", seed=3))
    for step in generation:
        if step.number == step.total:
            loaded.use_loras([Lora(lora)])
    assert np.array_equal(generation.clips()[0].samples, expected)


def test_no_loras_after_none_disturb_nobody(loaded: foley.Pipeline):
    generation = loaded.start(loaded.request("rain"))
    loaded.use_loras([])
    assert len(list(generation)) == generation.total_steps


def test_a_change_waits_for_the_step_that_runs(loaded: foley.Pipeline, lora: Path):
    order, changing = [], threading.Thread(target=lambda: (loaded.use_loras([Lora(lora)]), order.append("changed")))
    with loaded.steady() as before:
        changing.start()
        changing.join(0.3)
        order.append("step done")
    changing.join()
    with loaded.steady() as after:
        assert (order, before is after) == (["step done", "changed"], False)


def test_threads_generate_with_one_choice_or_the_other(loaded: foley.Pipeline, lora: Path):
    """Whatever a generation gives, all of it comes from the same weights."""
    known = [sound(loaded)]
    loaded.use_loras([Lora(lora)])
    known.append(sound(loaded))
    heard, complaints, stop = [], set(), threading.Event()

    def generate() -> None:
        while not stop.is_set():
            try:
                heard.append(sound(loaded))
            except RequestError as error:
                complaints.add(str(error))

    threads = [threading.Thread(target=generate) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(10):
        loaded.use_loras([Lora(lora)] if number % 2 else [])
    stop.set()
    for thread in threads:
        thread.join()
    assert complaints <= {"the pipeline's LoRAs were changed after this generation was started; start it anew"}
    assert all(any(np.array_equal(clip, each) for each in known) for clip in heard)


# Refused


def refused(pipeline: foley.Pipeline, tmp_path: Path, tensors: dict[str, np.ndarray]) -> str:
    with pytest.raises(UsageError) as caught:
        pipeline.use_loras([Lora(write_lora(tmp_path / "bad.safetensors", tensors))])
    assert "\n" not in str(caught.value)
    assert "bad.safetensors" in str(caught.value)
    assert list(Path(tempfile.gettempdir()).iterdir()) == []
    return str(caught.value)


def test_a_module_that_the_bundle_has_not(loaded: foley.Pipeline, tmp_path: Path):
    known = pair(TO_Q, *low_rank(CHANNELS, WIDTH))
    message = refused(loaded, tmp_path, {**known, **pair(TO_Q.replace("attn1", "attn7"), *low_rank(2, 2))})
    assert "attn7.to_q, which is none of the 2 modules that LoRAs may change in this bundle, such as " in message
    assert TO_Q in message


def test_a_lora_of_a_wider_model(loaded: foley.Pipeline, tmp_path: Path):
    message = refused(loaded, tmp_path, pair(TO_Q, *low_rank(CHANNELS, WIDTH + 1)))
    assert f"does not fit {TO_Q}: down is [2, 7] and up [3, 2], expected [2, 6] and [3, 2]" in message


def test_a_wrong_shape_at_scale_0_is_refused_too(loaded: foley.Pipeline, tmp_path: Path):
    file = write_lora(tmp_path / "bad.safetensors", pair(TO_Q, *low_rank(CHANNELS, WIDTH + 1)))
    with pytest.raises(UsageError, match="does not fit"):
        loaded.use_loras([Lora(file, 0.0)])


def test_half_of_a_pair(loaded: foley.Pipeline, tmp_path: Path):
    down, _ = low_rank(CHANNELS, WIDTH)
    assert "lacks the tensor 'up' of unet." in refused(loaded, tmp_path, {f"{TO_Q}.lora_A.weight": down})


def test_an_empty_file(loaded: foley.Pipeline, tmp_path: Path):
    assert "is empty" in refused(loaded, tmp_path, {})


def test_an_alpha_of_two_numbers(loaded: foley.Pipeline, tmp_path: Path):
    tensors = {**pair(TO_Q, *low_rank(CHANNELS, WIDTH)), f"{TO_Q}.alpha": np.ones(2, np.float32)}
    assert "alpha of unet." in refused(loaded, tmp_path, tensors)


def test_a_weight_beyond_half_range(bundle: Path, loaded: foley.Pipeline, tmp_path: Path):
    places = bundle / "graphs/denoise_step.parameters.json"
    places.write_bytes(places.read_bytes().replace(b"float32", b"float16"))
    down, up = low_rank(CHANNELS, WIDTH)
    message = refused(loaded, tmp_path, pair(TO_Q, down * np.float32(1e6), up))
    assert f"{TO_Q} with" in message
    assert "beyond the range of float16" in message


def test_a_bundle_that_says_not_where_its_matrices_lie(mini_bundle: Path, lora: Path):
    with pytest.raises(BundleError, match=r"does not say where its matrices lie.*export it again with this foley"):
        foley.load(mini_bundle, loras=[Lora(lora)])


def test_places_beyond_the_file(bundle: Path, loaded: foley.Pipeline, lora: Path):
    places = bundle / "graphs/denoise_step.parameters.json"
    found = msgspec.json.decode(places.read_bytes())
    found[TO_Q]["offset"] = 10**9
    places.write_bytes(msgspec.json.encode(found))
    with pytest.raises(BundleError, match=r"to_q ends beyond the \d+ bytes of graphs/denoise_step.weights"):
        loaded.use_loras([Lora(lora)])


# Two graphs over one weights file


def test_graphs_that_share_weights_change_together(bundle: Path, lora: Path, tmp_path: Path):
    def share(manifest: dict) -> None:
        manifest["graphs"]["another"] = manifest["graphs"]["denoise_step"]

    edit_manifest(bundle, share)
    loaded = foley.load_bundle(bundle)
    overlay = overlay_module.write_overlay(loaded, [Lora(lora)])
    assert overlay.graphs(loaded) == ["denoise_step", "another"]
    overlay.close()


def test_the_digest_tells_weights_apart(bundle: Path, lora: Path, tmp_path: Path):
    loaded, text = foley.load_bundle(bundle), text_lora(tmp_path / "text.safetensors")

    def digest(*loras: Lora) -> str:
        overlay = overlay_module.write_overlay(loaded, loras)
        overlay.close()
        return overlay.weights["graphs/denoise_step.weights"]

    other = unet_lora(tmp_path / "other.safetensors", seed=1)
    first = digest(Lora(lora))
    assert first == digest(Lora(str(lora)), Lora(text)) == digest(Lora(lora), Lora(other, 0))
    different = {
        digest(Lora(lora, 0.5)),
        digest(Lora(other)),
        digest(Lora(lora), Lora(other)),
        digest(Lora(other), Lora(lora)),
    }
    assert len(different | {first, loaded.manifest.files["graphs/denoise_step.weights"].sha256}) == 6


# On the command line


@pytest.fixture
def generate(command: Command, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object):
        return command("generate", "--bundle", bundle, "a dog", "--steps", 2, "--threads", 1, *arguments)

    return run


def test_generate_takes_loras(generate, lora: Path, bundle: Path, temporary: Path, tmp_path: Path):
    text = text_lora(tmp_path / "text.safetensors")
    done = generate("--lora", f"{lora}@0.5", "--lora", text, "-o", "a.wav", "--json")
    assert (done.code, done.err) == (
        0, "text_encoder: weights with rain@0.5, text@1\ndenoise_step: weights with rain@0.5, text@1\n"
    )  # fmt: skip
    assert json.loads(done.out)["loras"] == [{"file": str(lora), "scale": 0.5}, {"file": str(text), "scale": 1.0}]
    assert generate("-o", "b.wav").code == 0
    assert Path("a.wav").read_bytes() != Path("b.wav").read_bytes()
    assert list(temporary.iterdir()) == []


def test_generate_without_loras_says_so_in_json(generate):
    done = generate("--json")
    assert json.loads(done.out)["loras"] == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (lambda file: [str(file)], "a LoRA is '.*', expected one as in foley.Lora"),
        (lambda file: [(file, 0.8)], "a LoRA is .*, expected one as in foley.Lora"),
        (lambda file: Lora(file), "loras are .*, expected several"),
        (lambda file: str(file), "loras are '.*', expected several"),
    ],
)
def test_what_is_no_list_of_loras_is_told(loaded: foley.Pipeline, lora: Path, given, words: str):
    with pytest.raises(RequestError, match=words):
        loaded.use_loras(given(lora))


def test_generate_refuses_in_one_line(generate, tmp_path: Path, temporary: Path):
    file = write_lora(tmp_path / "bad.safetensors", pair("unet.x", *low_rank(2, 2)))
    generate("--lora", file).refused("bad.safetensors changes unet.x")
    generate("--lora", f"{file}@loud").refused("--lora", "the scale is 'loud'")
    generate("--lora", "@0.8").refused("--lora @0.8: there is no file before the @")
    generate("--lora", tmp_path / "none.safetensors").refused("none.safetensors does not exist")
    assert list(temporary.iterdir()) == []


def test_the_text_module_is_named(loaded: foley.Pipeline, tmp_path: Path):
    message = refused(loaded, tmp_path, pair(TABLE, *low_rank(2, 2)))
    assert f"does not fit {TABLE}: down is [2, 2] and up [2, 2], expected [2, 6] and [20, 2]" in message
