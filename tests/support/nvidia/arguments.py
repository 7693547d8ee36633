"""What pybind takes for the parameters of a function."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from support.nvidia.surface import Overload, Parameter, accepts


def bind(
    classes: Mapping[str, type],
    name: str,
    overloads: tuple[Overload, ...],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
) -> dict[str, Any]:
    """Find the overload that takes a call, and give its arguments by name; `classes` are the module's own.

    Raises:
        TypeError: no overload takes it.
    """
    for overload in overloads:
        if accepts(overload, len(arguments), keywords):
            bound = {parameter.name: value for parameter, value in zip(overload, arguments, strict=False)} | keywords
            if all(_takes(classes, parameter, bound) for parameter in overload):
                return bound
    kinds = "; ".join(f"({', '.join(f'{each.name}: {each.type}' for each in overload)})" for overload in overloads)
    given = f"{arguments} and {keywords}" if keywords else f"{arguments}"
    raise TypeError(f"{name}(): incompatible function arguments. These are supported: {kinds}; invoked with: {given}")


def _takes(classes: Mapping[str, type], parameter: Parameter, bound: dict[str, Any]) -> bool:
    if parameter.name not in bound or (bound[parameter.name] is None and parameter.optional):
        return True
    return fits(classes, parameter.type, bound[parameter.name])


def fits(classes: Mapping[str, type], type_: str, value: Any) -> bool:
    """Say whether pybind would turn a value into a parameter of a type."""
    own = classes.get(type_.rpartition("::")[2])
    if own is not None:
        return isinstance(value, own) or (type_ in SEQUENCES and _is_sequence(value)) or _is_weights(type_, value)
    check = CHECKS.get(type_)
    return check is None or check(value)


def _is_sequence(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(_is_integer(each) for each in value)


def _is_weights(type_: str, value: Any) -> bool:
    return type_ == "Weights" and isinstance(value, np.ndarray)


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__")


def _is_buffer(value: Any) -> bool:
    try:
        memoryview(value)
    except TypeError:
        return False
    return True


SEQUENCES = ("Dims", "Permutation")
CHECKS: dict[str, Callable[[Any], bool]] = {
    "int": _is_integer,
    "SupportsInt": _is_integer,
    "str": lambda value: isinstance(value, str),
    "bool": lambda value: isinstance(value, bool | np.bool_),
    "tuple": lambda value: isinstance(value, tuple) and _is_sequence(value),
    "list": lambda value: isinstance(value, list) and _is_sequence(value),
    "Buffer": _is_buffer,
    "buffer": _is_buffer,
    "numpy.ndarray": lambda value: isinstance(value, np.ndarray),
}
