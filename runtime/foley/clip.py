"""A generated sound, and how it becomes a file."""

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from foley.errors import UsageError
from foley.files import new_file
from foley.spectrogram import save_spectrogram

FORMATS: Final = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
"""File ending → libsndfile's format and subtype."""
PCM_16_SCALE: Final = 32768.0
BLOCK_SAMPLES: Final = 1 << 16
"""Samples that libsndfile is given at once."""


@dataclass(frozen=True)
class Timings:
    """Where a clip's time went, in milliseconds; a batch's clips share the time of its calls."""

    text_encoder_ms: float
    denoise_ms: float
    steps: int
    """U-Net evaluations."""
    latent_decoder_ms: float
    vocoder_ms: float

    @property
    def total_ms(self) -> float:
        """All stages together."""
        return self.text_encoder_ms + self.denoise_ms + self.latent_decoder_ms + self.vocoder_ms


@dataclass(frozen=True, eq=False)
class Clip:
    """One generated sound."""

    prompt: str
    seed: int
    """The seed whose noise started it; generate with it alone and the same clip comes out, to rounding."""
    samples: NDArray[np.float32] = field(repr=False)
    """Waveform [N] in [-1,1]."""
    sample_rate_hz: int
    hop_samples: int
    """Samples a mel frame."""
    latents: NDArray[np.float32] = field(repr=False)
    """Finished latents [C,H,W], which cover the waveform and up to one U-Net multiple more."""
    mel: NDArray[np.float32] = field(repr=False)
    """Log-mel [M,T] of the whole latents."""
    timings: Timings

    @property
    def seconds(self) -> float:
        """Length of the waveform."""
        return len(self.samples) / self.sample_rate_hz

    def save(self, path: str | Path) -> Path:
        """Write a WAV or FLAC file of 16-bit samples, or Ogg Vorbis, by the ending; the file is whole or not there.

        Raises:
            UsageError: the ending is another one, or the file cannot be written.
        """
        path = Path(path)
        kind, subtype = audio_format(path)
        samples = self.samples if subtype == "VORBIS" else _pcm_16(self.samples)
        encoded = _encode(samples, self.sample_rate_hz, kind, subtype)
        with new_file(path) as working:
            working.write_bytes(encoded)
        return path

    def save_spectrogram(self, path: str | Path) -> Path:
        """Write the part of the mel that is heard as a PNG picture.

        Raises:
            UsageError: the file cannot be written.
        """
        path = Path(path)
        frames = -(-len(self.samples) // self.hop_samples)  # rounded up
        save_spectrogram(self.mel[:, :frames], path)
        return path


def audio_format(path: Path) -> tuple[str, str]:
    """Give libsndfile's format and subtype for a file name.

    Raises:
        UsageError: its ending is none of `FORMATS`.
    """
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path} ends in {path.suffix or 'nothing'!r}, expected one of {', '.join(FORMATS)}")
    return FORMATS[path.suffix.lower()]


def _pcm_16(samples: NDArray[np.float32]) -> NDArray[np.int16]:
    scaled = np.clip(np.rint(samples * PCM_16_SCALE), -PCM_16_SCALE, PCM_16_SCALE - 1)
    whole: NDArray[np.int16] = scaled.astype(np.int16)
    return whole


def _encode(samples: NDArray[np.float32] | NDArray[np.int16], rate: int, kind: str, subtype: str) -> bytes:
    """Encode in memory, block by block.

    libsndfile hides a full disk, and its Vorbis encoder keeps a whole write on the stack: minutes of sound overflow it.
    """
    content = io.BytesIO()
    with soundfile.SoundFile(content, "w", rate, 1, subtype, format=kind) as file:
        for first in range(0, len(samples), BLOCK_SAMPLES):
            file.write(samples[first : first + BLOCK_SAMPLES])
    return content.getvalue()
