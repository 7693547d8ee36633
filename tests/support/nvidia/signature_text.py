"""Signatures as pybind writes them into docstrings, as lists of parameters; record.py runs it without this package."""

import itertools
import re

OPENING, CLOSING = "([{<", ")]}>"


def overloads(name: str, docstring: str | None) -> list[list[str]]:
    """Give each overload of a docstring: `name: type` or `name: type = default` without `self`, then `-> type`."""
    line = re.compile(rf"^(?:\d+\. )?{re.escape(name)}\((.*)\)( -> .*)?$", re.MULTILINE)
    found = [match.groups("") for match in line.finditer(docstring or "")]
    if len(found) > 1 and found[0][0] == "*args, **kwargs":
        found = found[1:]
    return [[*_own(split(short(parameters))), *_given(short(given))] for parameters, given in found]


def returned(docstring: str | None) -> str:
    """Give the type that a signature returns, or nothing."""
    match = re.search(r"^.*\)\s*-> (.*)$", docstring or "", re.MULTILINE)
    return short(match.group(1)) if match else ""


def short(text: str) -> str:
    """Leave out the names of the modules that every type has before it."""
    return re.sub(
        r"\b(tensorrt_bindings\.tensorrt|tensorrt\.tensorrt|typing_extensions|typing|collections\.abc)\.", "", text
    )


def split(parameters: str) -> list[str]:
    """Cut at the commas that are in no bracket and no string."""
    cuts = [place for place, letter in enumerate(parameters) if letter == "," and not _depth(parameters[:place])]
    ends = [-1, *cuts, len(parameters)]
    return [part.strip() for part in (parameters[a + 1 : b] for a, b in itertools.pairwise(ends)) if part.strip()]


def _depth(text: str) -> int:
    """Count the brackets and the string that are open at the end of a text."""
    text = re.sub(r"'[^']*'|\"[^\"]*\"|->", "", text)
    opened = sum((letter in OPENING) - (letter in CLOSING) for letter in text)
    return opened + ("'" in text or '"' in text)


def _given(text: str) -> list[str]:
    return [] if text in ("", " -> None") else [text.strip()]


def _own(parameters: list[str]) -> list[str]:
    return parameters[1:] if parameters and parameters[0].split(":")[0] == "self" else parameters
