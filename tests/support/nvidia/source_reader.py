"""Reads out of source which names of NVIDIA's bindings it uses, and what it calls them with.

The convention: TensorRT's module is always called `trt`, CUDA's `cudart`; instances have the names of RECEIVERS, or
these as attributes (`self._engine`). A name that is annotated with another type than Any, that an `except` binds, or
that an own class made, is the program's own.
"""

import ast
from collections.abc import Iterable
from dataclasses import dataclass, field

from support.nvidia.surface import CUDA, TENSORRT, Member, Overload, Surface, load

RECEIVERS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "config": "IBuilderConfig",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "refitter": "Refitter",
    "parser_refitter": "OnnxParserRefitter",
    "inspector": "EngineInspector",
    "timing_cache": "ITimingCache",
    "logger": "ILogger",
    "monitor": "IProgressMonitor",
    "host_memory": "IHostMemory",
    "error": "ParserError",
    "layer": "ILayer",
    "tensor": "ITensor",
    "serialization": "ISerializationConfig",
}
SURFACES = {
    name: load(name) for name in (*(f"tensorrt-{each}" for each in TENSORRT), *(f"cuda-{each}" for each in CUDA))
}


@dataclass(frozen=True)
class Kind:
    """What an expression is: a module, a class, an instance or a callable of the bindings, or the program's own."""

    is_: str
    name: str = ""
    sure: bool = True
    """False for an attribute of something unknown, whose name alone says what it may be."""


OWN = Kind("own")
MODULES = {"trt": Kind("module", "tensorrt"), "cudart": Kind("module", "cuda")}


@dataclass(frozen=True)
class Use:
    """One use of a name."""

    name: str
    library: str
    """tensorrt or cuda."""
    place: str
    call: tuple[int | None, tuple[str, ...]] | None = None
    """How many positional arguments (None: unknown) and which keywords; None where it is not called."""

    def versions(self) -> list[str]:
        """List the releases that have the name."""
        return [surface.name.partition("-")[2] for surface in releases(self.library) if surface.has(self.name)]


def releases(library: str) -> list[Surface]:
    """Give the surfaces of a library, the oldest first."""
    return [surface for name, surface in SURFACES.items() if name.startswith(library)]


def overloads_of(surface: Surface, name: str) -> tuple[Overload, ...]:
    """Give what a function, a method or a class's constructor takes."""
    if name in surface.functions:
        return surface.functions[name].overloads
    if name.removesuffix(".__init__") in surface.classes:
        return surface.classes[name.removesuffix(".__init__")].init
    found = member_of(surface, name)
    return found.overloads if found else ()


def member_of(surface: Surface, name: str) -> Member | None:
    """Find a member by its qualified name."""
    owner, _, member = name.rpartition(".")
    found = surface.member(owner, member)
    return found[1] if found else None


@dataclass
class Known:
    """What a whole package tells before its functions are read."""

    own: set[str] = field(default_factory=set)
    """Names of functions, classes and attributes that the package itself defines."""
    attributes: dict[str, set[str]] = field(default_factory=dict)
    """By class of the package: attributes of `self` that hold what is the program's own."""
    extra: dict[str, set[str]] = field(default_factory=dict)
    """Attributes that the package's subclasses add, by class of the bindings."""

    @classmethod
    def of(cls, trees: Iterable[ast.AST]) -> "Known":
        """Read all files of a package."""
        known = cls()
        for node in (each for tree in trees for each in ast.walk(tree)):
            if isinstance(node, ast.ClassDef | ast.FunctionDef):
                known.own.add(node.name)
            if isinstance(node, ast.ClassDef):
                known._read_class(node)
        return known

    def _read_class(self, node: ast.ClassDef) -> None:
        bases = _bases(node)
        defined = {name for each in ast.walk(node) for name in _defined(each)}
        for base in bases:
            self.extra.setdefault(base, set()).update(defined)
        annotated = {
            each for each in ast.walk(node) if isinstance(each, ast.AnnAssign) and not _is_any(each.annotation)
        }
        own = {name for each in annotated for name in _defined(each)} | _handed_over(node)
        self.attributes.setdefault(node.name, set()).update(own)
        self.own |= own


def _bases(node: ast.ClassDef) -> list[str]:
    """Name the classes of TensorRT that a class comes from."""
    return [base.attr for base in node.bases if isinstance(base, ast.Attribute) and _is_name(base.value, "trt")]


def _defined(node: ast.AST) -> list[str]:
    """Name what a method, a field or an assignment to attributes of `self` defines."""
    if isinstance(node, ast.FunctionDef):
        return [node.name]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id] if isinstance(node.target, ast.Name) else _attributes(node.target)
    return [name for target in node.targets for name in _attributes(target)] if isinstance(node, ast.Assign) else []


def _attributes(target: ast.expr) -> list[str]:
    """Name the attributes of `self` that an assignment's target has."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [part.attr for part in parts if isinstance(part, ast.Attribute) and _is_name(part.value, "self")]


def _handed_over(node: ast.ClassDef) -> set[str]:
    """Name the attributes that a method sets to a parameter of a type of the program's own."""
    functions = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    return {name for function in functions for name in _kept(function)}


def _kept(function: ast.FunctionDef) -> list[str]:
    own = _own_parameters(function)
    assignments = [each for each in ast.walk(function) if isinstance(each, ast.Assign)]
    pairs = [pair for each in assignments for target in each.targets for pair in _pairs(target, each.value)]
    return [name for target, value in pairs if _names_one_of(value, own) for name in _attributes(target)]


def _pairs(target: ast.expr, value: ast.expr) -> list[tuple[ast.expr, ast.expr]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        return list(zip(target.elts, value.elts, strict=False))
    return [(target, value)]


def _names_one_of(node: ast.expr, names: Iterable[str]) -> bool:
    return isinstance(node, ast.Name) and node.id in names


def _own_parameters(function: ast.FunctionDef) -> set[str]:
    """Name the parameters that are annotated with a type of the program's own."""
    arguments = (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs)
    return {each.arg for each in arguments if each.arg != "self" and not _is_any(each.annotation)}


def _is_name(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _is_any(annotation: ast.AST | None) -> bool:
    return annotation is None or "Any" in ast.unparse(annotation)


class Reader(ast.NodeVisitor):
    """Reads one file; `scopes` say what local names are."""

    def __init__(self, file: str, known: Known, uses: list[Use], unknown: list[str]) -> None:
        self.file, self.known, self.uses, self.unknown = file, known, uses, unknown
        self.scopes: list[dict[str, Kind]] = [{}]
        self.classes: list[str] = [""]

    # Names

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Read a class, whose attributes may be its own, and the callbacks that it overrides."""
        for base in _bases(node):
            for function in (each for each in node.body if isinstance(each, ast.FunctionDef)):
                self._note_override(base, function)
        self.classes.append(node.name)
        self.generic_visit(node)
        self.classes.pop()

    def _note_override(self, base: str, function: ast.FunctionDef) -> None:
        """Note a callback as called with what it takes: by position, as the bindings call it."""
        name, arguments = f"{base}.{function.name}", function.args
        if function.name[0] != "_" and any(member_of(surface, name) for surface in releases("tensorrt")):
            count = None if arguments.vararg else len(arguments.posonlyargs) + len(arguments.args) - 1
            self._note(Kind("used", name), function, (count, ()))

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        """Read a function in a scope of its own."""
        for each in (*node.decorator_list, *node.args.defaults, *(it for it in node.args.kw_defaults if it)):
            self.visit(each)
        self.scopes.append(dict.fromkeys(_own_parameters(node), OWN))
        for statement in node.body:
            self.visit(statement)
        self.scopes.pop()

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        """An exception is the program's own."""
        if node.name:
            self.scopes[-1][node.name] = OWN
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """Keep what a name is bound to, where that is known."""
        self.visit(node.value)
        for target in node.targets:
            if isinstance(target, ast.Name):
                self._keep(target.id, node.value)
            else:
                self.visit(target)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """A name with a type of the program's own is its own."""
        if node.value is not None:
            self.visit(node.value)
        if isinstance(node.target, ast.Name) and not _is_any(node.annotation):
            self.scopes[-1][node.target.id] = OWN

    def visit_For(self, node: ast.For) -> None:
        """What lies in a container of the program's own is its own."""
        self._keep_item(node.target, node.iter)
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """As `visit_For`."""
        self._keep_item(node.target, node.iter)
        self.generic_visit(node)

    def visit_ListComp(self, node: ast.ListComp) -> None:
        """Read what binds names before what uses them."""
        self._comprehend(node.generators, [node.elt])

    def visit_SetComp(self, node: ast.SetComp) -> None:
        """As `visit_ListComp`."""
        self._comprehend(node.generators, [node.elt])

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> None:
        """As `visit_ListComp`."""
        self._comprehend(node.generators, [node.elt])

    def visit_DictComp(self, node: ast.DictComp) -> None:
        """As `visit_ListComp`."""
        self._comprehend(node.generators, [node.key, node.value])

    def _comprehend(self, generators: list[ast.comprehension], parts: list[ast.expr]) -> None:
        self.scopes.append({})
        for each in (*generators, *parts):
            self.visit(each)
        self.scopes.pop()

    def _keep(self, name: str, value: ast.expr) -> None:
        kind = self.kind(value, note=False)
        if kind is None and isinstance(value, ast.Call) and _makes_own(value, self.known):
            kind = OWN
        if kind is not None and kind.sure:
            self.scopes[-1][name] = kind

    def _keep_item(self, target: ast.expr, container: ast.expr) -> None:
        if isinstance(target, ast.Name) and self.kind(container, note=False) == OWN:
            self.scopes[-1][target.id] = OWN

    # Uses

    def visit_Call(self, node: ast.Call) -> None:
        """Note a call, and the functions that are handed over to `call`."""
        kind = self.kind(node.func, note=False)
        call = (_positional(node.args), tuple(each.arg for each in node.keywords if each.arg))
        if kind is not None and kind.is_ in ("callable", "class", "unbound"):
            self._note(kind, node, _unbound(call) if kind.is_ == "unbound" else call)
        if isinstance(node.func, ast.Name) and node.func.id == "call" and node.args:
            self._note_handed(node)
        self.generic_visit(node)

    def _note_handed(self, node: ast.Call) -> None:
        handed = self.kind(node.args[0], note=False)
        if handed is not None and handed.is_ == "callable":
            self._note(handed, node, (_positional(node.args[1:]), ()))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """Note the use of a member."""
        self.kind(node)
        self.generic_visit(node)

    def kind(self, node: ast.expr, *, note: bool = True) -> Kind | None:
        """Say what an expression is, as far as the convention tells."""
        if isinstance(node, ast.Name):
            return self._named(node.id)
        if isinstance(node, ast.Call):
            return _result(self.kind(node.func, note=False))
        return self._attribute(node, note=note) if isinstance(node, ast.Attribute) else None

    def _named(self, name: str) -> Kind | None:
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name in MODULES:
            return MODULES[name]
        return Kind("instance", RECEIVERS[name]) if name in RECEIVERS else None

    def _attribute(self, node: ast.Attribute, *, note: bool) -> Kind | None:
        if node.attr in MODULES:
            return MODULES[node.attr]
        base = self.kind(node.value, note=False)
        if base is None or base == OWN:
            return self._of_unknown(node, base, note=note)
        if node.attr in self.known.extra.get(base.name, ()) or base.is_ in ("callable", "unbound"):
            return OWN
        name = f"{base.name}.{node.attr}" if base.is_ != "module" else node.attr
        found = _kind_of(name, base)
        if not base.sure and found is None:
            return None
        if note:
            self._note(Kind("used", name), node, library=base.name if base.is_ == "module" else None)
        return found

    def _of_unknown(self, node: ast.Attribute, base: Kind | None, *, note: bool) -> Kind | None:
        """Read an attribute of what the convention does not know: `self._engine`, `host.runtime`, or a mistake."""
        attribute = node.attr.lstrip("_")
        if _is_name(node.value, "self") and node.attr in self.known.attributes.get(self.classes[-1], ()):
            return OWN
        if attribute in RECEIVERS:
            return Kind("instance", RECEIVERS[attribute], sure=_is_name(node.value, "self") and node.attr[0] == "_")
        if note and base is None and node.attr in TELLING - self.known.own and not _is_name(node.value, "self"):
            words = f"{ast.unparse(node.value)!r} has TensorRT's member {node.attr!r}, but no name of the convention"
            self.unknown.append(f"{self.file}:{node.lineno}: {words}")
        return None

    def _note(
        self,
        kind: Kind,
        node: ast.AST,
        call: tuple[int | None, tuple[str, ...]] | None = None,
        *,
        library: str | None = None,
    ) -> None:
        library = library or ("cuda" if kind.name.startswith("cuda") else "tensorrt")
        use = Use(kind.name, library, f"{self.file}:{getattr(node, 'lineno', 0)}", call)
        if use not in self.uses:
            self.uses.append(use)


def _makes_own(value: ast.Call, known: Known) -> bool:
    name = value.func.id if isinstance(value.func, ast.Name) else ""
    return name in known.own and name[:1].isupper()


def _positional(arguments: list[ast.expr]) -> int | None:
    return None if any(isinstance(each, ast.Starred) for each in arguments) else len(arguments)


def _unbound(call: tuple[int | None, tuple[str, ...]]) -> tuple[int | None, tuple[str, ...]]:
    """Leave out the instance that a call of a class's function begins with."""
    return (None if call[0] is None else call[0] - 1), call[1]


def _kind_of(name: str, base: Kind) -> Kind | None:
    """Say what a qualified name is, in the newest release that has it."""
    library = base.name if base.is_ == "module" else "cuda" if name.startswith("cuda") else "tensorrt"
    for surface in reversed(releases(library)):
        if name in surface.classes:
            return Kind("class", name)
        if name in surface.functions:
            return Kind("callable", name)
        if name in surface.values:
            return Kind("instance", name) if library == "cuda" else Kind("value", "DataType")
        member = member_of(surface, name)
        if member is not None or surface.has(name):
            return _kind_ofmember_of(surface, name, base, member)
    return None


def _kind_ofmember_of(surface: Surface, name: str, base: Kind, member: Member | None) -> Kind:
    kind = member.kind if member is not None else "method"
    if kind in ("method", "static"):
        return Kind("unbound" if base.is_ == "class" and kind == "method" else "callable", name)
    if kind == "class":
        return Kind("class", name)
    type_ = _last(member.type) if member is not None else ""
    return Kind("instance", type_) if type_ in surface.classes else Kind("value", name)


def _result(kind: Kind | None) -> Kind | None:
    """Say what calling something gives."""
    if kind is None or kind.is_ in ("own", "instance", "value", "module"):
        return None
    if kind.is_ == "class":
        return Kind("instance", kind.name)
    for surface in reversed(SURFACES.values()):
        member = member_of(surface, kind.name)
        if member is not None and _last(member.type) in surface.classes:
            return Kind("instance", _last(member.type))
    return None


def _last(type_: str) -> str:
    return type_.rpartition("::")[2]


def _telling() -> set[str]:
    """Give the members of the convention's classes that say by their name whose they are."""
    classes = [surface.classes[name] for surface in releases("tensorrt") for name in RECEIVERS.values()]
    members = {name for each in classes for name in each.own}
    return {name for name in members if "_" in name.strip("_") and name[0] != "_"}


TELLING = _telling()
