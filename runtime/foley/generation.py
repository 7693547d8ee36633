"""A request on its way: prompts encoded, noise drawn, denoised step by step, rendered to clips."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from foley.clip import Clip, Timings
from foley.contract import DENOISE_STEP, LATENT_DECODER, LATENTS, VOCODER
from foley.denoise import GROWABLE, Batch, Latents, Slot, Step
from foley.errors import EngineError, RequestError
from foley.guidance import Conditioning, Row, guide
from foley.noise import NoiseStream
from foley.prompt import Part
from foley.request import Request
from foley.samplers import sampler_table

if TYPE_CHECKING:
    from foley.pipeline import Pipeline


class Generation:
    """A request on its way. Iterate to denoise; stop iterating to cancel; then take the clips."""

    def __init__(self, pipeline: "Pipeline", request: Request, latents: NDArray[np.float32] | None = None) -> None:
        self._pipeline = pipeline
        self.request = request
        manifest = pipeline.bundle.manifest
        self._table = sampler_table(
            request.sampler, manifest.schedule, request.steps, eta=request.eta, spacing=request.spacing
        )
        columns = request.columns(manifest.latents, manifest.audio)
        self._shape = manifest.latents.shape(columns)
        self._check_latents(latents)
        with pipeline.steady() as self._weights:
            begin = time.perf_counter()
            self._slots = self._make_slots(latents)
            self._encode_ms = _since(begin)
            self._batches = self._arranged()
        self._denoise_ms: list[float] = []
        self._steps = self._denoise()

    @property
    def total_steps(self) -> int:
        """Graph calls in all."""
        return len(self._batches) * len(self._table.timesteps)

    def __iter__(self) -> Iterator[Step]:
        """Denoise, batch after batch, or go on where an earlier loop stopped.

        Each `Step` counts over the whole request. A step raises RequestError where the pipeline's LoRAs were changed
        after the generation was started.
        """
        return self._steps

    def _arranged(self) -> list[Batch]:
        """Split the clips into batches, and make the engine ready for each before the first step of any."""
        denoiser, size = self._pipeline.graph(DENOISE_STEP), self.request.max_batch
        parts = [self._slots[first : first + size] for first in range(0, len(self._slots), size)]
        batches = [Batch(denoiser, part) for part in parts]
        denoiser.prepare([denoiser.fit(shapes, GROWABLE) for batch in batches for shapes in batch.arrangements()])
        self._pipeline.graph(LATENT_DECODER).prepare([{LATENTS: (1, *self._shape)}])
        return batches

    def _denoise(self) -> Iterator[Step]:
        done = 0
        for batch in self._batches:
            self._denoise_ms.append(0.0)
            steps = iter(batch)
            for _ in self._table.timesteps:
                self._advance(steps)
                done += 1
                yield Step(done, self.total_steps, batch)

    def _advance(self, steps: Iterator[Step]) -> None:
        """Go one step with the weights that the generation was started with."""
        with self._pipeline.steady() as weights:
            if weights is not self._weights:
                raise RequestError("the pipeline's LoRAs were changed after this generation was started; start it anew")
            begin = time.perf_counter()
            next(steps)
            self._denoise_ms[-1] += _since(begin)

    def clips(self) -> list[Clip]:
        """Decode and vocode the finished latents.

        Raises:
            RequestError: the loop has not run to its end.
        """
        unfinished = sum(not slot.done for slot in self._slots)
        if unfinished:
            raise RequestError(f"{unfinished} clips are not denoised yet; iterate the generation to its end first")
        return [self._clip(index, slot.latents) for index, slot in enumerate(self._slots)]

    def _clip(self, index: int, latents: Latents) -> Clip:
        audio = self._pipeline.bundle.manifest.audio
        rendered = self._pipeline.render(latents)
        _check_finite(latents, rendered.mel, rendered.samples)
        denoise_ms, steps = self._denoise_ms[index // self.request.max_batch], len(self._table.timesteps)
        timings = Timings(self._encode_ms, denoise_ms, steps, rendered.decode_ms, rendered.vocode_ms)
        return Clip(
            prompt=_title(self.request.prompts[index]),
            seed=self.request.seeds[index],
            samples=rendered.samples[: self.request.samples(audio)],
            sample_rate_hz=audio.sample_rate_hz,
            hop_samples=audio.hop_samples,
            latents=latents,
            mel=rendered.mel,
            timings=timings,
        )

    def _make_slots(self, latents: NDArray[np.float32] | None) -> list[Slot]:
        encoded, none = self._encoded()
        slots = []
        for index, (prompt, seed) in enumerate(zip(self.request.prompts, self.request.seeds, strict=True)):
            rows = [Row(encoded[part.text], part.weight) for part in prompt]
            guidance = guide(rows, none, scale=self.request.guidance, stop=self.request.guidance_stop)
            noise = NoiseStream(seed)
            start = noise.normal(self._shape) if latents is None else latents[index]
            slots.append(Slot(self._table, guidance, noise, start * np.float32(self._table.initial_scale)))
        return slots

    def _encoded(self) -> tuple[dict[str, Conditioning], Conditioning]:
        """Encode every text of the request, and what stands for no prompt."""
        encoder, negative = self._pipeline.prompts, self.request.negative
        texts = [part.text for prompt in self.request.prompts for part in prompt]
        if negative is None:
            return encoder.encode(texts), encoder.unconditional
        encoded = encoder.encode([*texts, negative])
        return encoded, encoded[negative]

    def _check_latents(self, latents: NDArray[np.float32] | None) -> None:
        expected = (len(self.request.prompts), *self._shape)
        if latents is None:
            return
        if not isinstance(latents, np.ndarray):
            raise RequestError(f"latents are a {type(latents).__name__}, expected float32 {list(expected)}")
        if latents.shape != expected or latents.dtype != np.float32:
            raise RequestError(f"latents are {latents.dtype} {list(latents.shape)}, expected float32 {list(expected)}")


def _check_finite(latents: Latents, mel: NDArray[np.float32], samples: NDArray[np.float32]) -> None:
    """Refuse to hand out silence or noise for a sound.

    Raises:
        EngineError: a stage gave NaN or infinity; the first such stage is named.
    """
    for stage, values in ((DENOISE_STEP, latents), (LATENT_DECODER, mel), (VOCODER, samples)):
        if not np.isfinite(values).all():
            raise EngineError(f"{stage} gave NaN or infinity; a bundle of --precision fp32 does not overflow")


def _title(prompt: tuple[Part, ...]) -> str:
    """Join a prompt's parts as a person would read them."""
    return " + ".join(part.text if part.weight == 1 else f"{part.text} ({part.weight:g})" for part in prompt)


def _since(begin: float) -> float:
    return (time.perf_counter() - begin) * 1e3
