"""HiFi-GAN's generator, as Auffusion and most text-to-audio systems ship it (Kong et al. 2020, V1's ResBlock1)."""

from dataclasses import dataclass
from math import prod
from typing import Any, Final

from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from foley.errors import CheckpointError

SLOPE: Final = 0.1
LAST_SLOPE: Final = 0.01
"""The reference calls leaky_relu without a slope before its last convolution: PyTorch's default."""


@dataclass(frozen=True)
class VocoderConfig:
    """The keys of `vocoder/config.json` that shape the network."""

    mel_bins: int
    initial_channels: int
    rates: tuple[int, ...]
    """Up-sampling factor of each stage; their product is the hop in samples."""
    rate_kernels: tuple[int, ...]
    block_kernels: tuple[int, ...]
    block_dilations: tuple[tuple[int, ...], ...]
    sample_rate_hz: int
    hop_samples: int


def vocoder_config(config: dict[str, Any]) -> VocoderConfig:
    """Read the config, whatever other keys it has.

    Raises:
        CheckpointError: a key is missing or no number, the rates do not make the hop, or the residual block is not
            of type 1.
    """
    if str(config.get("resblock", "1")) != "1":
        raise CheckpointError(f"vocoder/config.json has resblock {config['resblock']!r}, only '1' is known")
    try:
        read = VocoderConfig(
            mel_bins=int(config["num_mels"]),
            initial_channels=int(config["upsample_initial_channel"]),
            rates=tuple(config["upsample_rates"]),
            rate_kernels=tuple(config["upsample_kernel_sizes"]),
            block_kernels=tuple(config["resblock_kernel_sizes"]),
            block_dilations=tuple(map(tuple, config["resblock_dilation_sizes"])),
            sample_rate_hz=int(config["sampling_rate"]),
            hop_samples=int(config["hop_size"]),
        )
    except KeyError as error:
        raise CheckpointError(f"vocoder/config.json lacks the key {error}") from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"vocoder/config.json: {error}") from error
    if prod(read.rates) != read.hop_samples:
        raise CheckpointError(
            f"vocoder/config.json has hop_size {read.hop_samples}, but its upsample_rates make {prod(read.rates)}"
        )
    return read


class ResBlock(nn.Module):
    """Dilated convolutions, each followed by a plain one, around a residual."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...]) -> None:
        super().__init__()
        self.convs1 = nn.ModuleList(
            nn.Conv1d(channels, channels, kernel, dilation=dilation, padding=(kernel - 1) * dilation // 2)
            for dilation in dilations
        )
        self.convs2 = nn.ModuleList(nn.Conv1d(channels, channels, kernel, padding=(kernel - 1) // 2) for _ in dilations)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B,channels,T] to the same shape."""
        for dilated, plain in zip(self.convs1, self.convs2, strict=True):
            x = x + plain(leaky_relu(dilated(leaky_relu(x, SLOPE)), SLOPE))
        return x


class Generator(nn.Module):
    """Log-mel to waveform by learnt up-sampling; tensor names are the released file's, weight norm multiplied out."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        widths = [config.initial_channels >> stage for stage in range(len(config.rates) + 1)]
        self.conv_pre = nn.Conv1d(config.mel_bins, widths[0], 7, padding=3)
        self.ups = nn.ModuleList(
            _upsampler(width, rate, kernel)
            for width, rate, kernel in zip(widths[:-1], config.rates, config.rate_kernels, strict=True)
        )
        self.resblocks = nn.ModuleList(
            ResBlock(width, kernel, dilations)
            for width in widths[1:]
            for kernel, dilations in zip(config.block_kernels, config.block_dilations, strict=True)
        )
        self.kernels = len(config.block_kernels)
        self.conv_post = nn.Conv1d(widths[-1], 1, 7, padding=3)

    def forward(self, mel: Tensor) -> Tensor:
        """Map log-mel [B,M,T] to a waveform [B,1,T·hop] in [-1,1]."""
        return self.upsample(self.conv_pre(mel))

    def upsample(self, x: Tensor) -> Tensor:
        """Map what the first convolution gives, [B,channels,T], to a waveform [B,1,T·hop]."""
        for stage, up in enumerate(self.ups):
            x = up(leaky_relu(x, SLOPE))
            blocks = self.resblocks[stage * self.kernels : (stage + 1) * self.kernels]
            x = sum(block(x) for block in blocks) / self.kernels
        waveform: Tensor = self.conv_post(leaky_relu(x, LAST_SLOPE))
        return waveform.tanh()


def _upsampler(channels: int, rate: int, kernel: int) -> nn.ConvTranspose1d:
    """Give a stage's transposed convolution, whose output is exactly `rate` times as long."""
    odd = (kernel - rate) % 2
    padding = (kernel - rate) // 2 + odd
    return nn.ConvTranspose1d(channels, channels // 2, kernel, rate, padding=padding, output_padding=odd)
