"""Print the surface of an importable `tensorrt_bindings` as JSON; record.py runs this in a process of its own."""

import inspect
import json
import types
from typing import Any

import signature_text
import tensorrt_bindings

SPECIAL = (
    *("__enter__", "__exit__", "__len__", "__getitem__", "__setitem__", "__delitem__"),
    *("__contains__", "__iter__", "__next__", "__bool__"),
)
LEAKS = ("attr", "value", "common_enter", "common_exit")  # the package's own __init__.py leaves them behind


def read() -> dict[str, Any]:
    """Read classes, functions and values of the module."""
    public = {name: it for name, it in vars(tensorrt_bindings).items() if name[0] != "_" and name not in LEAKS}
    public = {name: it for name, it in public.items() if not isinstance(it, types.ModuleType)}
    classes = {name: it for name, it in public.items() if isinstance(it, type)}
    functions = {name: it for name, it in public.items() if callable(it) and name not in classes}
    values = {name: repr(it) for name, it in public.items() if name not in classes and name not in functions}
    return {
        "version": tensorrt_bindings.__version__,
        "values": {name: signature_text.short(text) for name, text in sorted(values.items())},
        "functions": {name: _signatures(name, it) for name, it in sorted(functions.items())},
        "classes": dict(sorted(_all_classes(classes).items())),
    }


def _all_classes(classes: dict[str, type], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, it in classes.items():
        found[prefix + name] = _class(it)
        inner = {key: value for key, value in vars(it).items() if isinstance(value, type) and key[0] != "_"}
        found.update(_all_classes(inner, f"{prefix}{name}."))
    return found


def _class(cls: type) -> dict[str, Any]:
    """Describe a class; a part that is empty is left out."""
    bases = [base.__name__ for base in cls.__bases__ if base.__name__ not in ("object", "pybind11_object")]
    own = {name: inspect.getattr_static(cls, name) for name in vars(cls) if name[0] != "_" or name in SPECIAL}
    members = {name: int(value) for name, value in getattr(cls, "__members__", {}).items()}
    return _without_empty(
        {
            "bases": bases,
            "init": signature_text.overloads("__init__", cls.__init__.__doc__),
            "members": members,
            "methods": {name: _signatures(name, it) for name, it in own.items() if _is_method(it)},
            "static": {name: _signatures(name, it) for name, it in own.items() if _is_static(it)},
            "properties": {name: _property(it) for name, it in own.items() if isinstance(it, property)},
            "values": {name: str(it) for name, it in own.items() if _is_value(it) and name not in members},
            "classes": [name for name, it in own.items() if isinstance(it, type)],
        }
    )


def _is_method(it: object) -> bool:
    return type(it).__name__ in ("instancemethod", "function")


def _is_static(it: object) -> bool:
    return isinstance(it, staticmethod) or type(it).__name__ == "builtin_function_or_method"


def _is_value(it: object) -> bool:
    return not (_is_method(it) or _is_static(it) or isinstance(it, property | type))


def _signatures(name: str, it: Any) -> list[list[str]]:
    """Give a function's overloads, out of pybind's docstring or, for one written in Python, its signature."""
    function = it.__func__ if isinstance(it, staticmethod) else it
    if isinstance(function, types.FunctionType):
        return [[str(each) for each in inspect.signature(function).parameters.values() if each.name != "this"]]
    return signature_text.overloads(name, function.__doc__)


def _property(it: property) -> list[str]:
    """Give the type that is read, and that which is set where it can be set."""
    read = [signature_text.returned(getattr(it.fget, "__doc__", ""))]
    if it.fset is None:
        return read
    line = (it.fset.__doc__ or "").strip()
    (signature,) = signature_text.overloads("", line) or [[]]
    parameters = [part for part in signature if part[:3] != "-> "]
    return [*read, parameters[-1].partition(": ")[2] if parameters else ""]


def _without_empty(parts: dict[str, Any]) -> dict[str, Any]:
    return {name: part for name, part in parts.items() if part}


if __name__ == "__main__":
    print(json.dumps(read()))  # noqa: T201
