"""Print the surface of an importable `cuda.bindings.runtime` as JSON; record.py runs this in a process of its own."""

import inspect
import json
import re
from typing import Any

import cuda.bindings
from cuda.bindings import runtime

Function = type(runtime.cudaMalloc)


def read() -> dict[str, Any]:
    """Read the functions cuda*, the enums, the structs and handles, and the integer constants."""
    public = {name: it for name, it in sorted(vars(runtime).items()) if name.startswith(("cuda", "getLocal", "CUDART"))}
    return {
        "version": cuda.bindings.__version__,
        "functions": {name: _function(it) for name, it in public.items() if isinstance(it, Function)},
        "enums": {name: _members(it) for name, it in public.items() if _is_enum(it)},
        "structs": {name: _attributes(it) for name, it in public.items() if isinstance(it, type) and not _is_enum(it)},
        "values": {name: it for name, it in public.items() if isinstance(it, int)},
    }


def _function(it: Any) -> dict[str, Any]:
    """Give a function's parameters, and the names of what it returns beside the error."""
    parameters = [str(each).replace("'", "") for each in inspect.signature(it).parameters.values()]
    return {"parameters": parameters, "returns": _returns(it.__doc__ or "")}


def _returns(docstring: str) -> list[str]:
    """Read the section Returns: lines at its own depth name a result, deeper lines explain it."""
    section = re.search(r"^( *)Returns\n\1-+\n(.*?)(?=^\1See Also|^\1Notes|\Z)", docstring, re.MULTILINE | re.DOTALL)
    if section is None:
        return []
    lines = re.findall(rf"^{section.group(1)}(\w[^\n]*)$", section.group(2), re.MULTILINE)
    return [line.partition(" : ")[0].strip() for line in lines if not line.startswith("cudaError_t")]


def _is_enum(it: object) -> bool:
    return isinstance(it, type) and hasattr(it, "__members__")


def _members(it: Any) -> dict[str, int]:
    return {name: int(value) for name, value in it.__members__.items()}


def _attributes(it: type) -> list[str]:
    return [name for name in dir(it) if name[0] != "_"]


if __name__ == "__main__":
    print(json.dumps(read()))  # noqa: T201
