"""Torch modules in the shape of the graph contracts: what is traced is what `foley.contract` promises.

Every wrapper takes and gives float32 (or int64) and computes in float32; half precision is given to the traced graph
(`foley_export.precision`), whose inputs and outputs stay as they are here.
"""

from typing import Final

import torch
from torch import Tensor, nn

LOG_MEL_MAX: Final = 5.298317366548036  # ln 200, natural log of mel magnitude
LOG_MEL_MIN: Final = -11.512925464970229  # ln 1e-5


class DenoiseStep(nn.Module):
    """One step of any sampler with any guidance: rows of the U-Net, mixed, then a small matrix over the state."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        state: Tensor,
        step_matrix: Tensor,
        timestep: Tensor,
        noise: Tensor,
        row_slot: Tensor,
        row_mix: Tensor,
        context: Tensor,
        known: Tensor,
        known_mix: Tensor,
        repaint: Tensor,
    ) -> Tensor:
        """Advance every clip by one step.

        Shapes are those of `foley.contract`: state [S,K,C,H,W] → next state [S,K,C,H,W], float32.
        """
        rows = state[:, 0].index_select(0, row_slot)
        output = self.unet(rows, timestep.index_select(0, row_slot), context).sample
        guided = (row_mix @ output.flatten(1)).view_as(noise)
        terms = torch.cat([state, guided[:, None], noise[:, None]], dim=1)
        stepped = (step_matrix @ terms.flatten(2)).view_as(state)
        known_now = (known_mix[:, :, None, None, None] * known).sum(dim=1)
        sample = repaint * stepped[:, 0] + (1.0 - repaint) * known_now
        return torch.cat([sample[:, None], stepped[:, 1:]], dim=1)


class LatentDecoder(nn.Module):
    """Latents to the vocoder's log-mel, as Auffusion reads its VAE's picture.

    The picture's row 0 is the highest mel bin, only its first channel is read, and [0,1] spans ln 1e-5 … ln 200
    (Auffusion, `denormalize_spectrogram`).
    """

    def __init__(self, post_quant_conv: nn.Module | None, decoder: nn.Module, scaling_factor: float) -> None:
        super().__init__()
        self.post_quant_conv = post_quant_conv
        self.decoder = decoder
        self.scaling_factor = scaling_factor

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents [B,C,H,W] to log-mel [B,M,T], M = 8·H and T = 8·W, natural logarithm."""
        scaled = latents / self.scaling_factor
        if self.post_quant_conv is not None:
            scaled = self.post_quant_conv(scaled)
        picture: Tensor = self.decoder(scaled)[:, 0]
        unit = (picture / 2 + 0.5).clamp(0, 1).flip(1)
        return unit * (LOG_MEL_MAX - LOG_MEL_MIN) + LOG_MEL_MIN


class Vocoder(nn.Module):
    """Log-mel to waveform."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, mel: Tensor) -> Tensor:
        """Vocode log-mel [B,M,T] to a waveform [B,N] in [-1,1]."""
        waveform: Tensor = self.generator(mel)
        return waveform.squeeze(1)


class PaddedContext(nn.Module):
    """Token ids to the conditioning that the U-Net attends to, every position encoded (Stable Diffusion's recipe)."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, input_ids: Tensor) -> Tensor:
        """Encode ids [B,L] to context [B,L,D] float32."""
        hidden: Tensor = self.encoder(input_ids, None)
        return hidden


class AdaptedContext(nn.Module):
    """Token ids to conditioning by Auffusion's recipe: encode the tokens alone, pad with zeros, then adapt.

    The reference encodes each prompt without padding and pads its hidden states with zero rows before the adapter, so
    that the rows behind the prompt are the adapter's image of zero, not zero.
    """

    def __init__(self, encoder: nn.Module, adapter: nn.Module, context_length: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.adapter = adapter
        self.context_length = context_length

    def forward(self, input_ids: Tensor, token_mask: Tensor) -> Tensor:
        """Encode ids [B,L] with mask [B,L] to context [B,`context_length`,D] float32."""
        hidden = self.encoder(input_ids, token_mask)
        kept = (hidden * token_mask[:, :, None])[:, : self.context_length]
        adapted: Tensor = self.adapter(kept)
        return adapted
