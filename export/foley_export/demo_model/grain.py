"""Stage 1b: the decoder learns grain, and to read latents that are off; the encoder, and so latents, stay as they are.

Absolute errors make noise smooth, because its grain cannot be known from latents. A smooth mel is no noise to the
vocoder: frames that are all alike become a tone of 100 Hz. As in Stable Diffusion's autoencoder, a discriminator of
patches (Isola et al. 2017) asks for grain, and of noisy clips the errors are taken of pictures that are blurred.

A denoiser's latents are never quite right. From latents that are off by a fifth of their deviation, a decoder that had
seen none made four in ten clips untrue that it had made right: so it learns from such, against the picture that was
encoded.

Of a tone six rows in 256 are heard, and errors of a whole picture hardly tell whether those are right: half a neper off
at either end, short tones seemed to die away. So, of crops without noise, errors also count by how loud it is there.
"""

from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, l1_loss, leaky_relu, relu

from foley_export.demo_model.autoencoder import new_autoencoder, picture_error
from foley_export.demo_model.corpus import FRAMES, Sounds
from foley_export.demo_model.device import send
from foley_export.demo_model.latents import FACTOR
from foley_export.demo_model.mel import to_log_mel, to_picture
from foley_export.demo_model.training import adamw, average, descend, train

SEED: Final = 16
CROP_FRAMES: Final = 128
CROPS: Final = 4
WHOLE_FROM: Final = 0.6
"""From this share of the steps on, whole clips."""
MOST_OFF, MOST_DRIFT = 0.35, 0.3
"""Largest deviations, in units of the latents' own, of what latents are off by: alone, and with neighbours (of a
draw at half the size; its interpolation takes off a third)."""
EXACT_SHARE: Final = 0.15
"""Of latents that are not off."""
ERROR_WEIGHT: Final = 4.0
FEATURE_WEIGHT: Final = 2.0
FOOLED_WEIGHT: Final = 0.15
SPREAD_WEIGHT: Final = 6.0
HEARD_WEIGHT: Final = 6.0
LEAST_LOUDNESS: Final = 0.3
"""Sum of a frame's mel magnitudes at which its errors count half."""
LIMIT: Final = 1.0


class GrainTask:
    """Training of the decoder against a discriminator of patches."""

    name = "grain"

    def __init__(self, sounds: Sounds, vae: nn.Module, steps: int, device: torch.device) -> None:
        torch.manual_seed(SEED)
        self.sounds, self.steps, self.device = sounds, steps, device
        tuned, mean = new_autoencoder(), new_autoencoder()
        tuned.load_state_dict(vae.state_dict())
        mean.load_state_dict(vae.state_dict())
        self.modules = nn.ModuleDict({"vae": tuned, "mean": mean, "judge": Judge()}).to(device)
        parts: Any = tuned
        self.decoder = nn.ModuleList([parts.decoder, parts.post_quant_conv])
        self.optimisers = [adamw(self.decoder, 4e-4), adamw(self.modules["judge"], 8e-4)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        mels, noisy = self._mels(step)
        picture = to_picture(send(mels, self.device)).contiguous(memory_format=torch.channels_last)
        vae: Any = self.modules["vae"]
        with torch.no_grad():
            latents = vae.encode(picture).latent_dist.mean
        made = vae.decode(put_off(latents, torch.Generator().manual_seed(SEED * 1_000_003 + step))).sample
        judge = self.modules["judge"]
        judged, true = judge(made.detach()), judge(picture)
        told = relu(1 + judged[-1]).mean() + relu(1 - true[-1]).mean()
        descend(told, judge, self.optimisers[1], limit=LIMIT)
        fake = judge(made)
        with torch.no_grad():
            true = judge(picture)
        features = torch.stack([l1_loss(a, b) for a, b in zip(fake[:-1], true[:-1], strict=True)]).mean()
        fooled = relu(1 - fake[-1]).mean()
        errors = [
            (blurred_error if blurred else picture_error)(made[crop][None], picture[crop][None])
            for crop, blurred in enumerate(noisy)
        ]
        error, spread = torch.stack(errors).mean(), l1_loss(grain(made), grain(picture))
        clear = send(torch.tensor([crop for crop, blurred in enumerate(noisy) if not blurred]), self.device)
        heard = heard_error(made[clear], picture[clear]) if len(clear) else made.new_zeros(())
        total = ERROR_WEIGHT * error + FEATURE_WEIGHT * features + FOOLED_WEIGHT * fooled
        total = total + SPREAD_WEIGHT * spread + HEARD_WEIGHT * heard
        descend(total, self.decoder, self.optimisers[0], limit=LIMIT)
        average(self.modules["mean"], vae, step)
        losses = {
            "error": error,
            "judge": told,
            "fooled": fooled,
            "features": features,
            "spread": spread,
            "heard": heard,
        }
        return {name: loss.detach() for name, loss in losses.items()}

    def _mels(self, step: int) -> tuple[Tensor, list[bool]]:
        """Draw log-mel crops [B,256,T], every second one of a clip with noise, and say which ones are."""
        rng = np.random.default_rng([SEED, step])
        whole = step >= WHOLE_FROM * self.steps
        width, count = (FRAMES, CROPS * CROP_FRAMES // FRAMES) if whole else (CROP_FRAMES, CROPS)
        pools = [pool for pool in map(np.flatnonzero, (~self.sounds.noisy, self.sounds.noisy)) if len(pool)]
        clips = [rng.choice(pools[i % len(pools)]) for i in range(count)]
        starts = rng.integers((FRAMES - width) // FACTOR + 1, size=count) * FACTOR
        crops = [self.sounds.mels[clip][:, at : at + width] for clip, at in zip(clips, starts, strict=True)]
        return torch.from_numpy(np.stack(crops).astype(np.float32)), [bool(self.sounds.noisy[clip]) for clip in clips]


def put_off(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Give latents [B,4,H,W] that are off as a denoiser's are, each by another amount and some not at all."""

    def amounts() -> Tensor:
        return torch.rand((len(latents), 1, 1, 1), generator=generator)

    count, channels, height, width = latents.shape
    alone = torch.randn(latents.shape, generator=generator)
    coarse = torch.randn((count, channels, height // 2, width // 2), generator=generator)
    drift = interpolate(coarse, scale_factor=2.0, mode="bilinear")
    off = MOST_OFF * amounts() * alone + MOST_DRIFT * amounts() * drift
    off, inexact = (send(each, latents.device) for each in (off, amounts() > EXACT_SHARE))
    return latents + latents.std() * off * inexact


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


def heard_error(made: Tensor, real: Tensor) -> Tensor:
    """Give the absolute error of pictures [B,3,256,T]: pixels by their share of their frame's magnitude."""
    magnitude = to_log_mel(real).exp().flip(1)
    share = magnitude / (magnitude.sum(1, keepdim=True) + LEAST_LOUDNESS)
    return (share * (made - real)[:, 0].abs()).sum(1).mean()


def grain(picture: Tensor) -> Tensor:
    """Give how far pixels of [B,3,H,W] typically lie from their neighbours in time, by 8×8 patches.

    In time only: grain that stands still would be a chord, not noise.
    """
    first = picture[:, :1]
    near = avg_pool2d(first, (1, 3), stride=1, padding=(0, 1), count_include_pad=False)
    return (avg_pool2d((first - near).square(), 8) + 1e-6).sqrt()


def train_grain(sounds: Sounds, vae: nn.Module, folder: Path, steps: int, device: torch.device) -> nn.Module:
    """Train or resume on a device, and give the averaged autoencoder on the CPU."""
    task = GrainTask(sounds, vae, steps, device)
    train(task, folder)
    return task.modules["mean"].cpu().eval()
