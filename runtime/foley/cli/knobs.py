"""The request's knobs as options, gathered into one `Knobs` for every command that generates."""

import functools
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, cast, get_args

import click

from foley.request import MAX_BATCH, Knobs
from foley.samplers import SAMPLERS
from foley.schedule import Spacing

Rest = ParamSpec("Rest")

OPTIONS: Final = (
    click.option("--seconds", type=float, help="Length of each clip."),
    click.option("--steps", type=int, help="Steps of the sampler."),
    click.option("--sampler", help=f"{', '.join(SAMPLERS)}."),
    click.option("--spacing", type=click.Choice(get_args(Spacing)), help="Timestep spacing."),
    click.option("--eta", type=float, help="Share of fresh noise, ddim only."),
    click.option("--guidance", type=float, help="Guidance scale; 1 turns it off."),
    click.option("--guidance-stop", type=float, default=1.0, show_default=True, help="Guided fraction of the steps."),
    click.option("--negative", help="What should not be heard."),
    click.option("--seed", type=int, default=0, show_default=True, help="Seed of the first clip; the next count up."),
    click.option("--count", type=int, default=1, show_default=True, help="Clips for each prompt."),
    click.option("--max-batch", type=int, default=MAX_BATCH, show_default=True, help="Clips denoised together."),
)


def knob_options(command: Callable[Concatenate[Knobs, Rest], None]) -> Callable[..., None]:
    """Add the options of `OPTIONS` to a command, which takes them as its first argument."""

    @functools.wraps(command)
    def gathered(*rest: Rest.args, **given: Rest.kwargs) -> None:
        values = cast("dict[str, object]", given)
        knobs = cast("Knobs", {name: values.pop(name) for name in Knobs.__annotations__})
        command(knobs, *rest, **given)

    for option in reversed(OPTIONS):
        gathered = option(gathered)
    return gathered
