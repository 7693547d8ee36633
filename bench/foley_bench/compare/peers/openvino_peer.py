"""OpenVINO on the CPU: the U-Net and the decoder, converted from torch; diffusers' scheduler between."""

from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import openvino  # type: ignore[import-not-found,unused-ignore]
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

HINTS = {"fp32": openvino.Type.f32, "bf16": openvino.Type.bf16}
UNET, DECODER = "unet.xml", "decoder.xml"


class Peer:
    """A checkpoint's U-Net and decoder as OpenVINO's models."""

    LIBRARIES = ("openvino", "diffusers", "torch")

    def prepare(self, settings: dict[str, Any], folder: Path) -> None:
        """Convert both into a folder, one after another: tracing takes memory."""
        _save(_trace_unet(settings["checkpoint"]), folder / UNET)
        _save(_trace_decoder(settings["checkpoint"]), folder / DECODER)

    def load(self, settings: dict[str, Any]) -> dict[str, Any]:
        """Compile the models that the settings' units need."""
        torch.set_num_threads(settings["threads"])
        self._settings, core, folder = settings, openvino.Core(), Path(settings["prepared"])
        self._scale = diffusers.AutoencoderKL.load_config(settings["checkpoint"], subfolder="vae")["scaling_factor"]
        wanted = {"step": UNET, "decode": DECODER}
        compiled = {unit: _compile(core, folder / wanted[unit], settings) for unit in settings["units"]}
        self._requests = {unit: model.create_infer_request() for unit, model in compiled.items()}
        [threads] = {model.get_property("INFERENCE_NUM_THREADS") for model in compiled.values()}
        native = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return {"threads": threads, "emulated": settings["precision"] == "bf16" and not native}

    def run(self, task: dict[str, Any], inputs: dict[str, NDArray[np.float32]]) -> tuple[NDArray[np.float32], int]:
        """Do a task: latents [n,4,h,w] or pictures [n,3,H,W]."""
        if task["unit"] == "decode":
            [picture] = self._requests["decode"].infer({0: inputs["latents"] / np.float32(self._scale)}).values()
            return picture.copy(), 0
        name, options = self._settings["scheduler"]
        kind, folder = getattr(diffusers, name), self._settings["checkpoint"]
        scheduler = kind.from_config(kind.load_config(folder, subfolder="scheduler"), **options)
        scheduler.set_timesteps(task["steps"])
        return self._denoise(scheduler, inputs), len(scheduler.timesteps)

    def _denoise(self, scheduler: Any, inputs: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:  # noqa: ANN401
        """Do what StableDiffusionPipeline does, unconditional rows first."""
        guided = self._settings["guidance"] > 1
        context = np.concatenate([inputs["negative"], inputs["positive"]]) if guided else inputs["positive"]
        latents = torch.from_numpy(inputs["latents"]) * scheduler.init_noise_sigma
        for timestep in scheduler.timesteps:
            rows = scheduler.scale_model_input(torch.cat([latents] * (1 + guided)), timestep)
            fed = {0: rows.numpy(), 1: np.float32(timestep), 2: context}
            [found] = self._requests["step"].infer(fed).values()
            latents = scheduler.step(self._guide(torch.from_numpy(found), guided=guided), timestep, latents).prev_sample
        array: NDArray[np.float32] = latents.numpy().copy()
        return array

    def _guide(self, found: Tensor, *, guided: bool) -> Tensor:
        if not guided:
            return found
        none, prompt = found.chunk(2)
        mixed: Tensor = none + self._settings["guidance"] * (prompt - none)
        return mixed


class UNet(nn.Module):
    """The U-Net with plain inputs and one output."""

    def __init__(self, unet: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.unet = unet

    def forward(self, sample: Tensor, timestep: Tensor, context: Tensor) -> Tensor:
        """Predict from rows [R,4,h,w], one timestep and context [R,L,D]."""
        predicted: Tensor = self.unet(sample, timestep, context, return_dict=False)[0]
        return predicted


class Decoder(nn.Module):
    """The autoencoder's decoding half."""

    def __init__(self, vae: Any) -> None:  # noqa: ANN401
        super().__init__()
        self.vae = vae

    def forward(self, latents: Tensor) -> Tensor:
        """Decode latents [n,4,h,w], scaled already, to pictures [n,3,H,W]."""
        picture: Tensor = self.vae.decode(latents, return_dict=False)[0]
        return picture


def _trace_unet(checkpoint: str) -> Any:  # noqa: ANN401
    unet = diffusers.UNet2DConditionModel.from_pretrained(checkpoint, subfolder="unet").eval()
    size = 2 ** (len(unet.config.block_out_channels) - 1)
    sample, context = torch.zeros(2, 4, 4 * size, 8 * size), torch.zeros(2, 77, unet.config.cross_attention_dim)
    return openvino.convert_model(UNet(unet), example_input=(sample, torch.tensor(981.0), context))


def _trace_decoder(checkpoint: str) -> Any:  # noqa: ANN401
    vae = diffusers.AutoencoderKL.from_pretrained(checkpoint, subfolder="vae").eval()
    return openvino.convert_model(Decoder(vae), example_input=torch.zeros(1, 4, 16, 32))


def _save(model: Any, file: Path) -> None:  # noqa: ANN401
    openvino.save_model(model, file, compress_to_fp16=False)


def _compile(core: Any, file: Path, settings: dict[str, Any]) -> Any:  # noqa: ANN401
    options = {
        "INFERENCE_PRECISION_HINT": HINTS[settings["precision"]], "INFERENCE_NUM_THREADS": settings["threads"],
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": "1",
    }  # fmt: skip
    return core.compile_model(core.read_model(file), "CPU", options)
