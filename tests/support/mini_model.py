"""The mini bundle's model in numpy float64: what its graphs must compute, written apart from them."""

from collections.abc import Callable, Sequence

import numpy as np

from foley.samplers import SamplerTable

VOCABULARY = [
    "[PAD]",
    "[BOS]",
    "[EOS]",
    "[UNK]",
    "a",
    "dog",
    "barking",
    "in",
    "the",
    "rain",
    "cat",
    "bell",
    "wind",
    "loud",
    "soft",
    "on",
    "tin",
    "roof",
    "and",
    "far",
]
CHANNELS, HEIGHT, MEL_BINS = 3, 4, 8
FRAMES_PER_COLUMN, HOP, RATE = 8, 160, 16_000  # a column is 1280 samples = 80 ms
CONTEXT_LENGTH, WIDTH = 8, 6

_random = np.random.default_rng(7)


def _weights(*shape: int) -> np.ndarray:
    return _random.standard_normal(shape).astype(np.float32)


WEIGHTS = {
    "text_encoder": {"embedding": _weights(len(VOCABULARY), WIDTH)},
    "denoise_step": {
        "projection": _weights(WIDTH, CHANNELS),
        "gain": 0.5 + 0.1 * _weights(CHANNELS, 1, 1),
        "time_scale": np.array(1e-3, np.float32),
    },
    "latent_decoder": {"pattern": _weights(1, 1, MEL_BINS // HEIGHT, 1, FRAMES_PER_COLUMN)},
    "vocoder": {"carrier": np.sin(np.arange(HOP) * 0.3).astype(np.float32)},
}


def text_encoder(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Ids and mask [B,L] → context [B,8,D]: masked embeddings, cut."""
    embedded = WEIGHTS["text_encoder"]["embedding"].astype(np.float64)[ids] * mask[..., None]
    return embedded[:, :CONTEXT_LENGTH]


def unet(sample: np.ndarray, timestep: float, context: np.ndarray) -> np.ndarray:
    """One row: sample [C,H,W], timestep and context [L,D] → model output [C,H,W]."""
    weights = {name: value.astype(np.float64) for name, value in WEIGHTS["denoise_step"].items()}
    heard = context.astype(np.float64).mean(axis=0) @ weights["projection"]
    return np.tanh(sample * weights["gain"] + heard[:, None, None] + timestep * weights["time_scale"])


def latent_decoder(latents: np.ndarray) -> np.ndarray:
    """Latents [B,C,H,W] → mel [B,M,T]."""
    mean = latents.astype(np.float64).mean(axis=1)
    spread = mean[:, :, None, :, None] * WEIGHTS["latent_decoder"]["pattern"].astype(np.float64) - 2.0
    return spread.reshape(len(latents), MEL_BINS, -1)


def vocoder(mel: np.ndarray) -> np.ndarray:
    """Mel [B,M,T] → waveform [B,N]."""
    mean = mel.astype(np.float64).mean(axis=1)
    return np.tanh(mean[:, :, None] * WEIGHTS["vocoder"]["carrier"].astype(np.float64)).reshape(len(mel), -1)


def denoise(
    start: np.ndarray,
    table: SamplerTable,
    rows: Callable[[int], Sequence[tuple[np.ndarray, float]]],
    draw: Callable[[], np.ndarray],
) -> np.ndarray:
    """Run one clip through its whole loop; `rows` gives (context, weight) of a step, `draw` the next noise [C,H,W]."""
    state = [start.astype(np.float64)] + [np.zeros(start.shape)] * 3
    for step, (timestep, matrix) in enumerate(zip(table.timesteps, table.matrices, strict=True)):
        output = sum(weight * unet(state[0], timestep, context) for context, weight in rows(step))
        noise = draw() if table.draws_noise[step] else np.zeros(start.shape)
        terms = [*state, output, noise]
        state = [sum(float(matrix[i, j]) * terms[j] for j in range(6)) for i in range(4)]
    return state[0]


def snr_db(expected: np.ndarray, got: np.ndarray) -> float:
    """Signal-to-noise ratio of `got` against `expected` in dB."""
    error = np.sum((np.asarray(got, np.float64) - expected) ** 2)
    return float("inf") if error == 0 else 10 * np.log10(np.sum(np.asarray(expected, np.float64) ** 2) / error)
