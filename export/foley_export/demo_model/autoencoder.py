"""Stage 1: the pixel VAE, Stable Diffusion's class, from pictures of mel spectrograms to 4 latents an 8×8 patch."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss

from foley_export.demo_model.corpus import FRAMES, Sounds
from foley_export.demo_model.device import send
from foley_export.demo_model.mel import to_picture
from foley_export.demo_model.training import adamw, average, descend, train

SEED: Final = 11
CROP_FRAMES: Final = 64
CROPS: Final = 8
WHOLE_FROM: Final = 0.7
"""From this share of the steps on, whole clips: normalisation and attention see what they will see."""
KL_WEIGHT: Final = 1e-3

CONFIG: Final[dict[str, Any]] = {
    "in_channels": 3,
    "out_channels": 3,
    "latent_channels": 4,
    "block_out_channels": [16, 24, 48, 64],
    "layers_per_block": 1,
    "norm_num_groups": 8,
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "sample_size": FRAMES,
}


class AutoencoderTask:
    """Training of the VAE on crops, then on whole clips: absolute errors at three scales and a little divergence."""

    name = "autoencoder"

    def __init__(self, sounds: Sounds, steps: int, device: torch.device) -> None:
        torch.manual_seed(SEED)
        self.sounds, self.steps, self.device = sounds, steps, device
        vae, mean = new_autoencoder(), new_autoencoder()
        mean.load_state_dict(vae.state_dict())
        self.modules = nn.ModuleDict({"vae": vae, "mean": mean}).to(device)
        self.optimisers = [adamw(vae, 1e-3)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        generator = torch.Generator().manual_seed(SEED * 1_000_003 + step)
        vae: Any = self.modules["vae"]
        picture = to_picture(send(self._mels(step), self.device)).contiguous(memory_format=torch.channels_last)
        latents = vae.encode(picture).latent_dist
        noise = send(torch.randn(latents.mean.shape, generator=generator), self.device)
        error = picture_error(vae.decode(latents.mean + latents.std * noise).sample, picture)
        divergence = latents.kl().mean() / latents.mean[0].numel()
        loss = error + KL_WEIGHT * divergence
        descend(loss, vae, *self.optimisers)
        average(self.modules["mean"], vae, step)
        return {"error": error.detach(), "divergence": divergence.detach()}

    def _mels(self, step: int) -> Tensor:
        """Draw log-mels [B,256,T]: eight crops of 0.64 s, or two whole clips."""
        rng = np.random.default_rng([SEED, step])
        whole = step >= WHOLE_FROM * self.steps
        width, count = (FRAMES, CROPS * CROP_FRAMES // FRAMES) if whole else (CROP_FRAMES, CROPS)
        clips = rng.integers(len(self.sounds.mels), size=count)
        starts = rng.integers(FRAMES - width + 1, size=count)
        crops = [self.sounds.mels[clip][:, start : start + width] for clip, start in zip(clips, starts, strict=True)]
        return torch.from_numpy(np.stack(crops).astype(np.float32))


def new_autoencoder() -> nn.Module:
    """Give the VAE with random weights, in the memory layout that CPUs train fastest."""
    vae: nn.Module = AutoencoderKL.from_config(CONFIG)
    return vae.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def picture_error(got: Tensor, expected: Tensor) -> Tensor:
    """Give the mean absolute error of pictures [B,3,H,W], at full size, a half and a quarter."""
    scales = [l1_loss(got, expected)]
    for _ in range(2):
        got, expected = avg_pool2d(got, 2), avg_pool2d(expected, 2)
        scales.append(l1_loss(got, expected))
    return torch.stack(scales).sum()


def train_autoencoder(sounds: Sounds, folder: Path, steps: int, device: torch.device) -> nn.Module:
    """Train or resume on a device, and give the averaged VAE on the CPU."""
    task = AutoencoderTask(sounds, steps, device)
    train(task, folder)
    return task.modules["mean"].cpu().eval()
