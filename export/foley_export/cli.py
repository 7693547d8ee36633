"""`foley export`: a checkpoint to a bundle."""

import importlib
import sys
from pathlib import Path

import click

from foley.errors import UsageError

NEEDED = ("torch", "diffusers", "transformers", "onnxscript", "onnxruntime", "safetensors", "accelerate", "peft")


@click.command()
@click.argument("checkpoint")
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, help="Folder of the new bundle.")
@click.option("--precision", type=click.Choice(["fp32", "fp16"]), default="fp32", show_default=True)
@click.option("--lora", "loras", multiple=True, metavar="FILE[@SCALE]", help="LoRA in diffusers' format, fused.")
@click.option("--revision", help="Branch, tag or commit of a hub repository.")
@click.option("--force", is_flag=True, help="Replace an older bundle at the output.")
def export(
    checkpoint: str, output: Path, precision: str, loras: tuple[str, ...], revision: str | None, *, force: bool
) -> None:
    """Trace CHECKPOINT, a local folder or a hub id, to a bundle of ONNX graphs.

    Every graph is run in ONNX Runtime and compared with torch before the bundle appears at the output.
    """
    _check_libraries()
    from foley_export.checkpoint import open_checkpoint
    from foley_export.export import Options
    from foley_export.export import export as export_bundle
    from foley_export.libraries import quiet_libraries
    from foley_export.lora import parse_lora

    options = Options(
        precision=precision,  # type: ignore[arg-type]
        loras=tuple(parse_lora(text) for text in loras),
        replace=force,
    )
    with quiet_libraries():
        manifest = export_bundle(open_checkpoint(checkpoint, revision=revision), output, options, Progress())
    for name, graph in manifest.graphs.items():
        click.echo(f"{name:<16} {graph.precision}  {graph.snr_db:6.1f} dB against torch")
    click.echo(str(output))


class Progress:
    """Says on stderr what is being done: one line rewritten on a terminal, a line a graph elsewhere."""

    def __init__(self) -> None:
        self._graph = ""

    def __call__(self, graph: str, doing: str) -> None:
        """Tell of a new piece of work."""
        if sys.stderr.isatty():
            click.echo(f"\r\x1b[K{graph}: {doing}…", err=True, nl=doing == "digesting files")
        elif graph != self._graph:
            click.echo(f"{graph}…", err=True)
        self._graph = graph


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


INSTALL = "pip install 'foley[export]'"
