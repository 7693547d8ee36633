"""What a vocoder reads beyond the ends of a clip, and what moving its convolutions leaves as it was."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from torch.nn.functional import conv1d, leaky_relu

from foley_export.demo_model import ends
from foley_export.demo_model.ends import read_silence_beyond
from foley_export.demo_model.vocoding import CONFIG, plain
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config

SILENCE = torch.full((1, 256, 48), LOG_MEL_MIN)


@pytest.fixture(scope="module")
def mels(sounds):
    return torch.from_numpy(sounds.mels.astype(np.float32))


@pytest.fixture(scope="module")
def generators(mels):
    """A generator with random weights, before and after."""
    torch.manual_seed(0)
    before = plain(Generator(vocoder_config(CONFIG)))
    after = deepcopy(before)
    read_silence_beyond(after, mels)
    return before, after


def first_stage(generator, mels):
    with torch.no_grad():
        return generator.resblocks[0](generator.ups[0](leaky_relu(generator.conv_pre(mels), SLOPE)))


def off(got, expected):
    return float((got - expected).square().mean())


def test_silence_has_the_same_first_and_last_frames_as_inner_ones(generators):
    before, after = (first_stage(generator, SILENCE) for generator in generators)
    inner = before[:, :, 24:25]
    assert off(before[:, :, :1], inner) > 1e-3
    assert off(before[:, :, -1:], inner) > 1e-3
    torch.testing.assert_close(after, inner.expand_as(after), rtol=0, atol=1e-4)


def test_a_clip_that_ends_in_silence_ends_as_one_that_silence_surrounds(generators, mels):
    clip = mels[:1].clone()
    clip[:, :, :20] = clip[:, :, -20:] = LOG_MEL_MIN  # more than the 15 frames that a frame is made of, up and down
    for generator, same in zip(generators, (False, True), strict=True):
        surrounded = first_stage(generator, torch.cat([SILENCE, clip, SILENCE], 2))[:, :, 48:-48]
        assert torch.allclose(first_stage(generator, clip), surrounded, rtol=0, atol=1e-4) is same


def test_reading_changes_little_and_less_than_by_a_plain_shift(generators, mels):
    before, after = generators
    shifted = deepcopy(before.conv_pre)
    outer = [0, 1, 2, 4, 5, 6]
    with torch.no_grad():
        removed = shifted.weight[:, :, outer].mean(1, keepdim=True)
        shifted.weight[:, :, outer] -= removed
        shifted.bias += LOG_MEL_MIN * len(mels[0]) * removed.sum((1, 2))
        true, moved, naive = (layer(mels)[:, :, 3:-3] for layer in (before.conv_pre, after.conv_pre, shifted))
    assert off(moved, true) < 0.02 * float(true.var())
    assert off(moved, true) < 0.9 * off(naive, true)
    whole, again = (first_stage(generator, mels)[:, :, 10:-10] for generator in generators)
    assert off(again, whole) < 0.05 * float(whole.var())


def test_a_dilated_layer_changes_as_little_as_it_can(monkeypatch):
    monkeypatch.setattr(ends, "EVERY_FRAME", 1)
    monkeypatch.setattr(ends, "LEAST_VARIANCE", 1e-9)
    torch.manual_seed(0)
    layer = torch.nn.Conv1d(4, 4, 3, dilation=5, padding=5)
    heard, silence = torch.randn(2, 4, 60).cumsum(2).double(), torch.randn(4).double()
    beyond = silence[:, None].expand(2, 4, 5)
    surrounded = torch.cat([beyond, heard, beyond], 2)
    other = torch.randn(4, 4, 3).double()  # a change after which silence still reads as nothing …
    other[:, :, ::2] -= torch.einsum("oct,c,d->odt", other[:, :, ::2], silence, silence) / silence.square().sum()

    def made(share=0.0):
        bias = layer.bias.double() - share * other.sum(2) @ silence
        return conv1d(surrounded, layer.weight.double() + share * other, bias, dilation=5)

    with torch.no_grad():
        true = made()
        ends._move(layer, heard, silence.view(1, 4, 1))
        least = off(made(), true)
        assert all(off(made(share), true) > least for share in (-1e-3, 1e-3))  # … and sounds less as they did
