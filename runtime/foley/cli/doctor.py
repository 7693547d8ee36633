"""`foley doctor`: what can run here, and what would change that."""

import json
import os
import platform
from dataclasses import asdict

import click

import foley_engines


@click.command(short_help="Say which engines can run here, and how the others could.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def doctor(*, as_json: bool) -> None:
    """Say which engines can run on this machine, and for the others what is missing and the command that fixes it."""
    statuses = [foley_engines.status(name) for name in foley_engines.ENGINES]
    machine = {"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()}
    if as_json:
        click.echo(json.dumps({"machine": machine, "engines": [asdict(status) for status in statuses]}))
        return
    click.echo(f"{machine['system']}, Python {machine['python']}, {machine['cores']} cores")
    for status in statuses:
        click.echo(f"{status.name:<9} {'yes' if status.usable else 'no ':<4} {status.detail}")
