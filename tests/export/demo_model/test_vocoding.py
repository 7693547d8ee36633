"""The vocoder's losses and rates, what its stages learn, and its generator: written, whitened, made plain again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from support.clips import STEADY, clip

from foley_export.demo_model import vocoding
from foley_export.demo_model.harmonics import HARMONICS, LOUD, amplitudes
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.noise import Crops, signs
from foley_export.demo_model.scenes import Event
from foley_export.demo_model.training import train
from foley_export.demo_model.vocoding import (
    CONFIG,
    AmplitudeTask,
    UnitGenerator,
    VocoderTask,
    level_distance,
    log_magnitude,
    rated,
    read_amplitudes,
    spectral_distance,
    waveform_errors,
    written,
)
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config


@pytest.fixture
def generator():
    torch.manual_seed(0)
    return UnitGenerator(vocoder_config(CONFIG)).eval()


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(vocoding, "AMPLITUDE_CROPS", 3)
    monkeypatch.setattr(vocoding, "CROPS", 2)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_plain_generator_makes_the_same_of_raw_mels(generator):
    mel = torch.cat([log_mel(noise(1, 3200)), log_mel(torch.zeros(1, 3200))], 2)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    plain = generator.plain()
    assert type(plain) is Generator
    with torch.no_grad():
        torch.testing.assert_close(plain(mel), generator(mel), rtol=0, atol=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def varied(sounds) -> torch.Tensor:
    """Log-mels [4,256,64] of clips."""
    return torch.from_numpy(sounds.mels[:, :, ::4].astype(np.float32))


def test_a_whitened_generator_makes_the_same(generator, sounds):
    mel = varied(sounds)[:, :, 20:44]
    with torch.no_grad():
        before = generator(mel)
        generator.whiten(varied(sounds))
        torch.testing.assert_close(generator(mel), before, rtol=0, atol=1e-5)
    assert not torch.equal(generator.basis, torch.eye(256))


def test_a_whitened_generator_is_made_plain(generator, sounds):
    generator.whiten(varied(sounds))
    mel = varied(sounds)[:, :, 20:44]  # beyond its edges, both read a log-mel of 0
    with torch.no_grad():
        plain, whitened = generator.plain()(mel), generator(mel)
    for span in (slice(480), slice(480, -480), slice(-480, None)):
        torch.testing.assert_close(plain[..., span], whitened[..., span], rtol=0, atol=1e-5)


def test_mels_are_read_uncorrelated_and_around_nought(generator):
    mixed = torch.randn(256, 256, generator=torch.Generator().manual_seed(1)) / 16 + 0.3
    mels = LOG_MEL_MIN + 5 * (2 + torch.einsum("ij,bjt->bit", mixed + torch.eye(256), 10 * noise(4, 256, 500)))
    generator.whiten(mels)
    read = torch.einsum("ij,bjt->bit", generator.basis, (mels - LOG_MEL_MIN) / 5 - generator.centre)
    units = read.transpose(0, 1).flatten(1)
    assert units.mean(1).abs().max() < 1e-3
    torch.testing.assert_close(torch.cov(units), torch.eye(256), rtol=0, atol=0.1)


def test_a_generator_makes_160_samples_a_frame(generator):
    with torch.no_grad():
        waveform = generator(torch.randn(2, 256, 9))
    assert waveform.shape == (2, 1, 1440)
    assert waveform.abs().max() <= 1


def test_spectral_distance_is_nought_between_equals_and_grows_with_noise():
    clip, other = noise(1, 5120), noise(1, 5120, seed=1)
    assert spectral_distance(clip, clip) == 0
    assert 0 < spectral_distance(clip + 0.1 * other, clip) < spectral_distance(clip + other, clip)


def test_the_error_of_a_waveform_is_in_units_of_its_own():
    real, other = noise(3, 5120), noise(3, 5120, seed=1)
    errors = [waveform_errors(real + level * other, real) for level in (0.0, 0.1, 0.5)]
    assert errors[0].tolist() == [0, 0, 0]
    assert ((errors[1] > 0) & (errors[1] < errors[2])).all()
    halved = waveform_errors(0.5 * (real + 0.5 * other), 0.5 * real)
    torch.testing.assert_close(halved, errors[2], rtol=0.2, atol=0)
    torch.testing.assert_close(waveform_errors(torch.zeros(3, 5120), real), torch.ones(3), rtol=0, atol=0.1)
    assert waveform_errors(torch.zeros(1, 5120), torch.zeros(1, 5120)) == 0


def test_the_distance_of_levels_is_that_of_their_logs():
    made, other = noise(3, 3200), noise(3, 3200, seed=1)
    assert level_distance(made, made) == 0
    assert level_distance(made, other) < 0.1  # another waveform, but as loud
    assert level_distance(10 * made, made) == pytest.approx(np.log(100), rel=0.01)
    assert level_distance(made, 10 * made) == level_distance(10 * made, made)
    assert level_distance(1e-4 * made, torch.zeros(3, 3200)) < 0.01


def test_log_magnitudes_of_silence_are_the_floor():
    magnitudes = log_magnitude(torch.zeros(1, 5120), 512, 128)
    assert magnitudes.shape[:2] == (1, 257)
    np.testing.assert_allclose(magnitudes, np.log(1e-2), rtol=1e-5)


def changed(before: dict[str, torch.Tensor], after: torch.nn.Module) -> set[str]:
    """Names of the values that differ."""
    return {name for name, value in after.state_dict().items() if not torch.equal(value, before[name])}


def is_first(name: str) -> bool:
    """Whether a parameter is one of the first stage, whose single residual block is the first one."""
    return name.startswith(("conv_pre.", "ups.0.", "resblocks.0."))


def test_the_written_generator_is_always_the_same():
    torch.manual_seed(1)
    first = written().state_dict()
    torch.manual_seed(2)
    assert changed(first, written()) == set()


def test_amplitudes_are_read_as_the_later_stages_hear_them(generator):
    mel = clip(Event("bell")).mels[..., :30]
    with torch.no_grad():
        made, read = generator.amplitudes(mel)[:, :HARMONICS], read_amplitudes(generator, mel)
    assert read.shape == (1, HARMONICS, 30)
    assert (made < 0).any()
    assert (made > 0).any()
    torch.testing.assert_close(read, torch.where(made > 0, made, SLOPE * made))


def test_every_weight_has_one_rate_that_of_its_stage(generator):
    names = {id(parameter): name for name, parameter in generator.named_parameters()}
    groups = rated(generator, 1.0, 0.01).param_groups
    rates = [(names[id(parameter)], group["initial_lr"]) for group in groups for parameter in group["params"]]
    assert sorted(name for name, _ in rates) == sorted(names.values())
    for name, rate in rates:
        own = 2.0 if name.startswith("resblocks.") else 0.5 if name.startswith("conv_pre.") else 1.0
        assert rate == pytest.approx(own if is_first(name) else 0.01 * own), name


def test_the_first_stage_starts_whitened_from_what_is_written(sounds):
    task, mel = AmplitudeTask(sounds, sounds.mels, 2), clip(Event("bell")).mels[..., 10:30]
    with torch.no_grad():
        expected = written()(mel)
        for each in task.modules.values():
            assert not torch.equal(each.basis, torch.eye(256))
            torch.testing.assert_close(each(mel), expected, rtol=0, atol=1e-4)


def test_the_whole_starts_where_the_first_stage_was(sounds):
    start = AmplitudeTask(sounds, sounds.mels, 2).modules["mean"]
    with torch.no_grad():
        start.conv_pre.weight.add_(0.01)
    task, before = VocoderTask(sounds, sounds.mels, start, 2), start.state_dict()
    assert all(changed(before, each) == set() for each in task.modules.values())
    with torch.no_grad():
        task.modules["generator"].conv_pre.weight.zero_()
    assert start.conv_pre.weight.any()
    assert task.modules["mean"].conv_pre.weight.any()


def test_amplitudes_of_what_is_clear_are_measured(sounds):
    task, bell = AmplitudeTask(sounds, sounds.mels, 2), clip(Event("bell"))
    with torch.no_grad():
        torch.testing.assert_close(task._signed(bell), amplitudes(bell.clear) / LOUD)


def test_amplitudes_of_noise_are_read_around_each_frame_and_have_signs(sounds):
    task, wind = AmplitudeTask(sounds, sounds.mels, 2), clip(Event("wind"))
    loudest = amplitudes(wind.noise)[0].mean(1).topk(4).indices
    with torch.no_grad():
        got, read = (each[0, loudest] for each in (task._signed(wind), read_amplitudes(written(), wind.mels)))
    smooth = torch.stack([read[:, frame - 2 : frame + 3].mean(1) for frame in range(STEADY.start, STEADY.stop)], 1)
    expected = smooth * signs(wind.mels)[0, loudest, STEADY]
    torch.testing.assert_close(got[:, STEADY], expected, rtol=0.05, atol=0.015)
    assert 0.1 < (got[:, STEADY] < -0.01).float().mean() < 0.6


def test_amplitudes_of_noise_stay_those_that_were_written(sounds):
    task, wind = AmplitudeTask(sounds, sounds.mels, 2), clip(Event("wind"))
    with torch.no_grad():
        before = task._signed(wind)
        for each in task.modules.values():
            each.ups[0].weight.zero_()
        assert torch.equal(task._signed(wind), before)


def piece(event: Event) -> Crops:
    """40 frames of a clip."""
    whole, frames, samples = clip(event), slice(50, 90), slice(50 * 160, 90 * 160)
    return Crops(whole.mels[..., frames], whole.clear[:, samples], whole.noise[:, samples])


@pytest.fixture
def losses(sounds, monkeypatch):
    """What a stage's first step on crops gives."""

    def losses(stage: str, crops: Crops) -> dict[str, float]:
        monkeypatch.setattr(vocoding, "draw", lambda *_: crops)
        if stage == "amplitudes":
            return AmplitudeTask(sounds, sounds.mels, 1).advance(0)
        return VocoderTask(sounds, sounds.mels, written(), 1).advance(0)

    return losses


@pytest.mark.parametrize("stage", ["amplitudes", "vocoder"])
def test_the_ends_of_crops_are_not_compared(losses, stage):
    crops = piece(Event("bell"))
    end, middle = crops.clear.clone(), crops.clear.clone()
    end[:, :400] = end[:, -400:] = 0.5
    middle[:, 3000:3400] = 0.5
    expected = losses(stage, crops)
    assert losses(stage, replace(crops, clear=end)) == pytest.approx(expected, rel=1e-3)
    assert losses(stage, replace(crops, clear=middle))["error"] > 1.1 * expected["error"]


@pytest.mark.parametrize(("kind", "share"), [("wind", 0.4), ("bell", 1.0)])
def test_the_error_of_noise_weighs_less(losses, monkeypatch, kind, share):
    less = losses("vocoder", piece(Event(kind)))["error"]
    monkeypatch.setattr(vocoding, "NOISE_WEIGHT", 1.0)
    assert less == pytest.approx(share * losses("vocoder", piece(Event(kind)))["error"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_amplitudes_are_taught_to_the_first_stage_alone(tmp_path, sounds):
    task = AmplitudeTask(sounds, sounds.mels, 2)
    before = {name: value.clone() for name, value in task.modules["generator"].state_dict().items()}
    train(task, tmp_path)
    for each in task.modules.values():
        assert changed(before, each) == {name for name, _ in each.named_parameters() if is_first(name)}


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_the_last_stage_teaches_the_whole(tmp_path, sounds):
    start = AmplitudeTask(sounds, sounds.mels, 2).modules["mean"]
    task = VocoderTask(sounds, sounds.mels, start, 2)
    train(task, tmp_path)
    for each in task.modules.values():
        assert changed(start.state_dict(), each) == {name for name, _ in each.named_parameters()}
