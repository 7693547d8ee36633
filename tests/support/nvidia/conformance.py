"""Whether every release of NVIDIA's bindings has the names that a package uses, and takes its calls."""

import ast
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from support.nvidia.source_reader import Known, Reader, Use, overloads_of, releases
from support.nvidia.surface import Overload, accepts


@dataclass
class Findings:
    """What was read."""

    uses: list[Use] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    """Members of TensorRT on variables that the convention does not know."""

    def problems(self, guarded: Mapping[str, Iterable[str]]) -> list[str]:
        """List what a release lacks and is not guarded, what no overload takes, and what is unknown."""
        lacking = [f"{use.place}: {words}" for use in self.uses if (words := _lack(use, guarded))]
        wrong = [f"{use.place}: {words}" for use in self.uses if use.call and (words := _misfit(use))]
        return sorted({*lacking, *wrong, *self.unknown})

    def names(self) -> dict[str, list[str]]:
        """Give every name that is used, and the releases that have it."""
        return {use.name: use.versions() for use in sorted(self.uses, key=lambda use: (use.library, use.name))}


def check_guards(findings: Findings, guarded: Mapping[str, Iterable[str]]) -> list[str]:
    """List the guards that are not true, and those that guard nothing."""
    names = findings.names()
    stale = [f"{name} is guarded and not used" for name in guarded if name not in names]
    false = [
        f"{name} is guarded for {list(versions)}, but is in {names[name]}"
        for name, versions in guarded.items()
        if name in names and list(versions) != names[name]
    ]
    return stale + false


def read(sources: Mapping[str, str]) -> Findings:
    """Read a package's files, their text by name."""
    trees = {name: ast.parse(text, name) for name, text in sources.items()}
    known = Known.of(trees.values())
    findings = Findings()
    for name, tree in trees.items():
        Reader(name, known, findings.uses, findings.unknown).visit(tree)
    return findings


def _lack(use: Use, guarded: Mapping[str, Iterable[str]]) -> str:
    having, all_ = use.versions(), [surface.name.partition("-")[2] for surface in releases(use.library)]
    if having == all_ or (use.name in guarded and having == list(guarded[use.name])):
        return ""
    missing = ", ".join(version for version in all_ if version not in having)
    return f"{use.name} is not in {use.library} {missing}"


def _misfit(use: Use) -> str:
    positional, keywords = use.call or (None, ())
    for surface in releases(use.library):
        overloads = overloads_of(surface, use.name)
        fits = any(_takes(overload, positional, keywords) for overload in overloads)
        if overloads and not fits:
            given = f"{'some' if positional is None else positional} positional arguments and {list(keywords)}"
            return f"{use.name} of {surface.name} takes {_words(overloads)}, got {given}"
    return ""


def _takes(overload: Overload, positional: int | None, keywords: tuple[str, ...]) -> bool:
    counts = range(len(overload) + 1) if positional is None else (positional,)
    return any(accepts(overload, count, keywords) for count in counts)


def _words(overloads: Iterable[Overload]) -> str:
    return " or ".join(f"({', '.join(parameter.name for parameter in overload)})" for overload in overloads)
