"""What a bundle is checked for: a version of TensorRT, and how much is known of its parser."""

import re
from dataclasses import dataclass
from typing import Final

from foley.errors import UsageError

Version = tuple[int, ...]
"""Major, minor, and a patch where one matters."""

OLDEST: Final[Version] = (10, 3)
"""The oldest that Foley builds for; JetPack 6 has it."""
NEWEST: Final[Version] = (11, 4)
LAST_OF_10: Final = 16
TABLES: Final[tuple[Version, ...]] = ((10, 1), (10, 15))
"""Versions whose operator table was read, whole."""
SOURCE: Final[Version] = (10, 1)
"""Version whose parser was read; of that at the newest table, attention, normalisations and products."""
SPELLING_FROM: Final[Version] = (10, 14)
"""From here on TensorRT takes a bundle's own spelling for it, whose attention is ONNX's `Attention`."""
ENGINE: Final = "tensorrt"


@dataclass(frozen=True)
class Target:
    """A version of TensorRT."""

    version: Version

    def __str__(self) -> str:
        return f"TensorRT {worded(self.version)}"

    @property
    def beyond_tables(self) -> bool:
        """Whether no table of this version or a newer one was read."""
        return self.version[:2] > TABLES[-1]

    def basis(self) -> str:
        """Say in a line what an answer for this target rests on."""
        first, last = map(worded, TABLES)
        tables = f"rests on TensorRT's operator tables at {first} and {last}, its changelog to {last}"
        source = f"its parser's source at {worded(SOURCE)} and in part at {last}"
        newer = f"; of what {self} changed after {last} only its notes are known" if self.beyond_tables else ""
        return f"{tables}, {source}{newer}; nothing was run"


def worded(version: Version) -> str:
    """Word a version, `10.3`."""
    return ".".join(map(str, version))


def parse_target(text: str) -> Target:
    """Read `tensorrt` (the newest version) or `tensorrt:10.3`.

    Raises:
        UsageError: another engine, or a version that is not known here.
    """
    name, mark, version = text.partition(":")
    if name != ENGINE:
        raise UsageError(f"--target {text}: unknown engine {name!r}; expected {ENGINE}[:VERSION]")
    return Target(_version(text, version) if mark else NEWEST)


def _version(text: str, version: str) -> Version:
    parsed = tuple(map(int, version.split(".")[:3])) if re.fullmatch(r"\d+(\.\d+)+", version) else ()
    if not _is_known(parsed[:2]):
        known = f"{worded(OLDEST)} to {worded((10, LAST_OF_10))} and 11.0 to {worded(NEWEST)}"
        raise UsageError(f"--target {text}: version {version!r} is not known; known are {known}")
    return parsed


def _is_known(version: Version) -> bool:
    return OLDEST <= version <= (10, LAST_OF_10) or (11, 0) <= version <= NEWEST
