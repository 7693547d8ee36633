"""The whole recipe, stage after stage; each resumes from its saved state, and a finished one only loads it."""

from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from foley_export.demo_model.autoencoder import train_autoencoder
from foley_export.demo_model.corpus import open_sounds
from foley_export.demo_model.denoising import train_denoiser
from foley_export.demo_model.device import autoencoder_on
from foley_export.demo_model.grain import train_grain
from foley_export.demo_model.latents import open_decoded, open_latents
from foley_export.demo_model.origin import bind_folder
from foley_export.demo_model.progress import Progress
from foley_export.demo_model.publishing import write_checkpoint
from foley_export.demo_model.reading import train_text_encoder
from foley_export.demo_model.vocabulary import write_vocabulary
from foley_export.demo_model.vocoding import train_vocoder


@dataclass(frozen=True)
class Recipe:
    """How long each stage is: clips, and steps of training."""

    sounds: int = 4096
    """Clips for the autoencoder and the vocoder."""
    latents: int = 12288
    """Clips for the denoiser."""
    autoencoder: int = 1700
    grain: int = 5000
    amplitudes: int = 5000
    gates: int = 1400
    reading: int = 1200
    denoiser: int = 17000


def make_demo_model(folder: Path, recipe: Recipe, device: torch.device) -> Path:
    """Train all parts in `folder`, or go on where that was interrupted; give the written checkpoint's folder.

    Networks are trained on `device`; between stages they are on the CPU. Another run may use another device.

    Raises:
        UsageError: the folder was made with another recipe or other sources, or one of its states cannot be resumed.
    """
    bind_folder(folder, asdict(recipe))
    tokenizer = folder / "tokenizer"
    write_vocabulary(tokenizer)
    sounds = open_sounds(folder, recipe.sounds, Progress("sounds"))
    vae = train_autoencoder(sounds, folder, recipe.autoencoder, device)
    vae = train_grain(sounds, vae, folder, recipe.grain, device)
    running = autoencoder_on(vae, device)
    decoded = open_decoded(running, sounds, folder, Progress("decoding"))
    vocoder = train_vocoder(sounds, decoded, folder, recipe.amplitudes, recipe.gates, device)
    text = train_text_encoder(tokenizer, folder, recipe.reading, device)
    latents = open_latents(running, folder, recipe.latents, Progress("latents"))
    unet = train_denoiser(latents, text, tokenizer, folder, recipe.denoiser, device)
    parts = {"text": text, "unet": unet, "vae": vae, "vocoder": vocoder}
    write_checkpoint(folder / "checkpoint", parts, latents.scaling_factor)
    return folder / "checkpoint"
