"""A module like one that pybind makes, out of a surface: its classes take what the surface says and nothing else."""

import inspect
import operator
import sys
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from support.nvidia.arguments import bind, fits
from support.nvidia.behaviours import Behaviours
from support.nvidia.machine import current
from support.nvidia.surface import ClassSurface, Member, Overload, Surface

SEVERITIES = "ILogger.Severity"
NULL = "pybind11::init(): factory function returned nullptr"


class FakeModule(ModuleType):
    """The module; its names come from the surface."""

    def __init__(self, name: str, surface: Surface, behaviours: Behaviours) -> None:
        super().__init__(name)
        self.__version__ = surface.version
        self._surface = surface
        self._behaviours = behaviours
        self._touches: set[str] = set()
        self._classes: dict[str, Any] = {}
        for each in surface.classes.values():
            self._make(each)
        self._names: dict[str, Any] = {name: each for name, each in self._classes.items() if "." not in name}
        self._names |= {name: _function(self, name) for name in surface.functions}
        self._names |= {name: self._value(text) for name, text in surface.values.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"module {self.__name__!r} {self._surface.version} has no attribute {name!r}")
        self._touches.add(name)
        return self._names[name]

    def __dir__(self) -> list[str]:
        return sorted(self._names)

    def enum(self, owner: str, name: str) -> Any:
        """Give an enum's member, without a note that it was used.

        Raises:
            LookupError: the release lacks it.
        """
        return self._classes[owner]._members[name]

    def make(self, owner: str, state: Any) -> Any:
        """Make an instance of a class, whether or not it can be made from Python."""
        instance = object.__new__(self._classes[owner])
        begin(instance, state)
        return instance

    def _make(self, surface: ClassSurface) -> Any:
        """Make a class, its bases first."""
        if surface.name not in self._classes:
            bases = [self._make(self._surface.classes[base]) for base in surface.bases if base in self._surface.classes]
            made = FakeType(surface.name.rpartition(".")[2], (*bases,) or _roots(surface), _body(self, surface))
            self._classes[surface.name] = made
            type.__setattr__(made, "_members", _members(made, surface))
        return self._classes[surface.name]

    def _value(self, text: str) -> Any:
        """Read what the recorder wrote for a value of the module: `<DataType.FLOAT: 0>`."""
        owner, _, name = text.strip("<").partition(":")[0].rpartition(".")
        return self.enum(owner, name)


class FakeType(type):
    """The type of the fake classes; it serves enum members, values and inner classes, and notes their use."""

    _surface: ClassSurface
    _module: FakeModule
    _members: dict[str, Any]

    def __getattr__(cls, name: str) -> Any:
        found = None if name.startswith("_") else cls._module._surface.member(cls._surface.name, name)
        if found is None or found[1].kind not in ("member", "value", "class"):
            raise AttributeError(f"type object 'tensorrt.tensorrt.{cls._surface.name}' has no attribute {name!r}")
        cls._module._touches.add(f"{cls._surface.name}.{name}")
        return _served(cls._module, found[0], name, found[1])

    @property
    def __members__(cls) -> Mapping[str, Any]:
        return dict(cls._members)

    def __call__(cls, *arguments: Any, **keywords: Any) -> Any:
        if cls._surface.enum:
            return _by_number(cls, *arguments)
        instance = super().__call__(*arguments, **keywords)
        if not hasattr(instance, "_fake_kept"):
            raise TypeError(f"tensorrt.tensorrt.{cls._surface.name}.__init__() must be called when overriding __init__")
        return instance


def _by_number(cls: FakeType, value: Any) -> Any:
    return next(each for each in cls._members.values() if each.value == operator.index(value))


def _served(module: FakeModule, owner: str, name: str, member: Member) -> Any:
    if member.kind == "class":
        return module._classes.get(f"I{owner}.{name}") or module._classes[f"{owner}.{name}"]
    if member.kind == "member":
        return module.enum(owner, name)
    inner, _, value = str(member.value).rpartition(".")  # "Severity.ERROR" in Logger and ILogger
    return module.enum(SEVERITIES if inner == "Severity" else inner, value)


class FakeObject(metaclass=FakeType):
    """An instance of a fake class; what the surface lacks can be neither read nor set, but in a user's subclass."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        surface, module = _fake_class(type(self))._surface, module_of(self)
        name = f"{surface.name}.__init__"
        if not surface.init:
            raise TypeError(f"tensorrt.tensorrt.{surface.name}: No constructor defined!")
        bound = _bound(module, name, surface.init, arguments, keywords)
        behaviour = module._behaviours.find(name)
        if behaviour is None and bound:
            raise NotImplementedError(f"the fake of tensorrt {module.__version__} does not do {name}")
        if name in current().failures:
            raise TypeError(NULL)
        begin(self, None)
        if behaviour is not None:
            _call(module, name, behaviour, self, bound)

    def __getattr__(self, name: str) -> Any:
        return getattr(_fake_class(type(self)), name) if name[0] != "_" else object.__getattribute__(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        own = _fake_class(type(self))
        known = own._module._surface.member(own._surface.name, name)
        if (known is None or known[1].kind != "property") and own is type(self):
            raise AttributeError(f"'tensorrt.tensorrt.{own._surface.name}' object has no attribute {name!r}")
        object.__setattr__(self, name, value)


def begin(instance: Any, state: Any) -> None:
    """Give an instance the place for what it keeps, and its behaviours' state."""
    object.__setattr__(instance, "_fake_kept", {})
    object.__setattr__(instance, "_fake_state", state)


def _fake_class(cls: type) -> FakeType:
    """Find the fake class that a user's class comes from."""
    return next(each for each in cls.__mro__ if isinstance(each, FakeType) and "_surface" in vars(each))


def module_of(instance: Any) -> FakeModule:
    """Give the module that an instance is of."""
    return _fake_class(type(instance))._module


class FakeEnumMember:
    """What the members of all enums can do: less than an int can."""

    def __int__(self) -> int:
        return int(self._number)

    __index__ = __int__
    __hash__ = __int__

    def __eq__(self, other: object) -> bool:
        return self is other

    def __lt__(self, other: Any) -> bool:
        return self._number < other._number if type(other) is type(self) else NotImplemented

    @property
    def name(self) -> str:
        """The member's name."""
        return str(self._name)

    @property
    def value(self) -> int:
        """The member's number."""
        return int(self._number)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}.{self._name}: {self._number}>"

    def __str__(self) -> str:
        return f"{type(self).__name__}.{self._name}"


def _roots(surface: ClassSurface) -> tuple[type, ...]:
    return (FakeEnumMember, FakeObject) if surface.enum else (FakeObject,)


def _members(made: FakeType, surface: ClassSurface) -> dict[str, Any]:
    members = {}
    for name, number in surface.enum.items():
        member = members[name] = object.__new__(made)
        begin(member, None)
        object.__setattr__(member, "_name", name)
        object.__setattr__(member, "_number", number)
    return members


def _body(module: FakeModule, surface: ClassSurface) -> dict[str, Any]:
    body: dict[str, Any] = {"_surface": surface, "_module": module, "_members": {}, "__module__": "tensorrt.tensorrt"}
    for name, member in surface.own.items():
        if member.kind == "method":
            body[name] = _method(module, f"{surface.name}.{name}", member.overloads)
        if member.kind == "static":
            body[name] = staticmethod(_static(module, f"{surface.name}.{name}", member.overloads))
        if member.kind == "property" and not (surface.enum and name in ("name", "value")):
            body[name] = FakeProperty(module, f"{surface.name}.{name}", member)
    return body


def _method(module: FakeModule, name: str, overloads: tuple[Overload, ...]) -> Callable[..., Any]:
    def method(self: Any, /, *arguments: Any, **keywords: Any) -> Any:
        bound = _bound(module, name, overloads, arguments, keywords)
        return _do(module, name, self, bound)

    method.__name__ = method.__qualname__ = name.rpartition(".")[2]
    return method


def _static(module: FakeModule, name: str, overloads: tuple[Overload, ...]) -> Callable[..., Any]:
    def function(*arguments: Any, **keywords: Any) -> Any:
        return _do(module, name, module, _bound(module, name, overloads, arguments, keywords))

    function.__name__ = function.__qualname__ = name.rpartition(".")[2]
    return function


def _function(module: FakeModule, name: str) -> Callable[..., Any]:
    return _static(module, name, module._surface.functions[name].overloads)


class FakeProperty:
    """A property; only one that the surface says can be set can be."""

    def __init__(self, module: FakeModule, name: str, member: Member) -> None:
        self._module, self._name, self._member = module, name, member

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        self._module._touches.add(self._name)
        return _do(self._module, self._name, instance, {})

    def __set__(self, instance: Any, value: Any) -> None:
        owner, _, name = self._name.rpartition(".")
        if self._member.taken is None:
            raise AttributeError(f"property {name!r} of 'tensorrt.tensorrt.{owner}' object has no setter")
        if value is not None and not fits(self._module._classes, self._member.taken, value):
            raise TypeError(f"{self._name} takes {self._member.taken}, got {value!r}")
        self._module._touches.add(self._name)
        behaviour = self._module._behaviours.setter(self._name)
        if behaviour is None:
            raise NotImplementedError(f"the fake of tensorrt {self._module.__version__} does not set {self._name}")
        behaviour(instance, value)


def _bound(
    module: FakeModule, name: str, overloads: tuple[Overload, ...], arguments: tuple[Any, ...], keywords: dict[str, Any]
) -> dict[str, Any]:
    """Give a call's arguments by name, and note the name and the keywords as used."""
    bound = bind(module._classes, name, overloads, arguments, keywords)
    module._touches.update({name, *(f"{name}({keyword})" for keyword in keywords)})
    return bound


def _do(module: FakeModule, name: str, first: Any, bound: dict[str, Any]) -> Any:
    """Run a member's behaviour, or fail as a test asked."""
    behaviour = module._behaviours.find(name)
    if behaviour is None:
        raise NotImplementedError(f"the fake of tensorrt {module.__version__} does not do {name}")
    if name in current().failures:
        return current().failures[name]
    return _call(module, name, behaviour, first, bound)


def _call(module: FakeModule, name: str, behaviour: Callable[..., Any], first: Any, bound: dict[str, Any]) -> Any:
    taken = inspect.signature(behaviour).parameters
    any_ = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    unknown = [each for each in bound if not any_ and each not in taken]
    if unknown:
        raise NotImplementedError(f"the fake of tensorrt {module.__version__} does not do {name}({', '.join(unknown)})")
    return behaviour(first, **bound)


def tell(logger: Any, severity: str, words: str) -> None:
    """Log through a user's logger; what it raises is printed and goes no further, as with the real one."""
    try:
        logger.log(module_of(logger).enum(SEVERITIES, severity), words)
    except Exception as error:  # the bindings catch what a callback throws
        print(f"[ERROR] Exception caught in log(): {error}", file=sys.stderr)  # noqa: T201
