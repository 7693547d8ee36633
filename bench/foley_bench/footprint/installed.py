"""What installed distributions take on disk: run by path, by the Python whose they are.

    python installed.py 'foley[cpu]'

It needs nothing but `packaging`, and prints JSON: distribution → version, bytes of its files, bytes of bytecode.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from importlib.util import cache_from_source
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

Found = dict[str, metadata.Distribution]


def closure(requirements: Sequence[str], path: Sequence[str]) -> Found:
    """Find the distributions that requirements need on this machine, one by one with theirs.

    Raises:
        LookupError: one is not installed.
    """
    found: Found = {}
    seen, waiting = set[str](), [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        key = f"{name}[{','.join(sorted(wanted.extras))}]"
        if key not in seen:
            found[name] = _find(name, path)
            waiting += _needs(found[name], wanted.extras)
        seen.add(key)
    return found


def _find(name: str, path: Sequence[str]) -> metadata.Distribution:
    distribution = next(iter(metadata.distributions(name=name, path=list(path))), None)
    if distribution is None:
        raise LookupError(f"{name} is not installed for {sys.executable}; pip install it")
    return distribution


def _needs(distribution: metadata.Distribution, extras: set[str]) -> Iterator[Requirement]:
    """Give what a distribution needs with some of its extras, by this Python's markers."""
    for text in distribution.requires or ():
        need = Requirement(text)
        if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield need


def sizes(distribution: metadata.Distribution) -> tuple[int, int]:
    """Give the bytes of a distribution's files, bytecode apart.

    Raises:
        LookupError: it does not say which files are its own, or they lie in a checkout.
    """
    if '"editable": true' in (distribution.read_text("direct_url.json") or ""):
        raise LookupError(f"{distribution.name} is a link to a checkout, not installed; pip install it without -e")
    if distribution.files is None:
        raise LookupError(f"{distribution.name} has no list of its files; install it by pip")
    files = [Path(str(distribution.locate_file(file))) for file in distribution.files if file.suffix != ".pyc"]
    compiled = [Path(cache_from_source(file)) for file in files if file.suffix == ".py"]
    return _total(files), _total(compiled)


def _total(files: Sequence[Path]) -> int:
    return sum(file.stat().st_size for file in files if file.is_file())


def installed(requirements: Sequence[str], path: Sequence[str]) -> dict[str, dict[str, str | int]]:
    """Give version, bytes and bytecode bytes of everything that requirements need, the largest first.

    Raises:
        LookupError: something is not installed, or has no files of its own.
    """
    found = {name: (each.version, *sizes(each)) for name, each in closure(requirements, path).items()}
    return {
        name: {"version": version, "bytes": size, "bytecode_bytes": compiled}
        for name, (version, size, compiled) in sorted(found.items(), key=lambda item: -item[1][1])
    }


if __name__ == "__main__":
    try:
        print(json.dumps(installed(sys.argv[1:], sys.path)))
    except LookupError as error:
        sys.exit(error.args[0])
