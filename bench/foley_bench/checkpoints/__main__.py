"""Write a random-weight checkpoint: python -m foley_bench.checkpoints FOLDER."""

import sys
from pathlib import Path
from typing import Any, get_args

import click

from foley_bench.checkpoints.configs import Encoder, Size
from foley_bench.checkpoints.files import Weights
from foley_bench.checkpoints.structure import VaeAttention
from foley_bench.checkpoints.write import Dtype, Layout, write_checkpoint
from foley_engines.errors import FoleyError


def _among(choices: Any) -> click.Choice[str]:  # noqa: ANN401 - a Literal alias
    return click.Choice(get_args(choices))


def _names(_context: click.Context, _option: click.Parameter, value: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in value.split(","))
    if unknown := set(names) - set(get_args(Encoder)):
        raise click.BadParameter(f"{', '.join(sorted(unknown))}; known are {', '.join(get_args(Encoder))}")
    return names


@click.command()
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--layout", type=_among(Layout), default="adapter", show_default=True, help="Released folder layout.")
@click.option("--size", type=_among(Size), default="tiny", show_default=True, help="full: 4.3 GB in float32.")
@click.option("--encoders", callback=_names, default="clip", show_default=True, help="Of clip, t5, clap: comma-joined.")
@click.option("--weights", type=_among(Weights), default="safetensors", show_default=True, help="Weight file format.")
@click.option("--dtype", type=_among(Dtype), default="float32", show_default=True, help="Stored precision.")
@click.option("--vae-attention", type=_among(VaeAttention), default="to_q", show_default=True, help="Key spelling.")
@click.option("--prediction-type", default="epsilon", show_default=True, help="Written into the scheduler's config.")
@click.option("--seed", type=int, default=0, show_default=True, help="Same seed, same bytes.")
def main(folder: Path, **options: Any) -> None:  # noqa: ANN401 - click hands over what the options above declare
    """Write a random-weight Auffusion checkpoint into FOLDER, which must be new or empty."""
    try:
        print(write_checkpoint(folder, **options))
    except FoleyError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main(prog_name="python -m foley_bench.checkpoints")
