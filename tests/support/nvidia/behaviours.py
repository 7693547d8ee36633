"""What the members of a fake do, registered by name: only what a recorded release has can be given behaviour."""

from collections.abc import Callable
from typing import Any

from support.nvidia.surface import Surface


class Behaviours:
    """What the members of a fake do, by qualified name, for every release that has them."""

    def __init__(self, surfaces: tuple[Surface, ...]) -> None:
        self._surfaces = surfaces
        self._does: dict[str, Callable[..., Any]] = {}
        self._sets: dict[str, Callable[[Any, Any], None]] = {}
        self.required: set[str] = set()

    def does(self, name: str, *, required: bool = False) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register what a method, a constructor, a function or the reading of a property does.

        A method's behaviour takes the instance and the arguments by the surface's names; a static method's or a
        function's takes the module first. Where a release lacks the name it is left out, unless it is required.

        Raises:
            LookupError: no release has the name, or one lacks what is required.
        """
        self._check(name, required=required)
        if name in self._does:
            raise LookupError(f"{name} has a behaviour already")
        return lambda function: self._does.setdefault(name, function)

    def sets(self, name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register what setting a property does.

        Raises:
            LookupError: no release has the property.
        """
        self._check(name, required=False)
        return lambda function: self._sets.setdefault(name, function)

    def keeps(self, owner: str, **defaults: Any) -> None:
        """Register properties that only keep what is set; a default that is callable gets the module.

        Raises:
            LookupError: no release has one of them.
        """
        for name, default in defaults.items():
            self._check(f"{owner}.{name}", required=False)
            self._does[f"{owner}.{name}"] = _reader(name, default)
            self._sets[f"{owner}.{name}"] = _writer(name)

    def gives(self, owner: str, **values: Any) -> None:
        """Register members that always give the same.

        Raises:
            LookupError: no release has one of them.
        """
        for name, value in values.items():
            self.does(f"{owner}.{name}")(_constant(value))

    def find(self, name: str) -> Callable[..., Any] | None:
        """Give what a name does, or None."""
        return self._does.get(name)

    def setter(self, name: str) -> Callable[[Any, Any], None] | None:
        """Give what setting a name does, or None."""
        return self._sets.get(name)

    def names(self) -> set[str]:
        """Give every registered name."""
        return {*self._does, *self._sets}

    def _check(self, name: str, *, required: bool) -> None:
        having = [surface for surface in self._surfaces if surface.has(name)]
        if not having or (required and len(having) < len(self._surfaces)):
            lacking = [surface.version for surface in self._surfaces if surface not in having]
            raise LookupError(f"{name} is not in {', '.join(lacking)}")


def _reader(name: str, default: Any) -> Callable[[Any], Any]:
    def read(instance: Any) -> Any:
        if name not in instance._fake_kept:
            return default(type(instance)._module) if callable(default) else default
        return instance._fake_kept[name]

    return read


def _constant(value: Any) -> Callable[..., Any]:
    def give(_: Any, **arguments: Any) -> Any:
        return value

    return give


def _writer(name: str) -> Callable[[Any, Any], None]:
    def write(instance: Any, value: Any) -> None:
        instance._fake_kept[name] = value

    return write
