"""Grain is what changes in time; latents are put off; a step teaches the decoder only; crops come from any corpus."""

import numpy as np
import pytest
import torch
from torch.nn.functional import l1_loss

from foley_export.demo_model import grain as stage
from foley_export.demo_model.autoencoder import new_autoencoder
from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.grain import GrainTask, Judge, blurred_error, grain, heard_error, put_off
from foley_export.demo_model.mel import to_picture
from foley_export.graphs import LOG_MEL_MAX, LOG_MEL_MIN

CPU = torch.device("cpu")
FLOOR = 1e-3
"""What `grain` gives of none, so that its root has a slope."""


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_pictures_that_stand_still_have_no_grain():
    chord = noise(2, 3, 32, 1).expand(-1, -1, -1, 24)
    assert grain(chord).shape == (2, 1, 4, 3)
    torch.testing.assert_close(grain(chord), torch.full((2, 1, 4, 3), FLOOR), rtol=1e-3, atol=0)


def test_grain_grows_with_changes_in_time():
    picture = noise(1, 3, 32, 24)
    weak, strong = grain(0.1 * picture), grain(picture)
    assert (weak > 10 * FLOOR).all()
    torch.testing.assert_close(strong, 10 * weak, rtol=1e-2, atol=0)


def test_grain_is_that_of_the_first_channel():
    picture = noise(1, 3, 32, 24)
    same = picture.clone()
    same[:, 1:] = 0
    assert torch.equal(grain(picture), grain(same))


def test_where_grain_lies_hardly_counts_as_an_error():
    smooth = torch.zeros(1, 3, 64, 64)
    checked = smooth.clone()
    checked[..., ::2, ::2] = checked[..., 1::2, 1::2] = 0.5
    checked[..., 1::2, ::2] = checked[..., ::2, 1::2] = -0.5
    assert 0 < blurred_error(checked, smooth) < 0.25 * blurred_error(smooth + 0.5, smooth)


def tone(bin_: int, mel: float) -> torch.Tensor:
    """Give the picture [1,3,256,8] of a tone in silence whose bin has a log-mel."""
    mels = torch.full((1, 256, 8), LOG_MEL_MIN)
    mels[:, bin_] = mel
    return to_picture(mels)


def test_errors_are_heard_where_it_is_loud():
    real = tone(40, 2.0)
    elsewhere = real.clone()
    elsewhere[:, :, 165] += 2 * 0.5 / (LOG_MEL_MAX - LOG_MEL_MIN)  # bin 90: the picture's highest comes first
    loud, silent = heard_error(tone(40, 1.5), real), heard_error(elsewhere, real)
    assert float(loud) == pytest.approx(2 * 0.5 / (LOG_MEL_MAX - LOG_MEL_MIN), rel=0.06)
    assert float(silent) < 1e-5 * float(loud)
    assert heard_error(real, real) == 0


def test_errors_of_quiet_frames_count_nearly_as_much_and_those_of_silence_not():
    loud, quiet, silent = (float(heard_error(tone(40, mel - 0.5), tone(40, mel))) for mel in (2.0, 0.0, -9.0))
    assert 0.7 * loud < quiet < loud
    assert silent < 0.01 * loud


def test_the_first_channel_is_heard():
    real, made = tone(40, 2.0), tone(40, 1.5)
    other = made.clone()
    other[:, 1:] = real[:, 1:]
    assert heard_error(other, real) == heard_error(made, real)


def test_partials_count_by_their_magnitudes():
    mels = torch.full((1, 256, 8), LOG_MEL_MIN)
    mels[:, 40], mels[:, 90] = 2.0, 0.0
    off = mels.clone()
    off[:, 90] -= 0.5
    expected = 2 * 0.5 / (LOG_MEL_MAX - LOG_MEL_MIN) / (np.exp(2.0) + 1.0 + 0.3)
    assert float(heard_error(to_picture(off), to_picture(mels))) == pytest.approx(expected, rel=0.01)


@pytest.mark.slow
def test_what_is_heard_teaches_the_decoder(sounds, monkeypatch):
    totals = []
    monkeypatch.setattr(stage, "descend", lambda loss, *_, **__: totals.append(loss))
    for name in ("ERROR", "FEATURE", "FOOLED", "SPREAD"):
        monkeypatch.setattr(stage, f"{name}_WEIGHT", 0.0)
    torch.manual_seed(1)
    task = GrainTask(sounds, new_autoencoder(), 10, CPU)
    mels = torch.from_numpy(sounds.mels[:2, :, :32].astype(np.float32))
    monkeypatch.setattr(task, "_mels", lambda _: (mels, [False, False]))
    losses = task.advance(0)
    assert float(totals[-1].detach()) == pytest.approx(6 * losses["heard"])
    torch.autograd.backward(totals[-1])
    assert any(each.grad.abs().max() > 0 for each in task.decoder.parameters() if each.grad is not None)


@pytest.mark.slow
def test_only_what_is_heard_of_clear_crops_counts(sounds, monkeypatch):
    shapes = []

    def heard(made, real):
        shapes.append(tuple(made.shape))
        assert torch.equal(real, to_picture(mels)[[0, 2]])
        return heard_error(made, real)

    monkeypatch.setattr(stage, "heard_error", heard)
    torch.manual_seed(1)
    task = GrainTask(sounds, new_autoencoder(), 10, CPU)
    mels = torch.from_numpy(sounds.mels[:3, :, :32].astype(np.float32))
    for noisy in ([False, True, False], [True, True, True]):
        monkeypatch.setattr(task, "_mels", lambda _, noisy=noisy: (mels, noisy))
        losses = task.advance(0)
    assert shapes == [(2, 3, 256, 32)]
    assert losses["heard"] == 0


def test_a_judge_sees_patches_of_30_pixels():
    picture = noise(1, 3, 64, 64).requires_grad_()
    judged = Judge()(picture)[-1]
    assert judged.shape == (1, 1, 8, 8)
    torch.autograd.backward(judged[0, 0, 4, 4])
    rows = picture.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 <= 38
    assert not picture.grad[0, 1:].any()


def off_by(latents: torch.Tensor, seed: int = 0) -> torch.Tensor:
    """What latents are off by, in units of their deviation."""
    return (put_off(latents, torch.Generator().manual_seed(seed)) - latents) / latents.std()


def deviations(off: torch.Tensor) -> torch.Tensor:
    return off.flatten(1).std(1)


def neighbours_correlation(off: torch.Tensor, dim: int) -> float:
    early, late = off.narrow(dim, 0, off.shape[dim] - 1), off.narrow(dim, 1, off.shape[dim] - 1)
    return float((early * late).mean() / off.square().mean())


def test_latents_are_off_by_what_the_generator_says():
    latents = noise(3, 4, 8, 16)
    assert put_off(latents, torch.Generator()).shape == latents.shape
    assert torch.equal(off_by(latents, 1), off_by(latents, 1))
    assert not torch.equal(off_by(latents, 1), off_by(latents, 2))


def test_latents_are_off_in_units_of_their_deviation():
    latents = noise(20, 4, 8, 16)
    torch.testing.assert_close(off_by(7 * latents + 3), off_by(latents), rtol=1e-3, atol=1e-3)


def test_one_latent_in_seven_is_not_off():
    exact = (off_by(noise(1000, 4, 4, 4)) == 0).flatten(1)
    assert torch.equal(exact.all(1), exact.any(1))
    assert 0.12 < exact.all(1).float().mean() < 0.18


def test_latents_are_off_by_any_amount_up_to_the_largest(monkeypatch):
    monkeypatch.setattr(stage, "MOST_DRIFT", 0.0)
    monkeypatch.setattr(stage, "EXACT_SHARE", 0.0)
    off = off_by(noise(400, 4, 16, 16))
    shares = (deviations(off) / 0.35).sort().values
    torch.testing.assert_close(shares, torch.linspace(0, 1, 400), rtol=0, atol=0.08)
    assert abs(neighbours_correlation(off, 2)) < 0.02
    assert abs(neighbours_correlation(off, 3)) < 0.02


def test_drift_is_had_in_common_with_neighbours(monkeypatch):
    monkeypatch.setattr(stage, "MOST_OFF", 0.0)
    monkeypatch.setattr(stage, "EXACT_SHARE", 0.0)
    off = off_by(noise(400, 4, 16, 32))
    assert 0.15 < deviations(off).max() < 0.3
    assert deviations(off).min() < 0.02
    assert neighbours_correlation(off, 2) > 0.5
    assert neighbours_correlation(off, 3) > 0.5
    assert abs(neighbours_correlation(off, 1)) < 0.05  # not with other channels


@pytest.mark.slow
def test_of_noisy_crops_alone_the_errors_are_blurred(sounds, monkeypatch):
    taken = []

    def recorded(name, error):
        def taking(made, real):
            taken.append((name, tuple(made.shape)))
            return error(made, real)

        return taking

    monkeypatch.setattr(stage, "blurred_error", recorded("blurred", l1_loss))
    monkeypatch.setattr(stage, "picture_error", recorded("plain", l1_loss))
    torch.manual_seed(1)
    task = GrainTask(sounds, new_autoencoder(), 10, CPU)
    mels = torch.from_numpy(sounds.mels[:3, :, :32].astype(np.float32))
    monkeypatch.setattr(task, "_mels", lambda _: (mels, [False, True, False]))
    task.advance(0)
    assert taken == [(name, (1, 3, 256, 32)) for name in ("plain", "blurred", "plain")]


@pytest.mark.slow
def test_the_decoder_reads_latents_that_are_off_by_the_step(sounds, monkeypatch):
    seeds = []

    def put(latents, generator):
        seeds.append(generator.initial_seed())
        return latents

    monkeypatch.setattr(stage, "put_off", put)
    monkeypatch.setattr(stage, "CROPS", 1)
    monkeypatch.setattr(stage, "CROP_FRAMES", 32)
    for _ in range(2):
        task = GrainTask(sounds, new_autoencoder(), 10, CPU)
        for step in (0, 1):
            task.advance(step)
    assert seeds[:2] == seeds[2:]
    assert seeds[0] != seeds[1]


@pytest.mark.slow
def test_a_step_teaches_the_decoder_and_leaves_the_encoder(sounds, monkeypatch):
    monkeypatch.setattr(stage, "CROPS", 2)
    torch.manual_seed(1)
    vae = new_autoencoder()
    task = GrainTask(sounds, vae, 2, CPU)
    assert all(loss.isfinite() for loss in task.advance(0).values())
    for name in ("vae", "mean"):
        taught = task.modules[name]
        for part in ("encoder", "quant_conv"):
            assert not changed(getattr(vae, part), getattr(taught, part)), (name, part)
        for part in ("decoder", "post_quant_conv"):
            assert changed(getattr(vae, part), getattr(taught, part)), (name, part)


def changed(before: torch.nn.Module, after: torch.nn.Module) -> bool:
    return any(not torch.equal(old, new) for old, new in zip(before.parameters(), after.parameters(), strict=True))


def marked(noisy: list[bool]) -> GrainTask:
    """20 steps on clips whose mels hold their number in the lowest bin and that of the frame in the others."""
    mels = np.broadcast_to(np.arange(256, dtype=np.float16), (4, 256, 256)).copy()
    mels[:, 0] = np.arange(4)[:, None]
    silence = np.zeros((4, 40960), np.int16)
    return GrainTask(Sounds(silence, mels, silence, np.array(noisy)), new_autoencoder(), 20, CPU)


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [
        ([False, True, False, True], [False, True, False, True]),
        ([True] * 4, [True] * 4),
        ([False] * 4, [False] * 4),
    ],
    ids=["mixed", "all noisy", "all clear"],
)
def test_every_second_crop_is_noisy_where_there_is_a_choice(noisy, expected):
    task = marked(noisy)
    drawn = [task._mels(step) for step in range(20)]
    for crops, told in drawn:
        assert told == expected[: len(crops)]
        assert [noisy[int(crop[0, 0])] for crop in crops] == told
    assert len({int(crop[0, 0]) for crops, _ in drawn for crop in crops}) == 4


def test_crops_are_of_whole_columns_and_then_whole_clips():
    task = marked([False, True, False, True])
    drawn = [task._mels(step)[0] for step in range(20)]
    assert {crops.shape for crops in drawn[:12]} == {(4, 256, 128)}
    assert {crops.shape for crops in drawn[12:]} == {(2, 256, 256)}
    starts = {int(start) for crops in drawn[:12] for start in crops[:, 1, 0]}
    assert {start % 8 for start in starts} == {0}
    assert len(starts) > 8
    assert all((crops[:, 1:].diff(dim=2) == 1).all() for crops in drawn)
    assert torch.equal(task._mels(3)[0], drawn[3])
