"""Grain is what changes in time; a step teaches the decoder only; crops come from any corpus."""

import numpy as np
import pytest
import torch

from foley_export.demo_model import grain as stage
from foley_export.demo_model.autoencoder import new_autoencoder
from foley_export.demo_model.corpus import Sounds
from foley_export.demo_model.grain import GrainTask, Judge, blurred_error, grain

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


def test_a_judge_sees_patches_of_30_pixels():
    picture = noise(1, 3, 64, 64).requires_grad_()
    judged = Judge()(picture)[-1]
    assert judged.shape == (1, 1, 8, 8)
    torch.autograd.backward(judged[0, 0, 4, 4])
    rows = picture.grad[0, 0].abs().sum(1).nonzero()
    assert rows.max() - rows.min() + 1 <= 38
    assert not picture.grad[0, 1:].any()


@pytest.mark.slow
def test_a_step_teaches_the_decoder_and_leaves_the_encoder(sounds, monkeypatch):
    monkeypatch.setattr(stage, "CROPS", 2)
    torch.manual_seed(1)
    vae = new_autoencoder()
    task = GrainTask(sounds, vae, 2)
    assert all(np.isfinite(loss) for loss in task.advance(0).values())
    for name in ("vae", "mean"):
        taught = task.modules[name]
        for part in ("encoder", "quant_conv"):
            assert not changed(getattr(vae, part), getattr(taught, part)), (name, part)
        for part in ("decoder", "post_quant_conv"):
            assert changed(getattr(vae, part), getattr(taught, part)), (name, part)


def changed(before: torch.nn.Module, after: torch.nn.Module) -> bool:
    return any(not torch.equal(old, new) for old, new in zip(before.parameters(), after.parameters(), strict=True))


@pytest.mark.parametrize(
    ("noisy", "expected"),
    [
        ([False, True, False, True], [False, True, True] * 2),
        ([True] * 4, [True] * 6),
        ([False] * 4, [False] * 6),
    ],
    ids=["mixed", "all noisy", "all clear"],
)
def test_two_crops_in_three_are_noisy_where_there_is_a_choice(noisy, expected):
    mels = np.broadcast_to(np.arange(4, dtype=np.float16)[:, None, None], (4, 256, 256))
    silence = np.zeros((4, 40960), np.int16)
    task = GrainTask(Sounds(silence, mels, silence, np.array(noisy)), new_autoencoder(), 1)
    drawn = [task._mels(step) for step in range(8)]
    assert {crops.shape for crops in drawn} == {(6, 256, 64)}
    assert all([noisy[int(crop[0, 0])] for crop in crops] == expected for crops in drawn)
    assert len({int(crop[0, 0]) for crops in drawn for crop in crops}) == 4
