"""`foley generate`: prompts to sound files."""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import click

from foley.cli.engine import Teller, engine_options
from foley.cli.knobs import knob_options
from foley.cli.names import clip_files, endings
from foley.cli.prompts import read_prompts
from foley.clip import Clip
from foley.generation import Generation
from foley.loras import Lora, parse_lora
from foley.pipeline import Pipeline, load
from foley.prompt import Part, Prompt
from foley.request import MAX_BATCH, Knobs, Request, whole
from foley_engines import Setup

DEMO: Final = "bundle: the demo model (short procedural sounds; see README)"


@click.command(short_help="Generate sound from prompts.")
@click.argument("prompts", nargs=-1)
@click.option("--bundle", type=click.Path(path_type=Path), help="Folder that foley export wrote; without, the demo.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File for one clip, or a folder.")
@click.option("--prompts", "prompt_file", type=click.Path(path_type=Path), help="Text, .csv or .jsonl; - for stdin.")
@click.option("--also", type=(str, float), multiple=True, metavar="TEXT WEIGHT", help="A further, weighted prompt.")
@click.option(
    "--lora", "lora_texts", multiple=True, metavar="FILE[@SCALE]", help="LoRA put into the weights; repeat for more."
)
@engine_options
@knob_options
@click.option("--format", "ending", type=click.Choice(endings()), help="Format of files in a folder; wav by default.")
@click.option("--spectrogram", is_flag=True, help="Write a PNG of the mel beside each clip.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each clip.")
def generate(
    knobs: Knobs,
    setup: Setup,
    prompts: tuple[str, ...],
    bundle: Path | None,
    output: Path | None,
    prompt_file: Path | None,
    also: tuple[tuple[str, float], ...],
    lora_texts: tuple[str, ...],
    ending: str | None,
    *,
    spectrogram: bool,
    as_json: bool,
) -> None:
    """Generate sound from PROMPTS.

    Clips are written one by one as they are done, under names that do not depend on the run.
    """
    count = whole("count", knobs.get("count", 1))
    texts = [text for text in read_prompts(prompts, prompt_file) for _ in range(count)]
    loras = [parse_lora(text) for text in lora_texts]
    with load(bundle, engine=setup) as pipeline:
        requests = list(_requests(pipeline, [_with(text, also) for text in texts], knobs))
        files = iter(clip_files(output, ending, texts, knobs.get("seed", 0)))
        if bundle is None and not as_json:
            click.echo(DEMO, err=True)
        pipeline.use_loras(loras, tell=Teller())
        for request, clips in _generated(pipeline, requests):
            for clip in clips:
                _write(clip, request, loras, next(files), spectrogram=spectrogram, as_json=as_json)


def _with(text: str, also: tuple[tuple[str, float], ...]) -> Prompt:
    return [Part(text), *(Part(other, weight) for other, weight in also)] if also else text


def _requests(pipeline: Pipeline, prompts: list[Prompt], knobs: Knobs) -> Iterator[Request]:
    """Split the work into requests of one batch each, so that finished clips are on disk before the next begin."""
    size = whole("max batch", knobs.get("max_batch", MAX_BATCH))
    for first in range(0, len(prompts), size):
        own: Knobs = {**knobs, "count": 1, "seed": knobs.get("seed", 0) + first}
        yield pipeline.request(prompts[first : first + size], **own)


def _generated(pipeline: Pipeline, requests: list[Request]) -> Iterator[tuple[Request, list[Clip]]]:
    """Run the requests under one progress bar, which only a terminal sees."""
    for number, request in enumerate(requests, 1):
        generation = pipeline.start(request)
        _denoise(generation, f"batch {number}/{len(requests)}" if len(requests) > 1 else "denoising")
        yield request, generation.clips()


def _denoise(generation: Generation, label: str) -> None:
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=generation.total_steps, label=label, file=sys.stderr, hidden=hidden) as bar:
        for _ in generation:
            bar.update(1)


def _write(clip: Clip, request: Request, loras: list[Lora], file: Path, *, spectrogram: bool, as_json: bool) -> None:
    clip.save(file)
    picture = clip.save_spectrogram(file.with_suffix(".png")) if spectrogram else None
    click.echo(json.dumps(_record(clip, request, loras, file, picture)) if as_json else str(file))


def _record(clip: Clip, request: Request, loras: list[Lora], file: Path, picture: Path | None) -> dict[str, object]:
    return {
        "file": str(file),
        "spectrogram": str(picture) if picture else None,
        "prompt": clip.prompt,
        "seed": clip.seed,
        "seconds": clip.seconds,
        "sample_rate_hz": clip.sample_rate_hz,
        "sampler": request.sampler,
        "steps": request.steps,
        "guidance": request.guidance,
        "guidance_stop": request.guidance_stop,
        "negative": request.negative,
        "spacing": request.spacing,
        "eta": request.eta,
        "loras": [{"file": str(lora.file), "scale": lora.scale} for lora in loras],
        "timings": {**asdict(clip.timings), "total_ms": clip.timings.total_ms},
    }
