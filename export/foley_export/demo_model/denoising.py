"""Stage 4: the denoiser, Stable Diffusion's U-Net with cross-attention to a text encoder that stays as it is.

v-prediction (Salimans and Ho 2022) with betas up to 0.02, so that the noise of the last timestep hides the clip: with
Stable Diffusion's 0.012 a network sees there how loud the clip is as a whole, and cannot choose it (Lin et al. 2023).
"""

from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from torch import Tensor, nn

from foley_export.demo_model.corpus import training_caption, training_scene
from foley_export.demo_model.device import send
from foley_export.demo_model.latents import SHAPE, Latents
from foley_export.demo_model.reading import WIDTH, Reader
from foley_export.demo_model.scenes import Kind, Scene
from foley_export.demo_model.training import adamw, average, descend, train

SEED: Final = 15
BATCH: Final = 16
DROPPED: Final = 0.1
"""Share of captions that are replaced by the empty one, for guidance."""
TIMESTEPS: Final = 1000
EMPHASIS: Final[dict[Kind, float]] = {
    "beeps": 3.0, "pluck": 2.5, "rise": 2.0, "fall": 2.0, "tone": 2.0, "bell": 2.0, "siren": 1.5, "drums": 1.5
}  # fmt: skip
"""How often clips of a kind are drawn, beside the kinds that are learnt sooner; of two events, the mean counts."""
ALONE_EMPHASIS: Final = 2.0
"""Of clips of one event, which state more."""

CONFIG: Final[dict[str, Any]] = {
    "sample_size": SHAPE[-1],
    "in_channels": SHAPE[0],
    "out_channels": SHAPE[0],
    "block_out_channels": [48, 80, 112],
    "layers_per_block": 1,
    "attention_head_dim": 4,  # the number of heads, in spite of its name
    "cross_attention_dim": WIDTH,
    "norm_num_groups": 8,
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
}
SCHEDULE: Final[dict[str, Any]] = {
    "num_train_timesteps": TIMESTEPS,
    "beta_start": 0.00085,
    "beta_end": 0.02,
    "beta_schedule": "scaled_linear",
    "prediction_type": "v_prediction",
}


class DenoisingTask:
    """Training of the U-Net on latents and captions."""

    name = "denoiser"

    def __init__(self, latents: Latents, text: nn.Module, tokenizer: Path, steps: int, device: torch.device) -> None:
        torch.manual_seed(SEED)
        self.latents, self.steps, self.device = latents, steps, device
        self.reader = Reader(tokenizer)
        self.text = deepcopy(text).eval().requires_grad_(requires_grad=False).to(device)
        self.scenes = [training_scene(index) for index in range(len(latents.values))]
        emphases = np.array([emphasis(scene) for scene in self.scenes])
        self.shares = emphases / emphases.sum()
        self.schedule: Any = DDPMScheduler(**SCHEDULE)
        unet, mean = new_unet(), new_unet()
        mean.load_state_dict(unet.state_dict())
        self.modules = nn.ModuleDict({"unet": unet, "mean": mean, "levels": NoiseLevels()}).to(device)
        self.optimisers = [adamw(unet, 1e-3, decay=0.01)]

    def advance(self, step: int) -> dict[str, Tensor]:
        """Make one step; see `Task`."""
        rng = np.random.default_rng([SEED, step])
        clean, captions = self._batch(rng)
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(SEED * 1_000_003 + step))
        clean, noise, timesteps = (send(each, self.device) for each in (clean, noise, _timesteps(rng)))
        unet = self.modules["unet"]
        noisy = self.schedule.add_noise(clean, noise, timesteps).contiguous(memory_format=torch.channels_last)
        context = self.text(send(self.reader(captions), self.device)).last_hidden_state
        predicted = unet(noisy, timesteps, context).sample
        errors = (predicted - self.schedule.get_velocity(clean, noise, timesteps)).square().mean((1, 2, 3))
        descend(self.modules["levels"](errors, timesteps), unet, *self.optimisers)
        average(self.modules["mean"], unet, step)
        return {"loss": errors.detach().mean()}

    def _batch(self, rng: np.random.Generator) -> tuple[Tensor, list[str]]:
        """Draw scaled latents [16,4,32,32] and captions, some of them empty."""
        chosen = rng.choice(len(self.scenes), size=BATCH, p=self.shares)
        captions = [training_caption(self.scenes[index], rng) for index in chosen]
        kept = rng.random(BATCH) >= DROPPED
        clean = torch.from_numpy(self.latents.values[chosen].astype(np.float32)) * self.latents.scaling_factor
        return clean, [caption if keep else "" for caption, keep in zip(captions, kept, strict=True)]


class NoiseLevels(nn.Module):
    """The errors that are usual in each sixteenth of the schedule, by which errors there are weighed.

    Under much noise most of the error is which of many clips it is, which nobody can know; in the middle, where beeps
    are told from a blur, it is a tenth as large, and can be made less.
    """

    usual: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("usual", torch.ones(BATCH))

    def forward(self, errors: Tensor, timesteps: Tensor) -> Tensor:
        """Give the loss of errors [16] at timesteps [16], one in each sixteenth, and remember the errors."""
        level = timesteps * BATCH // TIMESTEPS
        loss = (errors / self.usual[level]).mean() * self.usual.mean()
        self.usual[level] = self.usual[level].lerp(errors.detach(), 0.01)
        return loss


def emphasis(scene: Scene) -> float:
    """Give how often clips of a scene are drawn, beside those of two events that are learnt soon."""
    mean = sum(EMPHASIS.get(event.kind, 1.0) for event in scene.events) / len(scene.events)
    return mean * (ALONE_EMPHASIS if scene.relation == "alone" else 1.0)


def new_unet() -> nn.Module:
    """Give the U-Net with random weights, in the memory layout that CPUs train fastest."""
    unet: nn.Module = UNet2DConditionModel.from_config(CONFIG)
    return unet.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def _timesteps(rng: np.random.Generator) -> Tensor:
    """Draw timesteps int64 [16], one from each sixteenth of the schedule."""
    return torch.from_numpy(((rng.permutation(BATCH) + rng.random(BATCH)) * (TIMESTEPS / BATCH)).astype(np.int64))


def train_denoiser(
    latents: Latents, text: nn.Module, tokenizer: Path, folder: Path, steps: int, device: torch.device
) -> nn.Module:
    """Train or resume on a device, and give the averaged U-Net on the CPU."""
    task = DenoisingTask(latents, text, tokenizer, steps, device)
    train(task, folder)
    return task.modules["mean"].cpu().eval()
