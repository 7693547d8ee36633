"""Make the demo model: `python -m foley_export.demo_model OUT`, interrupted and repeated at will."""

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import NoReturn

from foley.errors import FoleyError, UsageError
from foley_export.demo_model.device import find_device
from foley_export.demo_model.losses import plot_losses
from foley_export.demo_model.recipe import Recipe, make_demo_model


def main() -> None:
    """Run the command line; what goes wrong on purpose is one line on stderr."""
    folder, recipe, device = _arguments()
    try:
        checkpoint = make_demo_model(folder, recipe, find_device(device))
        plot = plot_losses(folder / "losses.jsonl", folder / "losses.png")
    except FoleyError as error:
        _fail(str(error), error.exit_code)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", UsageError.exit_code)
    print(f"{checkpoint}\n{plot}")  # noqa: T201


def _arguments() -> tuple[Path, Recipe, str]:
    """Parse the arguments, one option for each number of the recipe and the name of the device."""
    parser = argparse.ArgumentParser(prog="python -m foley_export.demo_model", description=__doc__)
    parser.add_argument("folder", type=_folder, help="where arrays, states, losses and the checkpoint go")
    parser.add_argument("--device", default="cpu", metavar="NAME", help="cpu, cuda or cuda:N; cpu by default")
    for field in dataclasses.fields(Recipe):
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=_count, default=field.default, metavar="N")
    arguments = vars(parser.parse_args())
    folder, device = arguments.pop("folder"), arguments.pop("device")
    return folder, Recipe(**arguments), device


def _folder(text: str) -> Path:
    path = Path(text)
    if path.exists() and not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text} is a file, expected a folder or a new name")
    return path


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a whole number from 1 up")
    return int(text)


def _fail(message: str, exit_code: int) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)  # noqa: T201
    sys.exit(exit_code)


if __name__ == "__main__":
    main()
