"""The two published Auffusion recipes, in float32 torch with stock transformers and diffusers classes.

*Adapter*: `auffusion_pipeline.py` of the authors, which pins diffusers 0.18 and so cannot be run here; this follows it
step by step. *No adapter*: diffusers' own StableDiffusionPipeline, called. Both end in the authors'
`denormalize_spectrogram` and HiFi-GAN.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from inspect import signature
from math import log
from pathlib import Path
from typing import Any, Final, Protocol

import diffusers
import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from torch import Tensor, nn

from foley_bench.parity.hifigan import load_vocoder

CONTEXT_LENGTH: Final = 77
LOWEST, HIGHEST = log(1e-5), log(200)
"""Natural log of the mel magnitudes that black and white stand for."""
PIXELS_PER_COLUMN: Final = 8
PICTURE_HEIGHT: Final = 256

_DPM: Final = {"algorithm_type": "dpmsolver++", "solver_order": 2}
SCHEDULERS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True}),
    "ddim": ("DDIMScheduler", {"clip_sample": False}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False, "variance_type": "fixed_small"}),
    "euler": ("EulerDiscreteScheduler", {}),
    "euler-a": ("EulerAncestralDiscreteScheduler", {}),
    "lms": ("LMSDiscreteScheduler", {}),
    "dpmpp-2m": ("DPMSolverMultistepScheduler", _DPM),
    "dpmpp-2m-karras": ("DPMSolverMultistepScheduler", _DPM | {"use_karras_sigmas": True}),
    "dpmpp-2m-sde": ("DPMSolverMultistepScheduler", _DPM | {"algorithm_type": "sde-dpmsolver++"}),
    "dpmpp-3m": ("DPMSolverMultistepScheduler", _DPM | {"solver_order": 3}),
    "deis": ("DEISMultistepScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", {}),
    "lcm": ("LCMScheduler", {}),
}
"""Foley's sampler → diffusers' class and what it is told beside the checkpoint's config."""


@dataclass(frozen=True)
class Setting:
    """One clip to be made."""

    sampler: str
    """A key of `SCHEDULERS`."""
    steps: int
    prompt: str = "a dog barking in the rain"
    negative: str | None = None
    guidance: float = 7.5
    columns: int = 8
    """Latent columns, 80 ms each."""
    seed: int = 42


@dataclass(frozen=True, eq=False)
class Sound:
    """What a reference made."""

    latents: NDArray[np.float32]
    """[C,H,W]"""
    samples: NDArray[np.float32]
    """[N] in [-1,1]"""


class Reference(Protocol):
    """A recipe with its weights."""

    def contexts(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts to [B,L,D]."""
        ...

    def generate(self, setting: Setting) -> Sound:
        """Make a clip."""
        ...


def load_reference(folder: Path) -> Reference:
    """Load the recipe that a checkpoint's folder is for."""
    adapted = (folder / "condition_config.json").is_file()
    return AdapterReference(folder) if adapted else PipelineReference(folder)


class PipelineReference:
    """diffusers' StableDiffusionPipeline, then the authors' vocoder."""

    def __init__(self, folder: Path) -> None:
        """Load every component."""
        self.pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
        self.pipeline.set_progress_bar_config(disable=True)
        self._scheduler_config = self.pipeline.scheduler.config
        self._vocoder = load_vocoder(folder / "vocoder")

    @torch.no_grad()
    def contexts(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts to [B,77,D]."""
        found, _ = self.pipeline.encode_prompt(list(prompts), "cpu", 1, do_classifier_free_guidance=False)
        return _float32(found)

    @torch.no_grad()
    def generate(self, setting: Setting) -> Sound:
        """Make a clip."""
        self.pipeline.scheduler = make_scheduler(setting.sampler, self._scheduler_config)
        kept = _Last()
        picture = self.pipeline(
            setting.prompt,
            negative_prompt=setting.negative,
            num_inference_steps=setting.steps,
            guidance_scale=setting.guidance,
            height=PICTURE_HEIGHT,
            width=PIXELS_PER_COLUMN * setting.columns,
            generator=torch.Generator("cpu").manual_seed(setting.seed),
            output_type="pt",
            callback_on_step_end=kept,
        ).images
        return Sound(kept.latents[0].numpy(), self._vocoder(denormalise(picture))[0].numpy())


@dataclass
class _Last:
    """A pipeline's callback that remembers the latents."""

    latents: Tensor = field(default_factory=lambda: torch.empty(0))

    def __call__(self, _pipeline: object, _step: int, _timestep: int, values: dict[str, Tensor]) -> dict[str, Tensor]:
        self.latents = values["latents"]
        return values


class AdapterReference:
    """The authors' pipeline: encoders with adapters, zeros for no prompt, [negative, positive] rows."""

    def __init__(self, folder: Path) -> None:
        """Load every component."""
        entries = json.loads((folder / "condition_config.json").read_text(encoding="utf-8"))
        self._encoders = [
            ConditionEncoder(folder / entry["text_encoder_name"], folder / entry["condition_adapter_name"])
            for entry in entries
        ]
        self._unet = diffusers.UNet2DConditionModel.from_pretrained(folder, subfolder="unet")
        self._vae = diffusers.AutoencoderKL.from_pretrained(folder, subfolder="vae")
        self._scheduler_config = diffusers.PNDMScheduler.from_pretrained(folder, subfolder="scheduler").config
        self._vocoder = load_vocoder(folder / "vocoder")

    @torch.no_grad()
    def contexts(self, prompts: Sequence[str]) -> Tensor:
        """Encode prompts one by one to [B,77·encoders,D]."""
        return torch.cat([torch.cat([encoder(prompt) for encoder in self._encoders], dim=1) for prompt in prompts])

    @torch.no_grad()
    def generate(self, setting: Setting) -> Sound:
        """Make a clip."""
        positive = self.contexts([setting.prompt])
        negative = torch.zeros_like(positive) if setting.negative is None else self.contexts([setting.negative])
        latents = self._denoise(torch.cat([negative, positive]), setting)
        picture = self._vae.decode(latents / self._vae.config.scaling_factor).sample
        unit = (picture / 2 + 0.5).clamp(0, 1)
        return Sound(latents[0].numpy(), self._vocoder(denormalise(unit))[0].numpy())

    def _denoise(self, context: Tensor, setting: Setting) -> Tensor:
        scheduler = make_scheduler(setting.sampler, self._scheduler_config)
        scheduler.set_timesteps(setting.steps)
        generator = torch.Generator("cpu").manual_seed(setting.seed)
        shape = (1, self._unet.config.in_channels, PICTURE_HEIGHT // PIXELS_PER_COLUMN, setting.columns)
        latents = torch.randn(shape, generator=generator) * scheduler.init_noise_sigma
        extra = {"generator": generator} if "generator" in signature(scheduler.step).parameters else {}
        for timestep in scheduler.timesteps:
            rows = scheduler.scale_model_input(torch.cat([latents] * 2), timestep)
            without, given = self._unet(rows, timestep, encoder_hidden_states=context).sample.chunk(2)
            guided = without + setting.guidance * (given - without)
            latents = scheduler.step(guided, timestep, latents, **extra).prev_sample
        return _float32(latents)


class ConditionEncoder:
    """One text encoder and its adapter, as `_encode_prompt` runs them."""

    def __init__(self, encoder: Path, adapter: Path) -> None:
        """Load both and the tokenizer that lies beside the encoder."""
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(encoder)
        self.encoder = _encoder_class(encoder).from_pretrained(encoder).eval()
        state = torch.load(adapter / "condition_adapter.pt", map_location="cpu", weights_only=True)
        sizes = json.loads((adapter / "config.json").read_text(encoding="utf-8"))
        self.proj = nn.Linear(sizes["condition_dim"], sizes["cross_attention_dim"])
        self.norm = nn.LayerNorm(sizes["cross_attention_dim"])
        nn.ModuleDict({"proj": self.proj, "norm": self.norm}).load_state_dict(state)

    def __call__(self, prompt: str) -> Tensor:
        """Encode without padding; pad hidden states with zeros, or cut them, to 77 rows; then adapt: [1,77,D].

        The authors do not cut the tokens, and fail where the encoder has no positions for them; here they are cut to
        the encoder's own length.
        """
        limit = {} if self._limit is None else {"truncation": True, "max_length": self._limit}
        ids = self.tokenizer(prompt, return_tensors="pt", **limit).input_ids
        hidden = self.encoder(ids).last_hidden_state[:, :CONTEXT_LENGTH]
        padding = torch.zeros(1, CONTEXT_LENGTH - hidden.shape[1], hidden.shape[2])
        adapted: Tensor = self.norm(self.proj(torch.cat([hidden, padding], dim=1)))
        return adapted

    @property
    def _limit(self) -> int | None:
        """The longest sequence of learnt positions; T5 has none, RoBERTa spends two on padding."""
        positions = getattr(self.encoder.config, "max_position_embeddings", None)
        if positions is None:
            return None
        return int(positions) - (2 if "clap" in type(self.encoder).__name__.lower() else 0)


def _encoder_class(folder: Path) -> Any:  # noqa: ANN401 — transformers has no types
    name = json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"][0].lower()
    if "t5" in name:
        return transformers.T5EncoderModel
    return transformers.ClapTextModelWithProjection if "clap" in name else transformers.CLIPTextModel


def make_scheduler(sampler: str, config: Any) -> Any:  # noqa: ANN401 — diffusers has no types
    """Create diffusers' class for a sampler from a checkpoint's scheduler config, as a pipeline's user does."""
    name, overrides = SCHEDULERS[sampler]
    return getattr(diffusers, name).from_config(config, **overrides)


def denormalise(picture: Tensor) -> Tensor:
    """Turn pictures [B,3,M,T] in [0,1], highest bin on top, into log-mel [B,M,T] (`denormalize_spectrogram`)."""
    return torch.flip(picture, (2,))[:, 0] * (HIGHEST - LOWEST) + LOWEST


def _float32(value: Any) -> Tensor:  # noqa: ANN401 — diffusers has no types
    if not isinstance(value, Tensor) or value.dtype != torch.float32:
        raise TypeError(f"expected a float32 tensor, got {getattr(value, 'dtype', type(value))}")
    return value
