"""A clip is the same alone and among clips with other samplers, steps, guidance and progress, in the exported graph."""

import numpy as np
import pytest

import foley
from foley.contract import DENOISE_STEP
from foley.denoise import Batch, Latents, Slot
from foley.guidance import Row, guide
from foley.noise import NoiseStream
from foley.samplers import sampler_table
from foley.verify import snr_db

SHAPE = (4, 32, 8)
COMPANY = (
    # sampler, steps, guidance, stop, prompt, seed
    ("dpmpp-2m", 8, 7.5, 1.0, "a dog barking in the rain", 1),
    ("pndm", 6, 3.0, 1.0, "a slow church bell", 2),
    ("euler-a", 11, 5.0, 0.5, "wind over a field", 3),
    ("lcm", 4, 1.0, 1.0, "a passing train", 4),
    ("unipc", 8, 7.5, 0.0, "a dog barking in the rain", 5),
)


def slot(pipeline: foley.Pipeline, kind: tuple[str, int, float, float, str, int]) -> Slot:
    sampler, steps, scale, stop, prompt, seed = kind
    table = sampler_table(sampler, pipeline.bundle.manifest.schedule, steps)
    row = Row(pipeline.prompts.encode([prompt])[prompt], 1.0)
    guidance = guide([row], pipeline.prompts.unconditional, scale=scale, stop=stop)
    noise = NoiseStream(seed)
    return Slot(table, guidance, noise, noise.normal(SHAPE) * np.float32(table.initial_scale))


def denoise(pipeline: foley.Pipeline, kinds: tuple[tuple[str, int, float, float, str, int], ...]) -> list[Latents]:
    batch = Batch(pipeline.graph(DENOISE_STEP), [slot(pipeline, kind) for kind in kinds])
    for _ in batch:
        pass
    return batch.latents()


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["no-adapter", "adapter"])
def test_a_clip_is_the_same_in_any_company(bundles, layout):
    with foley.load(bundles.bundle(layout, "fp32"), threads=1) as pipeline:
        together = denoise(pipeline, COMPANY)
        for kind, latents in zip(COMPANY, together, strict=True):
            (alone,) = denoise(pipeline, (kind,))
            waveforms = [pipeline.vocode(pipeline.decode(found)) for found in (alone, latents)]
            assert np.std(waveforms[0]) > 0.01
            assert snr_db(*waveforms) >= 60, kind
