"""diffusers' cold start: run by path, by the Python that has it. It is imported first, as a user's script would."""

import time

import diffusers
from diffusers import StableDiffusionPipeline

IMPORTED = time.monotonic()

import json  # noqa: E402
import resource  # noqa: E402
import sys  # noqa: E402

import torch  # noqa: E402


def main(checkpoint: str, task: str) -> None:
    """Load a checkpoint, denoise two clips' latents, and print when and at how much memory.

    `task` is a JSON object: threads, scheduler, steps, guidance, bins and columns of the latents.
    """
    wanted = json.loads(task)
    if wanted["threads"]:
        torch.set_num_threads(wanted["threads"])
    pipeline = StableDiffusionPipeline.from_pretrained(checkpoint, safety_checker=None, local_files_only=True)
    pipeline.scheduler = getattr(diffusers, wanted["scheduler"]).from_config(pipeline.scheduler.config)
    pipeline.set_progress_bar_config(disable=True)
    marks = {"imported": IMPORTED, "loaded": time.monotonic(), "loaded_kib": peak_kib()}
    for name, prompt in (("first_clip", "a loud bell"), ("second_clip", "a rising siren, then two knocks")):
        denoise(pipeline, prompt, wanted)
        marks[name] = time.monotonic()
    print(json.dumps({**marks, "peak_kib": peak_kib()}))


def denoise(pipeline: StableDiffusionPipeline, prompt: str, wanted: dict[str, float]) -> None:
    """Make the latents of a prompt."""
    pipeline(
        prompt,
        num_inference_steps=wanted["steps"],
        guidance_scale=wanted["guidance"],
        height=wanted["bins"] * pipeline.vae_scale_factor,
        width=wanted["columns"] * pipeline.vae_scale_factor,
        output_type="latent",
    )


def peak_kib() -> int:
    """Give the most memory that this process held at once, in KiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak // 1024 if sys.platform == "darwin" else peak


if __name__ == "__main__":
    main(*sys.argv[1:])
