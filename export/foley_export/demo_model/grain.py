"""Stage 1b: the autoencoder's decoder learns grain; its encoder, and so the latents, stay as they are.

Absolute errors make noise smooth, because its grain cannot be known from latents. A smooth mel is no noise to the
vocoder: frames that are all alike become a tone of 100 Hz. As in Stable Diffusion's autoencoder, a discriminator of
patches (Isola et al. 2017) asks for grain, and the errors are taken of pictures that are blurred where it lies.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, l1_loss, leaky_relu, relu

from foley_export.demo_model.autoencoder import new_autoencoder, picture_error
from foley_export.demo_model.corpus import FRAMES, Sounds
from foley_export.demo_model.mel import to_picture
from foley_export.demo_model.training import adamw, average, descend, train

SEED: Final = 16
CROP_FRAMES: Final = 64
CROPS: Final = 6
ERROR_WEIGHT: Final = 4.0
FEATURE_WEIGHT: Final = 2.0
FOOLED_WEIGHT: Final = 0.15
SPREAD_WEIGHT: Final = 6.0
LIMIT: Final = 1.0


class GrainTask:
    """Training of the decoder against a discriminator of patches."""

    name = "grain"

    def __init__(self, sounds: Sounds, vae: nn.Module, steps: int) -> None:
        torch.manual_seed(SEED)
        self.sounds, self.steps = sounds, steps
        tuned, mean = new_autoencoder(), new_autoencoder()
        tuned.load_state_dict(vae.state_dict())
        mean.load_state_dict(vae.state_dict())
        self.modules = nn.ModuleDict({"vae": tuned, "mean": mean, "judge": Judge()})
        parts: Any = tuned
        self.decoder = nn.ModuleList([parts.decoder, parts.post_quant_conv])
        self.optimisers = [adamw(self.decoder, 2e-4), adamw(self.modules["judge"], 4e-4)]

    def advance(self, step: int) -> dict[str, float]:
        """Make one step; see `Task`."""
        picture = to_picture(self._mels(step)).contiguous(memory_format=torch.channels_last)
        vae: Any = self.modules["vae"]
        with torch.no_grad():
            latents = vae.encode(picture).latent_dist.mean
        made = vae.decode(latents).sample
        judge = self.modules["judge"]
        judged, true = judge(made.detach()), judge(picture)
        told = relu(1 + judged[-1]).mean() + relu(1 - true[-1]).mean()
        descend(told, judge, self.optimisers[1], limit=LIMIT)
        fake = judge(made)
        with torch.no_grad():
            true = judge(picture)
        features = torch.stack([l1_loss(a, b) for a, b in zip(fake[:-1], true[:-1], strict=True)]).mean()
        fooled = relu(1 - fake[-1]).mean()
        error, spread = blurred_error(made, picture), l1_loss(grain(made), grain(picture))
        total = ERROR_WEIGHT * error + FEATURE_WEIGHT * features + FOOLED_WEIGHT * fooled + SPREAD_WEIGHT * spread
        descend(total, self.decoder, self.optimisers[0], limit=LIMIT)
        average(self.modules["mean"], vae, step)
        losses = {"error": error, "judge": told, "fooled": fooled, "features": features, "spread": spread}
        return {name: float(loss.detach()) for name, loss in losses.items()}

    def _mels(self, step: int) -> Tensor:
        """Draw log-mel crops [B,256,64], two in three of clips with noise."""
        rng = np.random.default_rng([SEED, step])
        pools = [pool for pool in map(np.flatnonzero, (~self.sounds.noisy, self.sounds.noisy)) if len(pool)]
        clips = [rng.choice(pools[0] if i % 3 == 0 else pools[-1]) for i in range(CROPS)]
        starts = rng.integers(FRAMES - CROP_FRAMES + 1, size=CROPS)
        crops = [self.sounds.mels[clip][:, at : at + CROP_FRAMES] for clip, at in zip(clips, starts, strict=True)]
        return torch.from_numpy(np.stack(crops).astype(np.float32))


class Judge(nn.Module):
    """Judges patches of 30 × 30 pixels of a picture's first channel."""

    def __init__(self) -> None:
        super().__init__()
        widths = (1, 16, 32, 48)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        self.last = nn.Conv2d(widths[-1], 1, 3, padding=1)

    def forward(self, picture: Tensor) -> list[Tensor]:
        """Give the features of every layer for pictures [B,3,H,W], and last the judgement of each patch."""
        x, seen = picture[:, :1], []
        for layer in self.layers:
            x = leaky_relu(layer(x), 0.2)
            seen.append(x)
        return [*seen, self.last(x)]


def blurred_error(made: Tensor, real: Tensor) -> Tensor:
    """Give the absolute errors of pictures at a half, a quarter and an eighth of their size, and a little at full."""
    half = picture_error(avg_pool2d(made, 2), avg_pool2d(real, 2))
    return half + 0.2 * l1_loss(made, real)


def grain(picture: Tensor) -> Tensor:
    """Give how far pixels of [B,3,H,W] typically lie from their neighbours in time, by 8×8 patches.

    In time only: grain that stands still would be a chord, not noise.
    """
    first = picture[:, :1]
    near = avg_pool2d(first, (1, 3), stride=1, padding=(0, 1), count_include_pad=False)
    return (avg_pool2d((first - near).square(), 8) + 1e-6).sqrt()


def train_grain(sounds: Sounds, vae: nn.Module, folder: Path, steps: int) -> nn.Module:
    """Train or resume, and give the averaged autoencoder."""
    task = GrainTask(sounds, vae, steps)
    train(task, folder)
    return task.modules["mean"].eval()
