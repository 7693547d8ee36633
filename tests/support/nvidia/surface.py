"""A recorded surface: what one release of NVIDIA's bindings offers, by name."""

import functools
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "surfaces"
TENSORRT = ("10.3", "10.16", "11.4")
CUDA = ("12", "13")


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function."""

    name: str
    type: str
    optional: bool


Overload = tuple[Parameter, ...]


@dataclass(frozen=True)
class Member:
    """What a class has under one name."""

    kind: str
    """method, static, property, member (of an enum), value or class."""
    overloads: tuple[Overload, ...] = ()
    type: str = ""
    """The type that a property or a method gives."""
    taken: str | None = None
    """The type that a property takes; None where it cannot be set."""
    value: int | str = 0
    """An enum member's number, or what another value of the class is called."""


@dataclass(frozen=True)
class ClassSurface:
    """One class: an enum where it has members of that kind."""

    name: str
    bases: tuple[str, ...] = ()
    init: tuple[Overload, ...] = ()
    """The constructor's overloads; none where it cannot be made from Python."""
    own: Mapping[str, Member] = field(default_factory=dict)

    @property
    def enum(self) -> dict[str, int]:
        """The members of an enum by name."""
        return {name: int(member.value) for name, member in self.own.items() if member.kind == "member"}


@dataclass(frozen=True)
class Function:
    """A function of the module."""

    overloads: tuple[Overload, ...]
    returns: tuple[str, ...] = ()
    """CUDA: the names of what it gives beside the error."""


@dataclass(frozen=True)
class Surface:
    """One release."""

    name: str
    version: str
    classes: Mapping[str, ClassSurface]
    functions: Mapping[str, Function]
    values: Mapping[str, Any]

    def member(self, owner: str, name: str) -> tuple[str, Member] | None:
        """Find a member of a class or of its bases; gives the class that has it, and the member."""
        surface = self.classes.get(owner)
        if surface is None:
            return None
        if name in surface.own:
            return owner, surface.own[name]
        return next((found for base in surface.bases if (found := self.member(base, name))), None)

    def has(self, qualified: str) -> bool:
        """Say whether `Class.member`, `Class`, a function or a value is there."""
        owner, _, name = qualified.rpartition(".")
        if qualified in {*self.classes, *self.functions, *self.values, "__version__"}:
            return True
        return bool(owner and (self.member(owner, name) or (name == "__init__" and owner in self.classes)))


def accepts(overload: Overload, positional: int, keywords: Iterable[str]) -> bool:
    """Say whether a call with so many arguments and these keywords fits an overload."""
    if any(parameter.name.startswith("*") for parameter in overload):
        return True
    rest = {parameter.name: parameter.optional for parameter in overload[positional:]}
    given = set(keywords)
    return positional <= len(overload) and given <= set(rest) and all(rest[name] for name in set(rest) - given)


@functools.cache
def load(name: str) -> Surface:
    """Load a surface by its file's name without suffix, such as `tensorrt-10.16` or `cuda-12`.

    Raises:
        FileNotFoundError: it was not recorded.
    """
    recorded = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    classes, functions = _cuda(recorded) if "enums" in recorded else _tensorrt(recorded)
    return Surface(name, recorded["version"], classes, functions, recorded["values"])


def _tensorrt(recorded: dict[str, Any]) -> tuple[dict[str, ClassSurface], dict[str, Function]]:
    classes = {
        name: ClassSurface(name, tuple(parts.get("bases", ())), _overloads(parts.get("init", ())), _members(parts))
        for name, parts in recorded["classes"].items()
    }
    return classes, {name: Function(_overloads(each)) for name, each in recorded["functions"].items()}


def _members(parts: dict[str, Any]) -> dict[str, Member]:
    members = {name: Member("member", value=number) for name, number in parts.get("members", {}).items()}
    for kind, section in (("method", "methods"), ("static", "static")):
        members |= {name: Member(kind, _overloads(each), _given(each)) for name, each in parts.get(section, {}).items()}
    for name, types in parts.get("properties", {}).items():
        members[name] = Member("property", type=types[0], taken=types[1] if len(types) > 1 else None)
    members |= {name: Member("value", value=text) for name, text in parts.get("values", {}).items()}
    return members | {name: Member("class") for name in parts.get("classes", ())}


def _cuda(recorded: dict[str, Any]) -> tuple[dict[str, ClassSurface], dict[str, Function]]:
    functions = {
        name: Function(_overloads([each["parameters"]]), tuple(each["returns"]))
        for name, each in recorded["functions"].items()
    }
    enums = {
        name: ClassSurface(name, own={member: Member("member", value=number) for member, number in members.items()})
        for name, members in recorded["enums"].items()
    }
    structs = {
        name: ClassSurface(name, own={each: Member("property", taken="") for each in attributes})
        for name, attributes in recorded["structs"].items()
    }
    return enums | structs, functions


def _overloads(recorded: Iterable[list[str]]) -> tuple[Overload, ...]:
    return tuple(tuple(_parameter(text) for text in overload if text[:3] != "-> ") for overload in recorded)


def _given(recorded: Iterable[list[str]]) -> str:
    """Give the type that the first overload with one gives."""
    return next((text[3:] for overload in recorded for text in overload if text[:3] == "-> "), "")


def _parameter(text: str) -> Parameter:
    """Read `name`, `name: type` or `name: type = default`."""
    declared, _, default = text.partition(" = ")
    name, _, type_ = declared.partition(": ")
    if "=" in name:  # an untyped parameter of Python's own spelling
        name, default = name.split("=")[0], "given"
    return Parameter(name, type_, bool(default))
