"""HiFi-GAN's generator as its authors train it, weight norm in place (Kong et al. 2020; Auffusion's `Generator`)."""

import json
import warnings
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.functional import leaky_relu
from torch.nn.utils import remove_weight_norm, weight_norm

Module = TypeVar("Module", bound=nn.Module)


def load_vocoder(folder: Path) -> "ReferenceVocoder":
    """Read `config.json` and `vocoder.pt` as they are stored, then take the weight norm off as the authors do."""
    vocoder = ReferenceVocoder(json.loads((folder / "config.json").read_text(encoding="utf-8")))
    vocoder.load_state_dict(torch.load(folder / "vocoder.pt", map_location="cpu", weights_only=True)["generator"])
    for module in vocoder.modules():
        if hasattr(module, "weight_g"):
            remove_weight_norm(module)
    return vocoder.eval()


class ReferenceVocoder(nn.Module):
    """Log-mel [B,M,T] to a waveform [B,T·hop]."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        channels, kernels = config["upsample_initial_channel"], config["resblock_kernel_sizes"]
        self.branches = len(kernels)
        self.conv_pre = _normed(nn.Conv1d(config["num_mels"], channels, 7, padding=3))
        self.ups, self.resblocks = nn.ModuleList(), nn.ModuleList()
        for rate, size in zip(config["upsample_rates"], config["upsample_kernel_sizes"], strict=True):
            up = nn.ConvTranspose1d(channels, channels // 2, size, rate, padding=(size - rate) // 2)
            self.ups.append(_normed(up))
            channels //= 2
            for kernel, dilations in zip(kernels, config["resblock_dilation_sizes"], strict=True):
                self.resblocks.append(_Branch(channels, kernel, dilations))
        self.conv_post = _normed(nn.Conv1d(channels, 1, 7, padding=3))

    def forward(self, mel: Tensor) -> Tensor:
        """Up-sample stage by stage, each the mean of its branches; the last slope is PyTorch's 0.01, not 0.1."""
        x = self.conv_pre(mel)
        for stage, up in enumerate(self.ups):
            x = up(leaky_relu(x, 0.1))
            heard = [self.resblocks[stage * self.branches + branch](x) for branch in range(self.branches)]
            x = torch.stack(heard).sum(0) / self.branches
        waveform: Tensor = torch.tanh(self.conv_post(leaky_relu(x)))
        return waveform[:, 0]


class _Branch(nn.Module):
    def __init__(self, channels: int, kernel: int, dilations: list[int]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(_same(channels, kernel, dilation) for dilation in dilations)
        self.convs2 = nn.ModuleList(_same(channels, kernel, 1) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        for first, second in zip(self.convs1, self.convs2, strict=True):
            x = second(leaky_relu(first(leaky_relu(x, 0.1)), 0.1)) + x
        return x


def _same(channels: int, kernel: int, dilation: int) -> nn.Conv1d:
    return _normed(nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2))


def _normed(module: Module) -> Module:
    """Put on the weight norm whose tensors are `weight_g` and `weight_v`; torch's newer one has other names."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
        normed: Module = weight_norm(module)
    return normed
