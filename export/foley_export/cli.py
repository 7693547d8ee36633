"""`foley export`: a checkpoint to a bundle."""

import importlib
import sys
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import click

from foley.bundle import MANIFEST, check_new_folder
from foley.errors import UsageError
from foley.manifest import Defaults, decode
from foley_export.defaults import DefaultKnobs

NEEDED = ("torch", "diffusers", "transformers", "onnxscript", "onnxruntime", "safetensors", "accelerate", "peft")
INSTALL = "pip install '.[export,cpu]' in Foley's clone"
CLEAR_LINE: Final = "\r\x1b[K"


@click.command(short_help="Trace a checkpoint to a bundle of ONNX graphs.")
@click.argument("checkpoint")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option("--precision", type=click.Choice(["fp32", "fp16", "bf16"]), default="fp32", show_default=True)
@click.option("--weights", type=click.Choice(["fp32", "fp16"]), help="Storage of weights; as the precision by default.")
@click.option("--unet", type=click.Path(path_type=Path), help="Trained U-Net in place of the checkpoint's.")
@click.option("--lora", "loras", multiple=True, metavar="FILE[@SCALE]", help="LoRA in diffusers' format, fused.")
@click.option("--steps", type=int, help="The bundle's default; the system's where left out.")
@click.option("--guidance", type=float, help="The bundle's default guidance scale.")
@click.option("--sampler", help="The bundle's default sampler.")
@click.option("--seconds", type=float, help="The bundle's default length of a clip.")
@click.option("--revision", help="Branch, tag or commit of a hub repository.")
@click.option("--force", is_flag=True, help="Replace an older bundle at the output.")
def export(
    checkpoint: str,
    output: Path,
    precision: str,
    weights: str | None,
    unet: Path | None,
    loras: tuple[str, ...],
    steps: int | None,
    guidance: float | None,
    sampler: str | None,
    seconds: float | None,
    revision: str | None,
    *,
    force: bool,
) -> None:
    """Trace CHECKPOINT, a local folder or a hub id, to a bundle of ONNX graphs.

    Every graph is run in ONNX Runtime and compared with torch before the bundle appears at the output.
    """
    check_new_folder(output.resolve(), replace=force)
    defaults = DefaultKnobs(steps, guidance, sampler, seconds)
    _check_libraries()
    from foley_export.checkpoint import open_checkpoint
    from foley_export.export import Options
    from foley_export.export import export as export_bundle
    from foley_export.libraries import quiet_libraries
    from foley_export.lora import parse_lora

    options = Options(
        precision=precision,  # type: ignore[arg-type]
        weights=weights,  # type: ignore[arg-type]
        defaults=defaults,
        loras=tuple(parse_lora(text) for text in loras),
        replace=force,
    )
    opened = open_checkpoint(checkpoint, revision=revision)
    opened = opened if unet is None else opened.with_unet(unet)
    former = _defaults(output)
    with quiet_libraries(), Progress() as progress:
        manifest = export_bundle(opened, output, options, progress)
    for name, graph in manifest.graphs.items():
        kept = f", {len(graph.float32_nodes)} nodes kept in fp32" if graph.float32_nodes else ""
        click.echo(f"{name:<16} {graph.precision}  {graph.snr_db:6.1f} dB against torch{kept}")
    if former is not None and former != manifest.defaults:
        click.echo(f"requests that say nothing now get {_words(manifest.defaults)}; before: {_words(former)}", err=True)
    click.echo(str(output))


def _defaults(bundle: Path) -> Defaults | None:
    """Read the defaults of a bundle that is to be replaced; None where there is none."""
    place = bundle / MANIFEST
    return decode(place.read_bytes(), str(place)).defaults if place.is_file() else None


def _words(defaults: Defaults) -> str:
    return f"{defaults.steps} steps of {defaults.sampler}, guidance {defaults.guidance:g}, {defaults.seconds:g} s"


class Progress:
    """Says on stderr what is being done: one line rewritten on a terminal, a line a graph elsewhere."""

    def __init__(self) -> None:
        self._graph = ""
        self._terminal = sys.stderr.isatty()

    def __call__(self, graph: str, doing: str) -> None:
        """Tell of a new piece of work."""
        if self._terminal:
            click.echo(f"{CLEAR_LINE}{graph}: {doing}…", err=True, nl=False)
        elif graph != self._graph:
            click.echo(f"{graph}…", err=True)
        self._graph = graph

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._terminal:
            click.echo(CLEAR_LINE, err=True, nl=False)


def _check_libraries() -> None:
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise UsageError(
                f"foley export needs {name}, which is not installed; install it with: {INSTALL}"
            ) from error
