"""Graph plans that systems of the Stable Diffusion kind share: the denoising step, the picture decoder, the vocoder."""

from collections.abc import Callable
from functools import partial
from typing import Final

import torch
from torch import Tensor, nn

from foley import contract
from foley.manifest import LatentSpace
from foley_export.graphs import LOG_MEL_MAX, LOG_MEL_MIN, DenoiseStep
from foley_export.model import GraphPlan
from foley_export.vocoder import VocoderConfig

GOLDEN_SEED: Final = 20240103
CALIBRATION_SEED: Final = 20240617
CALIBRATION_TIMESTEPS: Final = ((999.0, 750.0), (500.0, 250.0), (1.0, 999.0))
"""Of the two clips of each step that is measured. Samples have unit variance at every timestep in the scale that the
U-Net reads, so noise stands for the trajectory between them."""


def denoise_plan(load_unet: Callable[[], nn.Module], latents: LatentSpace, length: int, width: int) -> GraphPlan:
    """Plan the denoising step of a U-Net that attends to one context [R,`length`,`width`]."""
    clips, columns = ("S", contract.STATE_SLOTS), f"{latents.column_multiple}*n"
    channels, bins = latents.channels, latents.bins
    return GraphPlan(
        name=contract.DENOISE_STEP,
        build=lambda: DenoiseStep(load_unet()),
        inputs={
            contract.STATE: (*clips, channels, bins, columns),
            contract.STEP_MATRIX: (*clips, contract.STATE_SLOTS + 2),
            contract.TIMESTEP: ("S",),
            contract.NOISE: ("S", channels, bins, columns),
            contract.ROW_SLOT: ("R",),
            contract.ROW_MIX: ("S", "R"),
            contract.CONTEXT: ("R", length, width),
            contract.KNOWN: ("S", 2, channels, bins, columns),
            contract.KNOWN_MIX: ("S", 2),
            contract.REPAINT: ("S", 1, bins, columns),
        },
        outputs={contract.NEXT_STATE: (*clips, channels, bins, columns)},
        example=partial(_example_step, latents, length, width),
        calibration=lambda: [_calibration_step(latents, length, width, pair) for pair in CALIBRATION_TIMESTEPS],
        lora_prefixes={"unet.": "unet."},
    )


def decoder_plan(load_decoder: Callable[[], nn.Module], latents: LatentSpace) -> GraphPlan:
    """Plan a decoder of latents [B,C,bins,W] to log-mel [B,bins·factor,W·factor]."""
    factor = latents.frames_per_column
    shape = (2, latents.channels, latents.bins, latents.column_multiple)
    return GraphPlan(
        name=contract.LATENT_DECODER,
        build=load_decoder,
        inputs={contract.LATENTS: ("B", latents.channels, latents.bins, "W")},
        outputs={contract.MEL: ("B", latents.bins * factor, f"{factor}*W")},
        example=lambda: {contract.LATENTS: _normal(*shape)},
        calibration=lambda: [{contract.LATENTS: _normal(*shape, seed=CALIBRATION_SEED)}],
    )


def vocoder_plan(load_vocoder: Callable[[], nn.Module], config: VocoderConfig) -> GraphPlan:
    """Plan a vocoder of log-mel [B,M,T] to a waveform [B,T·hop]."""
    return GraphPlan(
        name=contract.VOCODER,
        build=load_vocoder,
        inputs={contract.MEL: ("B", config.mel_bins, "T")},
        outputs={contract.WAVEFORM: ("B", f"{config.hop_samples}*T")},
        example=lambda: {contract.MEL: _normal(2, config.mel_bins, 40) * 2 - 4},  # the range of a log-mel
        calibration=lambda: [{contract.MEL: _any_mel(2, config.mel_bins, 40)}],
    )


def example_ids(pad_id: int, length: int) -> tuple[Tensor, Tensor]:
    """Give ids int64 [2,length] of two prompts, one nearly full, and their mask float32.

    Low ids are words in every vocabulary.
    """
    ids = torch.full((2, length), pad_id, dtype=torch.int64)
    mask = torch.zeros(2, length)
    for row, count in enumerate((9, length - 3)):
        ids[row, :count] = torch.arange(count) % 90 + 5
        mask[row, :count] = 1.0
    return ids, mask


def _example_step(latents: LatentSpace, length: int, width: int) -> dict[str, Tensor]:
    """Give a step of two clips over three rows in which every input takes part."""
    S, R, K, shape = 2, 3, contract.STATE_SLOTS, latents.shape(2 * latents.column_multiple)
    generator = torch.Generator().manual_seed(GOLDEN_SEED)
    return {
        contract.STATE: _normal(S, K, *shape),
        contract.STEP_MATRIX: torch.randn(S, K, K + 2, generator=generator),
        contract.TIMESTEP: torch.tensor([981.0, 7.0]),
        contract.NOISE: torch.randn(S, *shape, generator=generator),
        contract.ROW_SLOT: torch.tensor([0, 0, 1]),
        contract.ROW_MIX: torch.tensor([[-6.5, 7.5, 0.0], [0.0, 0.0, 1.0]]),
        contract.CONTEXT: torch.randn(R, length, width, generator=generator),
        contract.KNOWN: torch.randn(S, 2, *shape, generator=generator),
        contract.KNOWN_MIX: torch.rand(S, 2, generator=generator),
        contract.REPAINT: torch.rand(S, 1, *shape[1:], generator=generator),
    }


def _calibration_step(
    latents: LatentSpace, length: int, width: int, timesteps: tuple[float, float]
) -> dict[str, Tensor]:
    """Give another step of the example's sizes, at other timesteps."""
    shape = latents.shape(2 * latents.column_multiple)
    state = _normal(2, contract.STATE_SLOTS, *shape, seed=CALIBRATION_SEED + int(timesteps[0]))
    step = {contract.STATE: state, contract.TIMESTEP: torch.tensor(timesteps)}
    return {**_example_step(latents, length, width), **step}


def _any_mel(*shape: int) -> Tensor:
    """Give a log-mel [B,M,T] of which any value is as likely as any other."""
    generator = torch.Generator().manual_seed(CALIBRATION_SEED)
    return torch.rand(*shape, generator=generator) * (LOG_MEL_MAX - LOG_MEL_MIN) + LOG_MEL_MIN


def _normal(*shape: int, seed: int = GOLDEN_SEED) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
