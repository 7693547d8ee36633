"""How the vocoder's clips end: beyond them, it is to read silence.

Convolutions pad with zeros. A log-mel of 0 is loud, silence is -11.5: every clip began and ended in a buzz, at -51 and
-59 dB of full scale, in which a quiet sound had no end. So the weights of the first stage's convolutions change,
and what they make as little as can be, until their outer taps make nothing of silence, as of zeros.
"""

from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu, pad

from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, ResBlock

LEAST_VARIANCE: Final = 0.01
"""Added to the variances of what a convolution reads, as a share of their mean: no change is to be free."""
EVERY_FRAME: Final = 7
"""Of those that are read, one in so many counts: neighbours are alike."""


def read_silence_beyond(generator: Generator, mels: Tensor) -> None:
    """Let a generator that reads raw log-mels read silence beyond the ends of a clip.

    What it makes of mels such as those given, [N,256,T], changes as little as can be, by least squares of what each
    layer makes; what it makes of silence stays. Its first stage is taken to have one residual block and one tap.
    """
    block, stage = cast("ResBlock", generator.resblocks[0]), generator.ups[0]
    silence = torch.full((1, mels.shape[1], 1), LOG_MEL_MIN)
    with torch.no_grad():
        _move(generator.conv_pre, mels, silence)
        mels, silence = (stage(leaky_relu(generator.conv_pre(x), SLOPE)) for x in (mels, silence))
        for dilated, plain in zip(block.convs1, block.convs2, strict=True):
            read = [leaky_relu(x, SLOPE) for x in (mels, silence)]
            _move(cast("nn.Conv1d", dilated), *read)
            read = [leaky_relu(dilated(x), SLOPE) for x in read]
            _move(cast("nn.Conv1d", plain), *read)
            mels, silence = (x + plain(y) for x, y in zip((mels, silence), read, strict=True))


def _move(layer: nn.Conv1d, heard: Tensor, silent: Tensor) -> None:
    """Move a layer that reads the one [N,C,T] of mels and the other [1,C,1] of silence."""
    silence = silent[0, :, 0].double()
    taps, (margin,), (step,) = layer.kernel_size[0], cast("tuple[int]", layer.padding), layer.dilation
    loud = pad(heard.double() - silence[:, None], (margin, margin))
    frames = torch.arange(0, heard.shape[2], EVERY_FRAME)
    windows = torch.stack([loud[:, :, frames + step * tap] for tap in range(taps)], 1)  # [N,taps,C,frames]
    flat = windows.permute(0, 3, 1, 2).flatten(0, 1).flatten(1)  # [N·frames, taps·C]
    moments = flat.T @ flat / len(flat)
    moments += LEAST_VARIANCE * moments.diagonal().mean() * torch.eye(len(moments), dtype=torch.float64)
    outer = [tap for tap in range(taps) if tap != taps // 2]
    asked = torch.zeros(taps, len(silence), len(outer), dtype=torch.float64)
    asked[outer, :, range(len(outer))] = silence
    asked = asked.flatten(0, 1)  # [taps·C, taps-1]: what has to make nothing
    way = torch.linalg.solve(moments, asked)
    weight = layer.weight.double().transpose(1, 2).flatten(1)  # [out, taps·C]
    change = -(weight @ asked) @ torch.linalg.solve(asked.T @ way, way.T)
    change = change.unflatten(1, (taps, -1))
    layer.weight.add_(change.transpose(1, 2))
    cast("Tensor", layer.bias).sub_(change.sum(1) @ silence)
