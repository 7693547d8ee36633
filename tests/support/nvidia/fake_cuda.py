"""A fake `cuda.bindings.runtime`: the recorded surface's names, over the machine's memory and streams."""

import enum
import operator
from collections.abc import Callable
from types import ModuleType
from typing import Any

from support.nvidia import cuda_devices, cuda_graphs, cuda_memory, cuda_streams
from support.nvidia.cuda_registry import BEHAVIOURS, CudaError, Handle
from support.nvidia.machine import current
from support.nvidia.surface import CUDA, Function, Parameter, Surface, accepts, load

PARTS = (cuda_devices, cuda_memory, cuda_streams, cuda_graphs)
"""The modules whose import registers what functions do."""
NO_DRIVER = "Failed to dlopen libcuda.so.1"
WITHOUT_DRIVER = {
    "12": ("cudaGetErrorName", "cudaRuntimeGetVersion"),
    "13": ("cudaGetErrorName", "cudaRuntimeGetVersion", "cudaGetErrorString", "getLocalRuntimeVersion"),
}
"""What works on a machine without a driver."""


def fake(version: str) -> ModuleType:
    """Make a module with the names of `cuda.bindings.runtime`; version is 12 or 13.

    What the release lacks raises AttributeError, a wrong number or name of arguments TypeError, and a function that
    the release has and the fake does not do NotImplementedError.
    """
    return FakeRuntime(load(f"cuda-{version}"))


def touched(module: ModuleType) -> set[str]:
    """Give every name of a fake that was used, such as `cudaMalloc` and `cudaError_t.cudaSuccess`."""
    if not isinstance(module, FakeRuntime):
        raise TypeError(f"{module!r} is no fake of cuda.bindings.runtime")
    return set(module._touches)


class FakeRuntime(ModuleType):
    """The module; its names come from the surface."""

    def __init__(self, surface: Surface) -> None:
        super().__init__("cuda.bindings.runtime")
        self._surface = surface
        self._touches: set[str] = set()
        self._names: dict[str, Any] = dict(surface.values)
        self._names |= {name: _class(self, name) for name in surface.classes}
        self._names |= {name: _function(self, name, each) for name, each in surface.functions.items()}

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in self._names:
            raise AttributeError(f"module 'cuda.bindings.runtime' {self._surface.version} has no attribute {name!r}")
        self._touches.add(name)
        return self._names[name]

    def __dir__(self) -> list[str]:
        return sorted(self._names)


class RecordingEnum(enum.EnumType):
    """The type of the enums, which notes every member that is asked for by name."""

    def __getattribute__(cls, name: str) -> Any:
        if name[0] != "_":
            noted = type.__getattribute__(cls, "__dict__").get("_touches_of_module_")
            if noted is not None and name in type.__getattribute__(cls, "_member_map_"):
                noted.add(f"{type.__getattribute__(cls, '__name__')}.{name}")
        return super().__getattribute__(name)


def _class(module: FakeRuntime, name: str) -> type:
    surface = module._surface.classes[name]
    return _enum(module, name, surface.enum) if surface.enum else _struct(name, frozenset(surface.own))


def _enum(module: FakeRuntime, name: str, members: dict[str, int]) -> type:
    made = RecordingEnum(name, (enum.IntEnum,), _namespace(name, members))
    type.__setattr__(made, "_touches_of_module_", module._touches)
    return made


def _namespace(name: str, members: dict[str, int]) -> Any:
    space = RecordingEnum.__prepare__(name, (enum.IntEnum,))
    for member, number in members.items():
        space[member] = number
    return space


class FakeStruct:
    """A struct, or a handle, which is a number; it has the attributes of the surface and no others."""

    _attributes: frozenset[str] = frozenset()

    def __init__(self, init_value: int = 0) -> None:
        object.__setattr__(self, "_number", operator.index(init_value))
        object.__setattr__(self, "_values", {})

    def __int__(self) -> int:
        return int(self._number)

    __index__ = __int__

    def __getattr__(self, name: str) -> Any:
        if name not in self._attributes:
            raise AttributeError(f"'cuda.bindings.runtime.{type(self).__name__}' object has no attribute {name!r}")
        if name not in self._values:
            raise NotImplementedError(f"the fake has no value for {type(self).__name__}.{name}")
        return self._values[name]

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._attributes:
            raise AttributeError(f"'cuda.bindings.runtime.{type(self).__name__}' object has no attribute {name!r}")
        self._values[name] = value

    def __repr__(self) -> str:
        return f"<{type(self).__name__} 0x{int(self):x}>"


def _struct(name: str, attributes: frozenset[str]) -> type:
    return type(name, (FakeStruct,), {"_attributes": attributes, "__module__": "cuda.bindings.runtime"})


def _function(module: FakeRuntime, name: str, surface: Function) -> Callable[..., Any]:
    """Make one function: arguments are checked, then the machine does it."""
    (parameters,) = surface.overloads

    def call(*arguments: Any, **keywords: Any) -> Any:
        if not accepts(parameters, len(arguments), keywords):
            raise TypeError(f"{name}() takes {[each.name for each in parameters]}, got {arguments} and {keywords}")
        module._touches.update(f"{name}({keyword})" for keyword in keywords)
        named = [keywords[each.name] for each in parameters[len(arguments) :] if each.name in keywords]
        return _run(module, name, _converted(module, parameters, [*arguments, *named]))

    call.__name__ = call.__qualname__ = name
    return call


def _run(module: FakeRuntime, name: str, arguments: list[Any]) -> tuple[Any, ...]:
    errors = module._names["cudaError_t"]
    behaviour = BEHAVIOURS.get(name)
    if behaviour is None:
        raise NotImplementedError(f"the fake of cuda.bindings.runtime {module._surface.version} does not do {name}")
    try:
        _check_state(module, name)
        values = behaviour(module._surface, *arguments)
    except CudaError as error:
        return errors[error.name], *[None] * len(module._surface.functions[name].returns)
    return errors["cudaSuccess"], *[_wrapped(module, value) for value in values]


def _check_state(module: FakeRuntime, name: str) -> None:
    """Fail as a test asked, as a machine without a driver does, or with the error that stays."""
    machine = current()
    if name in machine.failures:
        raise CudaError(machine.failures[name])
    major = module._surface.version.partition(".")[0]
    if name in WITHOUT_DRIVER[major]:
        return
    if not machine.driver and major == "12":
        raise RuntimeError(NO_DRIVER)
    if not machine.driver:
        raise CudaError("cudaErrorInsufficientDriver")
    if machine.sticky:
        raise CudaError(machine.sticky)


def _converted(module: FakeRuntime, parameters: tuple[Parameter, ...], arguments: list[Any]) -> list[Any]:
    return [_argument(module, parameter, value) for parameter, value in zip(parameters, arguments, strict=True)]


def _argument(module: FakeRuntime, parameter: Parameter, value: Any) -> Any:
    """Take a number, a handle as its number, an enum member as its name; 12 takes no number for an enum."""
    surface = module._surface.classes.get(parameter.type.removeprefix("Optional[").removesuffix("]"))
    if surface is not None and surface.enum:
        made = module._names[surface.name]
        if not isinstance(value, made) and module._surface.version.startswith("12."):
            raise AttributeError(f"'{type(value).__name__}' object has no attribute 'value'")
        return made(value).name
    if value is None:
        return 0
    if isinstance(value, bytes | str | float):
        raise TypeError("an integer is required")
    return operator.index(value) if hasattr(value, "__index__") else value


def _wrapped(module: FakeRuntime, value: Any) -> Any:
    """Make the module's own object of a handle, a struct's values or an enum member's name."""
    if not isinstance(value, Handle):
        return value
    made = module._names[value.type]
    if value.member:
        return made[value.member]
    instance = made(value.number)
    for name, each in value.values.items():
        if name in made._attributes:
            setattr(instance, name, each)
    return instance


VERSIONS = CUDA
