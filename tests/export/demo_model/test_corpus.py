"""The corpus: numbered clips, arrays that are rendered once, and captions that are never in both halves."""

import numpy as np
import pytest
import torch

from foley_export.demo_model import corpus, latents
from foley_export.demo_model.autoencoder import new_autoencoder
from foley_export.demo_model.captions import draw_caption, held_out
from foley_export.demo_model.corpus import (
    floats,
    held_out_captions,
    open_sounds,
    training_caption,
    training_clip,
    training_noise,
    training_scene,
)
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.progress import Progress
from foley_export.demo_model.reading import training_text
from foley_export.demo_model.scenes import draw_scene
from foley_export.demo_model.sounds import render_apart

HELD_OUT = 400


@pytest.fixture(scope="module")
def kept():
    return held_out_captions(HELD_OUT)


@pytest.fixture
def vae():
    torch.manual_seed(0)
    return new_autoencoder().eval()


def refuse(*_):
    raise AssertionError("made again")


def test_training_never_sees_a_held_out_caption(kept):
    rng = np.random.default_rng(1)
    scenes = [training_scene(index) for index in range(600)]
    captions = {training_caption(scene, rng) for scene in scenes for _ in range(5)}
    captions |= {caption for _, caption in (training_text(rng) for _ in range(2000))}
    assert len(captions) > 3000
    assert captions & {held.caption for held in kept} == set()


def test_no_training_scene_is_held_out_whole():
    rng = np.random.default_rng(2)
    for index in range(600):
        scene = training_scene(index)
        assert not all(held_out(scene, draw_caption(scene, rng)) for _ in range(20))


def test_a_caption_for_training_is_worded_anew():
    scene, rng = training_scene(3), np.random.default_rng(3)
    captions = {training_caption(scene, rng) for _ in range(50)}
    assert len(captions) >= 10
    assert not any(held_out(scene, caption) for caption in captions)


def test_texts_for_reading_are_not_held_out():
    rng = np.random.default_rng(4)
    assert not any(held_out(*training_text(rng)) for _ in range(500))


def test_held_out_captions_are_held_out_and_different(kept):
    assert len({held.caption for held in kept}) == HELD_OUT
    assert all(held_out(held.scene, held.caption) for held in kept)


@pytest.mark.parametrize(("count", "single", "double"), [(HELD_OUT, 200, 200), (7, 4, 3), (1, 1, 0), (0, 0, 0)])
def test_half_of_them_are_of_one_event(count, single, double):
    sizes = [len(held.scene.events) for held in held_out_captions(count)]
    assert (sizes.count(1), sizes.count(2)) == (single, double)


def test_held_out_captions_depend_on_the_seed_only(kept):
    assert held_out_captions(HELD_OUT) == kept
    assert held_out_captions(HELD_OUT, seed=1) != kept


def test_captions_of_whole_held_out_scenes_and_single_texts_are_both_there(kept):
    rng = np.random.default_rng(5)
    whole = [all(held_out(held.scene, draw_caption(held.scene, rng)) for _ in range(20)) for held in kept]
    assert 0.2 < np.mean(whole) < 0.9


def test_clips_depend_on_their_number_only():
    np.testing.assert_array_equal(training_clip(5), training_clip(5))
    assert not np.array_equal(training_clip(5), training_clip(6))
    assert training_scene(5) == training_scene(5)
    assert len({training_scene(index) for index in range(100)}) > 80


def test_arrays_hold_the_clips_and_their_mels(sounds):
    assert (sounds.waveforms.dtype, sounds.waveforms.shape) == (np.int16, (4, 40960))
    assert (sounds.mels.dtype, sounds.mels.shape) == (np.float16, (4, 256, 256))
    for index in range(4):
        clip = torch.from_numpy(training_clip(index))
        torch.testing.assert_close(floats(sounds.waveforms[index]), clip, rtol=0, atol=0.6 / 32767)
        np.testing.assert_allclose(sounds.mels[index], log_mel(clip[None])[0], rtol=0, atol=0.005)


def test_the_noise_of_a_clip_and_the_rest_make_the_clip(sounds):
    assert (sounds.noises.dtype, sounds.noises.shape) == (np.int16, (4, 40960))
    for index in range(4):
        clear, _ = render_apart(training_scene(index), np.random.default_rng([corpus.SOUNDS_SEED, index, 1]))
        both = clear + floats(sounds.noises[index]).numpy()
        np.testing.assert_allclose(both, training_clip(index), rtol=0, atol=0.6 / 32767)
        np.testing.assert_allclose(training_noise(index), floats(sounds.noises[index]), rtol=0, atol=0.6 / 32767)


def test_clips_without_noise_have_none(sounds):
    assert sounds.noises.any(axis=1).tolist() == sounds.noisy.tolist() == [False, False, True, True]


def test_clips_with_noise_or_wind_are_marked(sounds):
    heard = [{event.kind for event in training_scene(index).events} for index in range(4)]
    assert sounds.noisy.tolist() == [bool(kinds & {"noise", "wind"}) for kinds in heard]
    assert sounds.noisy.dtype == np.bool_


def test_sounds_of_several_chunks_are_those_of_one(tmp_path, monkeypatch, sounds):
    monkeypatch.setattr(corpus, "CHUNK", 3)
    chunked = open_sounds(tmp_path, 4, Progress("sounds"))
    np.testing.assert_array_equal(chunked.waveforms, sounds.waveforms)
    np.testing.assert_array_equal(chunked.noises, sounds.noises)
    np.testing.assert_allclose(chunked.mels, sounds.mels, rtol=0, atol=0.01)


def test_sounds_are_rendered_once(tmp_path, monkeypatch):
    first = open_sounds(tmp_path, 2, Progress("sounds"))
    monkeypatch.setattr(corpus, "training_clip", refuse)
    monkeypatch.setattr(corpus, "training_noise", refuse)
    again = open_sounds(tmp_path, 2, Progress("sounds"))
    np.testing.assert_array_equal(first.waveforms, again.waveforms)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["mels-2.npy", "noises-2.npy", "waveforms-2.npy"]


def test_sounds_of_which_an_array_is_missing_are_rendered_again(tmp_path, sounds):
    open_sounds(tmp_path, 4, Progress("sounds"))
    (tmp_path / "noises-4.npy").unlink()
    np.testing.assert_array_equal(open_sounds(tmp_path, 4, Progress("sounds")).noises, sounds.noises)


def test_interrupted_rendering_starts_again(tmp_path, monkeypatch, sounds):
    def interrupted(index):
        if index == 2:
            raise KeyboardInterrupt
        return training_clip(index)

    monkeypatch.setattr(corpus, "training_clip", interrupted)
    monkeypatch.setattr(corpus, "CHUNK", 1)
    with pytest.raises(KeyboardInterrupt):
        open_sounds(tmp_path, 4, Progress("sounds"))
    assert list(tmp_path.glob("*.npy")) == []
    monkeypatch.setattr(corpus, "training_clip", training_clip)
    np.testing.assert_array_equal(open_sounds(tmp_path, 4, Progress("sounds")).waveforms, sounds.waveforms)
    assert list(tmp_path.glob("*.part")) == []


def test_latents_are_encoded_once_and_scaled_to_unit_deviation(tmp_path, monkeypatch, vae):
    opened = latents.open_latents(vae, tmp_path, 2, Progress("latents"))
    assert (opened.values.dtype, opened.values.shape) == (np.float16, (2, 4, 32, 32))
    assert (opened.values.astype(np.float32) * opened.scaling_factor).std() == pytest.approx(1, abs=1e-3)
    clips = torch.from_numpy(np.stack([training_clip(0), training_clip(1)]))
    np.testing.assert_allclose(opened.values, latents.encode(vae, log_mel(clips)), rtol=0, atol=0.01)
    monkeypatch.setattr(latents, "training_clip", refuse)
    again = latents.open_latents(vae, tmp_path, 2, Progress("latents"))
    np.testing.assert_array_equal(opened.values, again.values)
    assert opened.scaling_factor == again.scaling_factor


def test_mels_go_through_the_autoencoder_once(tmp_path, monkeypatch, vae, sounds):
    monkeypatch.setattr(latents, "CHUNK", 3)
    monkeypatch.setattr(latents, "MOST_OFF", 0.0)
    decoded = latents.open_decoded(vae, sounds, tmp_path, Progress("decoding"))
    assert (decoded.dtype, decoded.shape) == (np.float16, sounds.mels.shape)
    last = torch.from_numpy(sounds.mels[3:].astype(np.float32))
    np.testing.assert_allclose(decoded[3:], latents.decode(vae, latents.encode(vae, last)), rtol=0, atol=0.01)
    monkeypatch.setattr(latents, "encode", refuse)
    np.testing.assert_array_equal(decoded, latents.open_decoded(vae, sounds, tmp_path, Progress("decoding")))
    assert [file.name for file in tmp_path.iterdir()] == ["decoded-4.npy"]


def test_what_is_decoded_is_off_by_up_to_a_quarter(tmp_path, monkeypatch, vae, sounds):
    read = []
    real = latents.decode
    monkeypatch.setattr(latents, "decode", lambda vae, given: read.append(given) or real(vae, given))
    latents.open_decoded(vae, sounds, tmp_path, Progress("decoding"))
    exact = latents.encode(vae, torch.from_numpy(sounds.mels.astype(np.float32)))
    off = (torch.cat(read) - exact).flatten(1).std(1) / exact.std()
    assert ((off > 0) & (off < 0.26)).all()
    assert len(set(off.tolist())) == 4


def test_scenes_of_training_follow_the_general_draw():
    """The split takes scenes away, it does not change the mixture much."""
    rng = np.random.default_rng(6)
    general = np.mean([draw_scene(rng).relation == "alone" for _ in range(1000)])
    training = np.mean([training_scene(index).relation == "alone" for index in range(1000)])
    assert training == pytest.approx(general, abs=0.08)
