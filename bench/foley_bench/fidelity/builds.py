"""Builds as a person names them: a bundle in an engine with settings of its own."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from foley.cli.engine import Given, make_setup
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley.request import Knobs
from foley_engines import Setup
from foley_engines.registry import check_engine

FORM: Final = "expected 'NAME: [BUNDLE] [key=value …]'"
KNOBS: Final[dict[str, Callable[[str], Any]]] = {
    "steps": int, "sampler": str, "guidance": float, "guidance-stop": float,
}  # fmt: skip
ENGINE: Final[dict[str, Callable[[str], Any]]] = {"engine": str, "threads": int, "device": int, "plans": Path}
KINDS: Final = {int: "a whole number", float: "a number"}


@dataclass(frozen=True)
class Build:
    """One way to make clips."""

    name: str
    folder: Path
    """The bundle."""
    engine: tuple[tuple[str, Any], ...]
    """The engine's options that were given; builds that share these and the bundle run in one pipeline."""
    knobs: tuple[tuple[str, Any], ...]
    """What the request says; the bundle's defaults are the rest."""

    @property
    def setup(self) -> Setup:
        """The engine's setup.

        Raises:
            UsageError: there is no such engine, or an option is another engine's.
        """
        given: dict[str, Any] = dict.fromkeys(Given.__annotations__) | dict(self.engine)
        flags = dict.fromkeys(("no_build", "host_code", "no_cuda_graph"), False)
        engine = given["engine"] or "cpu"
        return make_setup(cast("Given", {**given, **flags, "engine": engine}))

    def request_knobs(self) -> Knobs:
        """Give what the request says, by the request's names."""
        return cast("Knobs", {name.replace("-", "_"): value for name, value in self.knobs})


def parse_builds(texts: Sequence[str]) -> list[Build]:
    """Read builds from texts such as `five: out/fp16 engine=cuda steps=5`; without a bundle, the demo's.

    Raises:
        UsageError: there are fewer than two, two have one name, or one cannot be read or run here.
    """
    if len(texts) < 2:
        raise UsageError(f"--build was given {len(texts)} times, expected 2 or more builds to compare: {FORM}")
    builds = [_parse(text) for text in texts]
    names = [build.name for build in builds]
    if len(set(names)) < len(names):
        raise UsageError(f"the builds are named {', '.join(names)}, expected a name of its own for each")
    for build in builds:
        check_engine(build.setup)
    return builds


def _parse(text: str) -> Build:
    name, colon, rest = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--build {text!r} has no name, {FORM}")
    words = _words(name.strip(), rest)
    folders = [word for word in words if "=" not in word]
    if len(folders) > 1:
        raise UsageError(f"build {name.strip()!r} has several bundles, {', '.join(folders)}; {FORM}")
    given = dict(_pair(name.strip(), word) for word in words if "=" in word)
    return Build(
        name=name.strip(),
        folder=Path(folders[0]) if folders else demo_bundle(),
        engine=tuple((key, value) for key, value in given.items() if key in ENGINE),
        knobs=tuple((key, value) for key, value in given.items() if key in KNOBS),
    )


def _words(name: str, text: str) -> list[str]:
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"build {name!r} cannot be read: {error}; {FORM}") from error


def _pair(name: str, word: str) -> tuple[str, Any]:
    key, _, value = word.partition("=")
    kinds = {**ENGINE, **KNOBS}
    if key not in kinds:
        raise UsageError(f"build {name!r} has the key {key!r}, expected one of {', '.join(kinds)}")
    try:
        return key, kinds[key](value)
    except ValueError as error:
        expected = KINDS[kinds[key]]  # type: ignore[index]
        raise UsageError(f"build {name!r} has {word}, expected {expected}") from error
