"""diffusers' StableDiffusionPipeline in torch, eager or compiled."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

DTYPES = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}
NATIVE_BF16 = ("avx512_bf16", "amx_bf16", " bf16")
"""What Linux says of x86 and ARM processors that multiply bfloat16."""


class Peer:
    """A checkpoint's U-Net, autoencoder and vocoder."""

    LIBRARIES = ("torch", "diffusers")

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the modules that the settings' units need."""
        torch.set_num_threads(settings["threads"])
        torch.backends.cudnn.allow_tf32 = False  # of float32, float32 is meant
        self._settings, self._folder = settings, Path(settings["checkpoint"])
        self._device, self._dtype = torch.device(settings["device"]), DTYPES[settings["precision"]]
        self._pipeline = self._load_pipeline()
        self._vocoder = self._load_vocoder() if "clip" in settings["units"] else None
        if settings["compiled"]:
            self._pipeline.unet.compile(dynamic=False)
            self._pipeline.vae.decoder.compile(dynamic=False)
        return {"threads": torch.get_num_threads(), "emulated": self._emulated()}

    def run(self, task: dict[str, Any], inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
        """Do a task: latents [n,4,h,w], pictures [n,3,H,W] or waveforms [n,N]."""
        given = {name: torch.from_numpy(array).to(self._device, self._dtype) for name, array in inputs.items()}
        with torch.no_grad():
            if task["unit"] == "decode":
                return _numpy(self._decode(given["latents"])), 0
            latents = self._denoise(task, given)
            evaluations = len(self._pipeline.scheduler.timesteps)
            if task["unit"] == "step":
                return _numpy(latents), evaluations
            return _numpy(self._vocode(self._decode(latents))), evaluations

    def _load_pipeline(self) -> Any:  # noqa: ANN401 — diffusers has no types
        """Put the pipeline together, so that checkpoints with adapters work too; prompts come encoded."""
        modules = {
            name: kind.from_pretrained(self._folder, subfolder=name, torch_dtype=self._dtype).to(self._device).eval()
            for name, kind in (("unet", diffusers.UNet2DConditionModel), ("vae", diffusers.AutoencoderKL))
        }
        pipeline = diffusers.StableDiffusionPipeline(
            **modules, scheduler=self._scheduler(), text_encoder=None, tokenizer=None, safety_checker=None,
            feature_extractor=None, requires_safety_checker=False,
        )  # fmt: skip
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _load_vocoder(self) -> torch.nn.Module:
        from foley_bench.parity.hifigan import load_vocoder  # the authors' own; a peer elsewhere has none

        return load_vocoder(self._folder / "vocoder").to(self._device, self._dtype)

    def _scheduler(self) -> Any:  # noqa: ANN401
        name, options = self._settings["scheduler"]
        kind = getattr(diffusers, name)
        return kind.from_config(kind.load_config(self._folder, subfolder="scheduler"), **options)

    def _denoise(self, task: dict[str, Any], given: dict[str, Tensor]) -> Tensor:
        scale = self._pipeline.vae_scale_factor
        latents: Tensor = self._pipeline(
            prompt_embeds=given["positive"], negative_prompt_embeds=given["negative"], latents=given["latents"],
            num_inference_steps=task["steps"], guidance_scale=self._settings["guidance"], output_type="latent",
            height=given["latents"].shape[2] * scale, width=given["latents"].shape[3] * scale,
        ).images  # fmt: skip
        return latents

    def _decode(self, latents: Tensor) -> Tensor:
        vae = self._pipeline.vae
        picture: Tensor = vae.decode(latents / vae.config.scaling_factor, return_dict=False)[0]
        return picture

    def _vocode(self, picture: Tensor) -> Tensor:
        from foley_bench.parity.reference import denormalise

        if self._vocoder is None:
            raise ValueError("the vocoder was not loaded")
        waveform: Tensor = self._vocoder(denormalise((picture / 2 + 0.5).clamp(0, 1)))
        return waveform

    def _emulated(self) -> bool:
        """Say whether this processor computes bfloat16 as something else."""
        if self._dtype is not torch.bfloat16 or self._device.type != "cpu":
            return False
        facts = Path("/proc/cpuinfo")
        return facts.exists() and not any(flag in facts.read_text(encoding="utf-8") for flag in NATIVE_BF16)


def _numpy(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array
