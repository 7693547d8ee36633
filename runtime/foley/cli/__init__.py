"""The `foley` command.

Misuse prints one line on stderr and exits 2, failure exits 1, an interrupt 130, a termination 143.
"""

import signal
import sys
import warnings
from importlib.metadata import entry_points
from types import FrameType
from typing import TextIO

import click

import foley
from foley.cli.build import build
from foley.cli.doctor import doctor
from foley.cli.generate import generate
from foley.cli.inspect import inspect
from foley.cli.verify import verify
from foley.errors import FoleyError, UsageError

INTERRUPTED = 130
TERMINATED = 143
STOPPED = "interrupted; nothing half-written was kept"
BROKEN_PIPE = 1
COMMAND_GROUP = "foley.commands"
"""Entry points through which the export and bench packages add their commands; the runtime imports neither."""


class Commands(click.Group):
    """The runtime's own commands, and those of installed packages."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Give all command names, sorted."""
        added = [point.name for point in entry_points(group=COMMAND_GROUP)]
        return sorted({*super().list_commands(ctx), *added})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Find a command, importing its package only now."""
        own = super().get_command(ctx, cmd_name)
        if own is not None:
            return own
        for point in entry_points(group=COMMAND_GROUP, name=cmd_name):
            command = point.load()
            if isinstance(command, click.Command):
                return command
        return None


def _show_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        click.echo(f"foley, version {foley.__version__}")
        context.exit()


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, expose_value=False, is_eager=True, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Text to sound: export a trained latent diffusion model once, generate anywhere without torch."""


for _command in (generate, inspect, verify, doctor, build):
    cli.add_command(_command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit the process."""
    warnings.showwarning = _show_warning
    signal.signal(signal.SIGTERM, _terminate)
    try:
        cli.main(arguments, prog_name="foley", standalone_mode=False)
    except FoleyError as error:
        _fail(str(error), error.exit_code)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        _fail(error.format_message(), error.exit_code)
    except TerminatedError:
        _fail(STOPPED, TERMINATED)
    except (click.Abort, KeyboardInterrupt):
        _fail(STOPPED, INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(BROKEN_PIPE)
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}", UsageError.exit_code)
    except MemoryError:
        _fail("out of memory; use fewer seconds, a smaller --max-batch or a smaller model", 1)


class TerminatedError(BaseException):
    """The process was told to end: what is half-written is cleaned up on the way out."""


def _terminate(_signal: int, _frame: FrameType | None) -> None:
    raise TerminatedError


def _fail(message: str, code: int) -> None:
    click.echo(f"foley: {' '.join(message.split())}", err=True)
    sys.exit(code)


def _show_warning(  # the signature is that of warnings.showwarning
    message: Warning | str,
    category: type[Warning],
    filename: str,  # noqa: ARG001
    lineno: int,  # noqa: ARG001
    file: TextIO | None = None,  # noqa: ARG001
    line: str | None = None,  # noqa: ARG001
) -> None:
    if issubclass(category, UserWarning):
        click.echo(f"foley: warning: {message}", err=True)
