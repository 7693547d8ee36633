"""Make the demo model: `python -m foley_export.demo_model OUT`, interrupted and repeated at will."""

import argparse
import dataclasses
from pathlib import Path

from foley_export.demo_model.losses import plot_losses
from foley_export.demo_model.recipe import Recipe, make_demo_model


def main() -> None:
    """Parse the arguments, one option for each number of the recipe."""
    parser = argparse.ArgumentParser(prog="python -m foley_export.demo_model", description=__doc__)
    parser.add_argument("folder", type=Path, help="where arrays, states, losses and the checkpoint go")
    for field in dataclasses.fields(Recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=int, default=field.default, metavar="N")
    arguments = vars(parser.parse_args())
    folder: Path = arguments.pop("folder")
    checkpoint = make_demo_model(folder, Recipe(**arguments))
    plot = plot_losses(folder / "losses.jsonl", folder / "losses.png")
    print(f"{checkpoint}\n{plot}")  # noqa: T201


if __name__ == "__main__":
    main()
