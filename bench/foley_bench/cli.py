"""`foley bench`: a group whose commands are imported when they are called."""

from importlib import import_module
from typing import Final

import click

COMMANDS: Final = {
    "latency": ("foley_bench.latency.cli", "How long a clip takes, stage by stage, warm and cold."),
    "roofline": ("foley_bench.roofline.cli", "How near each stage comes to what the machine could do."),
    "footprint": ("foley_bench.footprint.cli", "Installed size, import time, memory and cold start."),
    "throughput": ("foley_bench.throughput.cli", "Clips a minute over the batch, up to memory or saturation."),
    "fidelity": ("foley_bench.fidelity.cli", "Builds against each other: what each loses, and how fast it is."),
    "compare": ("foley_bench.compare.cli", "Foley beside diffusers, torch.compile, optimum and OpenVINO, in one run."),
    "baseline": ("foley_bench.regression.cli", "Keep how long a clip takes, for `check`."),
    "check": ("foley_bench.regression.cli", "Say whether a build is slower than its baseline."),
    "report": ("foley_bench.report.cli", "Render a page's tables and plots from kept rows."),
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
