"""What README.md says of the command line is so."""

import re

import click
import pytest
from support.commands import ROOT

from foley.cli import cli
from foley_export.cli import export

COMMANDS = {**cli.commands, "export": export}
LINES = (ROOT / "README.md").read_text().splitlines()
USES = [(name, line) for line in LINES for name in re.findall(r"\bfoley ([a-z]+)\b", line) if name in COMMANDS]


def options(name: str) -> set[str]:
    return {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_every_command_is_shown():
    assert {name for name, _ in USES} == set(COMMANDS)


@pytest.mark.parametrize("line", dict.fromkeys(line for _, line in USES), ids=lambda line: line[:40])
def test_options_beside_a_command_exist(line: str):
    known = set().union(*(options(name) for name, use in USES if use == line))
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) <= known


@pytest.mark.parametrize(
    "line", [line for line in LINES if re.match(r"^\* \*\*\w+:", line)], ids=lambda line: line[:40]
)
def test_options_of_the_notes_are_generates(line: str):
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", line)) <= options("generate")


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_every_option(name: str):
    text = COMMANDS[name].get_help(click.Context(COMMANDS[name], info_name=name))
    assert {option for option in options(name) if option.startswith("--") and option not in text} == set()
