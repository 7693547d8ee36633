"""A part of the vocoder's first stage by itself: what reads some of its channels from mels, and learns to."""

from dataclasses import dataclass
from typing import Final, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, leaky_relu, pad

from foley_export.demo_model.harmonics import UNIT
from foley_export.demo_model.mel import MEL_BINS
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, ResBlock

LEAST_VARIANCE: Final = 0.01
"""Added to those of mels along their axes, of which the least is 5e-5 and the largest 68."""


@dataclass(frozen=True)
class Place:
    """Channels of a generator's first stage; weights between them and other ones are 0."""

    first: slice
    """That the first convolution makes."""
    inner: slice
    """Between the two convolutions of each residual layer."""
    out: slice
    """That the stage makes."""


class Reader(nn.Module):
    """The first convolution, the first stage's and its residual layers, between the channels of a place.

    It reads mels from silence at 0 up to about 3 (`UNIT`): in raw ones, silence drowns the rest. Once it is told what
    mels are like (`whiten`), it reads them decorrelated, which lets it learn faster.
    """

    centre: Tensor
    """[1,256,1], in units."""
    basis: Tensor
    """[256,256]."""

    def __init__(self, generator: Generator, place: Place) -> None:
        """Copy a place's weights from a generator that reads `UNIT`s."""
        super().__init__()
        self.place = place
        self.convolutions = nn.ModuleList(map(_convolution, *zip(*_spots(generator, place), strict=True)))
        self.register_buffer("centre", torch.zeros(1, MEL_BINS, 1))
        self.register_buffer("basis", torch.eye(MEL_BINS))

    @property
    def first(self) -> nn.Conv1d:
        """The convolution that reads the mel."""
        return cast("nn.Conv1d", self.convolutions[0])

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel [B,256,T] to channels [B,n,T]; beyond the edges it reads a log-mel of 0, as the generator."""
        margin = self.first.kernel_size[0] // 2
        unit = (pad(mel, (margin, margin)) - LOG_MEL_MIN) / UNIT - self.centre
        x = conv1d(torch.einsum("ij,bjt->bit", self.basis, unit), self.first.weight, self.first.bias)
        x = self.convolutions[1](leaky_relu(x, SLOPE))
        for dilated, plain in zip(self.convolutions[2::2], self.convolutions[3::2], strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, SLOPE)), SLOPE))
        return cast("Tensor", x)

    def whiten(self, mels: Tensor) -> None:
        """Read mels in the basis in which those given, log-mels [N,256,T], are uncorrelated; once, making the same."""
        units = ((mels - LOG_MEL_MIN) / UNIT).transpose(0, 1).flatten(1).double()
        variance, axes = torch.linalg.eigh(torch.cov(units))
        scale = (variance + LEAST_VARIANCE).rsqrt()
        centre, back = units.mean(1).float(), ((axes / scale) @ axes.T).float()
        weight = self.first.weight
        with torch.no_grad():
            cast("Tensor", self.first.bias).add_(torch.einsum("oik,i->o", weight, centre))
            weight.copy_(torch.einsum("oik,ij->ojk", weight, back))
            self.centre.copy_(centre[None, :, None])
            self.basis.copy_((axes * scale) @ axes.T)

    def write(self, generator: Generator) -> None:
        """Write the weights into their place of a generator that reads `UNIT`s."""
        spots = _spots(generator, self.place)
        with torch.no_grad():
            for (weight, bias, _), convolution in zip(spots, self.convolutions, strict=True):
                weight.copy_(cast("Tensor", convolution.weight))
                bias.copy_(cast("Tensor", convolution.bias))
            plain = torch.einsum("ojk,ji->oik", self.first.weight, self.basis)
            spots[0][0].copy_(plain)
            spots[0][1].sub_(torch.einsum("oik,i->o", plain, self.centre[0, :, 0]))


def _spots(generator: Generator, place: Place) -> list[tuple[Tensor, Tensor, int]]:
    """Give views of a place's weights [out,in,k] and biases [out], and the dilations, in the order of their use."""
    stage, block = cast("nn.ConvTranspose1d", generator.ups[0]), cast("ResBlock", generator.resblocks[0])
    first, inner, out = place.first, place.inner, place.out
    spots = [
        (generator.conv_pre.weight[first], cast("Tensor", generator.conv_pre.bias)[first], 1),
        (stage.weight[first, out].transpose(0, 1), cast("Tensor", stage.bias)[out], 1),
    ]
    for dilated, plain in zip(block.convs1, block.convs2, strict=True):
        for layer, (made, read) in ((dilated, (inner, out)), (plain, (out, inner))):
            weight, bias = cast("Tensor", layer.weight), cast("Tensor", layer.bias)
            spots += [(weight[made, read], bias[made], int(cast("nn.Conv1d", layer).dilation[0]))]
    return spots


def _convolution(weight: Tensor, bias: Tensor, dilation: int) -> nn.Conv1d:
    """Give a convolution with copies of a weight and a bias, whose length is that of its input."""
    out, channels, kernel = weight.shape
    made = nn.Conv1d(channels, out, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
    with torch.no_grad():
        made.weight.copy_(weight)
        cast("Tensor", made.bias).copy_(bias)
    return made
