"""`foley bench`: a group whose commands are imported when they are called."""

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "latency": ("foley_bench.latency.cli", "How long a clip takes, stage by stage, warm and cold."),
}
"""Command → its module, which has it under the command's name, and what `foley bench --help` says."""


class Benchmarks(click.Group):
    """The commands of `COMMANDS`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Give the names in the order in which they are used."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import a command's module and give the command."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, words) for name, (_, words) in COMMANDS.items()])


@click.group(cls=Benchmarks, short_help="Measure speed, fidelity and footprint on this machine.")
def bench() -> None:
    """Measure a bundle on this machine: each speed beside the fidelity of the same build."""
