"""Features of real sounds that no source was asked for, kept on disk."""

from pathlib import Path
from typing import Final

import numpy as np

from foley.files import new_file
from foley_bench.fidelity.frechet import Floats
from foley_bench.quality.frechet import features
from foley_bench.quality.identity import yardstick
from foley_export.demo_model.corpus import held_out_captions
from foley_export.demo_model.sounds import render

SEED: Final = 20260104
CHUNK: Final = 64


def real_features(count: int, cache: Path) -> Floats:
    """Give features [count,96] of sounds rendered from other held-out scenes than those that sources are asked for.

    Half are of one event and half of two, as the asks are. The file in `cache` is named by the count and the digest of
    what made it.
    """
    cache.mkdir(parents=True, exist_ok=True)
    file = cache / f"real-{count}-{yardstick()}.npy"
    if not file.exists():
        measured = _measure(count)
        with new_file(file) as working:
            np.save(working, measured)
    found: Floats = np.load(file)
    return found


def _measure(count: int) -> Floats:
    scenes = [held_out.scene for held_out in held_out_captions(count, SEED)]
    measured = []
    for first in range(0, count, CHUNK):
        numbers = range(first, min(first + CHUNK, count))
        clips = [render(scenes[number], np.random.default_rng([SEED, number])) for number in numbers]
        measured.append(features(np.stack(clips)))
    return np.concatenate(measured)
