"""What a caller asks for: checked once, where it is made."""

import math
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypedDict, cast

import numpy as np

from foley.errors import RequestError
from foley.guidance import check_guidance
from foley.manifest import Audio, Defaults, LatentSpace
from foley.noise import SEED_LIMIT
from foley.prompt import Part, Prompt, check_text, parts
from foley.schedule import Spacing

MAX_SECONDS: Final = 600.0
"""A clip's attention grows with the square of its length; past ten minutes a request is a slip of the pen."""
MAX_BATCH: Final = 8
"""Clips a graph call, where the caller says nothing."""


class NegativeIgnoredWarning(UserWarning):
    """A negative prompt was given where no step is guided: it is not heard."""


class Knobs(TypedDict, total=False):
    """What a caller may say beside the prompts; what is left out comes from the bundle."""

    seconds: float | None
    """Length of the waveform, kept to the sample."""
    steps: int | None
    """The sampler's steps (PNDM evaluates the U-Net once more)."""
    guidance: float | None
    """Classifier-free guidance scale; 1 or less turns it off and halves the work."""
    guidance_stop: float
    """The fraction of the steps that is guided, from the first; 1 by default."""
    sampler: str | None
    """A key of `foley.SAMPLERS`."""
    spacing: Spacing | None
    """Timestep spacing, where the checkpoint's own is not wanted."""
    eta: float | None
    """DDIM's share of fresh noise, 0 to 1."""
    seed: int
    """The first clip's seed, 0 by default; the next clips count up. A seed gives the noise that diffusers draws from
    `torch.Generator("cpu").manual_seed(seed)`."""
    negative: str | None
    """What should not be heard."""
    count: int
    """Clips for each prompt, 1 by default."""
    max_batch: int
    """Clips that share a graph call, `MAX_BATCH` by default."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """One call of `generate`, complete and in range."""

    prompts: tuple[tuple[Part, ...], ...]
    """One entry a clip."""
    seeds: tuple[int, ...]
    """One a clip."""
    seconds: float
    steps: int
    guidance: float
    guidance_stop: float
    sampler: str
    spacing: Spacing | None
    eta: float | None
    negative: str | None
    """None: what the model takes for no prompt."""
    max_batch: int

    def columns(self, latents: LatentSpace, audio: Audio) -> int:
        """Give the number of latent columns that hold `seconds`, rounded up to what the U-Net takes."""
        column_samples = audio.hop_samples * latents.frames_per_column
        needed = math.ceil(self.samples(audio) / column_samples)
        return -(-needed // latents.column_multiple) * latents.column_multiple

    def samples(self, audio: Audio) -> int:
        """Give the waveform's length in samples."""
        return max(1, round(self.seconds * audio.sample_rate_hz))


def make_request(
    defaults: Defaults,
    prompts: Prompt | Sequence[Prompt],
    *,
    seconds: float | None = None,
    steps: int | None = None,
    guidance: float | None = None,
    guidance_stop: float = 1.0,
    sampler: str | None = None,
    spacing: Spacing | None = None,
    eta: float | None = None,
    seed: int = 0,
    negative: str | None = None,
    count: int = 1,
    max_batch: int = MAX_BATCH,
) -> Request:
    """Fill a request from a bundle's defaults and check it.

    Every prompt gives `count` clips; the clips' seeds count up from `seed`.

    Raises:
        RequestError: a knob is out of range; the message names it.
    """
    texts = tuple(parts(prompt) for prompt in _several(prompts) for _ in range(whole("count", count)))
    if not texts:
        raise RequestError("there is no prompt, expected at least one")
    scale = defaults.guidance if guidance is None else guidance
    check_guidance(scale, guidance_stop)
    request = Request(
        prompts=texts,
        seeds=_seeds(seed, len(texts)),
        seconds=check_seconds(defaults.seconds if seconds is None else seconds),
        steps=whole("steps", defaults.steps if steps is None else steps),
        guidance=float(scale),
        guidance_stop=float(guidance_stop),
        sampler=_text("sampler", defaults.sampler if sampler is None else sampler),
        spacing=spacing,
        eta=eta,
        negative=None if negative is None else _text("negative", negative),
        max_batch=whole("max batch", max_batch),
    )
    if request.negative and not _hears_negative(request):
        _warn_of_negative(request)
    return request


def whole(name: str, value: int) -> int:
    """Give a count of at least one back.

    Raises:
        RequestError: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise RequestError(f"{name} is {value!r}, expected a whole number from 1")
    return int(value)


def check_seconds(seconds: float) -> float:
    """Give a clip's length back.

    Raises:
        RequestError: it is not above 0 and up to `MAX_SECONDS`.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, int | float | np.number) or not 0 < seconds <= MAX_SECONDS:
        raise RequestError(f"seconds is {seconds!r}, expected a number above 0 and up to {MAX_SECONDS:g}")
    return float(seconds)


def _hears_negative(request: Request) -> bool:
    """Say whether any step has a row of the negative prompt: it is guided, or weights do not add up to 1."""
    totals = [math.fsum(part.weight for part in prompt) for prompt in request.prompts]
    return (request.guidance > 1 and request.guidance_stop > 0) or any(abs(1 - total) > 1e-9 for total in totals)


def _warn_of_negative(request: Request) -> None:
    knob = f"guidance {request.guidance:g}" if request.guidance <= 1 else f"guidance stop {request.guidance_stop:g}"
    warnings.warn(
        f"the negative prompt {request.negative!r} is not heard: with {knob} no step is guided",
        NegativeIgnoredWarning,
        stacklevel=3,
    )


def _several(prompts: Prompt | Sequence[Prompt]) -> Sequence[Prompt]:
    """Tell one prompt (a text, or weighted parts) from several."""
    if isinstance(prompts, str):
        return [prompts]
    if isinstance(prompts, Part) or not isinstance(prompts, Iterable):
        raise RequestError(f"the prompt is {prompts!r}, expected a text, a list of `Part`s, or a list of either")
    found = list(prompts)
    if found and all(isinstance(part, Part) for part in found):
        return [cast("Sequence[Part]", found)]
    return cast("Sequence[Prompt]", found)


def _text(name: str, value: str) -> str:
    if not isinstance(value, str):
        raise RequestError(f"{name} is {value!r}, expected a text")
    check_text(name, value)
    return value


def _seeds(seed: int, count: int) -> tuple[int, ...]:
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or not 0 <= seed <= SEED_LIMIT - count:
        raise RequestError(f"seed is {seed!r}, expected an integer from 0 to {SEED_LIMIT - count}")
    return tuple(range(int(seed), int(seed) + count))
