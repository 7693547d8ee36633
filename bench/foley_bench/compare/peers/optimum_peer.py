"""optimum's Stable Diffusion pipeline over ONNX Runtime."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from optimum.onnxruntime import ORTStableDiffusionPipeline  # type: ignore[import-not-found,unused-ignore]

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class Peer:
    """What optimum exports of a checkpoint."""

    LIBRARIES = ("optimum", "optimum-onnx", "onnxruntime", "diffusers", "transformers", "torch")

    def prepare(self, settings: dict[str, Any], folder: Path) -> None:
        """Export the checkpoint into a folder."""
        _open(settings["checkpoint"], settings, export=True).save_pretrained(folder)

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Load the exported pipeline."""
        torch.set_num_threads(settings["threads"])
        self._settings = settings
        self._pipeline = _open(settings["prepared"], settings, export=False)
        self._pipeline.set_progress_bar_config(disable=True)
        name, options = settings["scheduler"]
        kind, folder = getattr(diffusers, name), settings["checkpoint"]
        config = kind.load_config(folder, subfolder="scheduler")
        self._pipeline.scheduler = kind.from_config(config, **options)
        session = self._pipeline.unet.session
        return {"threads": session.get_session_options().intra_op_num_threads, "providers": session.get_providers()}

    def run(self, task: dict[str, Any], inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
        """Do a task: latents [n,4,h,w] or pictures [n,3,H,W]."""
        device = self._settings["device"]
        given = {name: torch.from_numpy(array).to(device) for name, array in inputs.items()}
        if task["unit"] == "decode":
            vae = self._pipeline.vae
            picture = vae.decode(given["latents"] / vae.config.scaling_factor, return_dict=False)[0]
            return np.asarray(picture.cpu(), np.float32), 0
        latents = self._denoise(task, given)
        return np.asarray(latents.cpu(), np.float32), len(self._pipeline.scheduler.timesteps)

    def _denoise(self, task: dict[str, Any], given: dict[str, torch.Tensor]) -> torch.Tensor:
        scale = self._pipeline.vae_scale_factor
        latents: torch.Tensor = self._pipeline(
            prompt_embeds=given["positive"], negative_prompt_embeds=given["negative"], latents=given["latents"],
            num_inference_steps=task["steps"], guidance_scale=self._settings["guidance"], output_type="latent",
            height=given["latents"].shape[2] * scale, width=given["latents"].shape[3] * scale,
        ).images  # fmt: skip
        return latents


def _open(folder: str, settings: dict[str, Any], *, export: bool) -> Any:  # noqa: ANN401 — optimum has no types
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = settings["threads"], 3
    provider = PROVIDERS[settings["device"]]
    return ORTStableDiffusionPipeline.from_pretrained(
        folder, export=export, session_options=options, provider=provider, local_files_only=True
    )
