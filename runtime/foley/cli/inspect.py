"""`foley inspect`: what a bundle holds."""

from pathlib import Path

import click
import msgspec

from foley.bundle import Bundle, load_bundle
from foley.cli.plans import plan_lines
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley.manifest import Graph, Manifest, Tensor

MIB = 1 << 20


@click.command(short_help="Print what a bundle holds, or its plans.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--engine", type=click.Choice(["tensorrt"]), help="Print the plans that were built for it instead.")
@click.option("--plans", type=click.Path(path_type=Path), help="Folder of plans; in the bundle by default.")
@click.option("--layers", is_flag=True, help="Print each plan's layers as TensorRT tells them, as JSON; takes the GPU.")
@click.option("--json", "as_json", is_flag=True, help="Print the manifest, or each plan's record, as JSON.")
def inspect(bundle: Path | None, engine: str | None, plans: Path | None, *, layers: bool, as_json: bool) -> None:
    """Print what BUNDLE holds: system, precision, graphs with their shapes, sizes and defaults.

    Without BUNDLE: the demo bundle. With --engine: what each plan was built from, for what sizes, and how near it is
    to the reference. Plans are not loaded for that, so it works on any machine.
    """
    loaded = load_bundle(bundle or demo_bundle(), verify_files=False)
    if engine is None and (plans is not None or layers):
        raise UsageError("--plans and --layers are of an engine's plans; add --engine tensorrt")
    if engine is not None:
        for text in plan_lines(loaded, plans, layers=layers, as_json=as_json):
            click.echo(text)
        return
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(loaded.manifest), indent=2).decode())
        return
    for line in _lines(loaded):
        click.echo(line)


def _lines(bundle: Bundle) -> list[str]:
    manifest = bundle.manifest
    size = sum(record.bytes for record in manifest.files.values())
    return [
        f"{bundle.folder}: {manifest.system}, {manifest.precision}, {size / MIB:.1f} MiB, "
        f"schema {manifest.schema_version}",
        f"from      {_source(manifest)}",
        f"made by   {', '.join(f'{name} {version}' for name, version in manifest.created_by.items())}",
        f"audio     {manifest.audio.sample_rate_hz} Hz, {manifest.audio.mel_bins} mel bins, "
        f"hop {manifest.audio.hop_samples} samples",
        f"latents   {manifest.latents.channels}×{manifest.latents.bins}, time along {manifest.latents.time_axis}, "
        f"{_column_ms(manifest):g} ms a column, in steps of {manifest.latents.column_multiple}",
        f"prompts   {_conditioning(manifest)}",
        f"schedule  {_schedule(manifest)}",
        f"defaults  {manifest.defaults.sampler}, {manifest.defaults.steps} steps, "
        f"guidance {manifest.defaults.guidance:g}, {manifest.defaults.seconds:g} s",
        "graphs",
        *(line for name, graph in manifest.graphs.items() for line in _graph(bundle, name, graph)),
    ]


def _source(manifest: Manifest) -> str:
    source = manifest.source
    revision = f"@{source.revision}" if source.revision else ""
    loras = f", LoRA {', '.join(source.loras)}" if source.loras else ""
    return f"{source.name}{revision} (sha256 {source.sha256[:12]}…){loras}"


def _column_ms(manifest: Manifest) -> float:
    return 1000 * manifest.audio.hop_samples * manifest.latents.frames_per_column / manifest.audio.sample_rate_hz


def _conditioning(manifest: Manifest) -> str:
    conditioning = manifest.conditioning
    encoders = ", ".join(
        f"{encoder.graph} (up to {tokenizer.max_tokens} tokens)"
        for encoder in conditioning.encoders
        for tokenizer in encoder.tokenizers
    )
    return f"{encoders}; without a prompt: {conditioning.unconditional.replace('_', ' ')}"


def _schedule(manifest: Manifest) -> str:
    schedule = manifest.schedule
    betas = "explicit betas" if schedule.trained_betas else f"β {schedule.beta_start:g}…{schedule.beta_end:g}"
    return f"{schedule.prediction_type}, {schedule.num_train_timesteps} steps, {betas} {schedule.beta_schedule}"


def _graph(bundle: Bundle, name: str, graph: Graph) -> list[str]:
    size = bundle.manifest.files[graph.weights].bytes / MIB
    spellings = f", spelt for {', '.join(graph.engines)}" if graph.engines else ""
    weights = f"{size:.1f} MiB of weights in {graph.weights_precision or graph.precision}"
    head = f"  {name}  {graph.precision}, {weights}{spellings}, {graph.snr_db:.0f} dB against torch"
    return [head, f"    in   {_tensors(graph.inputs)}", f"    out  {_tensors(graph.outputs)}"]


def _tensors(tensors: tuple[Tensor, ...]) -> str:
    return " · ".join(f"{tensor.name} [{','.join(map(str, tensor.shape))}]" for tensor in tensors)
