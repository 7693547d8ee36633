"""A graph on disk, with what its caller knows of it."""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from foley_engines.base import Array, TensorSpec
from foley_engines.profiles import Profile, exactly

CHUNK_BYTES: Final = 1 << 22

Arrays = Mapping[str, Array]


@dataclass(frozen=True)
class Spelling:
    """One ONNX file of a graph."""

    path: Path
    structure: str | None = None
    """Digest of the graph without its weights' values; None: of the whole file, which small weights are part of."""
    sha256: str | None = None
    """Digest of the file, where it is known already."""
    fused: Mapping[str, int] = field(default_factory=dict)
    """Fused operators in it, and how many: an engine that runs fewer is refused."""

    @cached_property
    def digest(self) -> str:
        """Digest of the file."""
        return self.sha256 or file_digest(self.path)


@dataclass(frozen=True)
class GraphFile:
    """A graph: one or more spellings over the same weights, and how to check an engine of it."""

    name: str
    standard: Spelling
    """Standard operators up to opset 22 only: 20 but for bfloat16."""
    spellings: Mapping[str, Spelling] = field(default_factory=dict)
    """Engine → the same graph as that engine runs it best; "reference": as a CPU computes what others are held to."""
    folder: Path | None = None
    """The bundle that the graph is of, where there is one."""
    weights: Path | None = None
    """None: what is known of them is that their files lie beside the graph, which names them."""
    weights_sha256: str | None = None
    """Digest of the weights file, where it is known already."""
    tensors: tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]] | None = None
    """Inputs and outputs, where they are known already."""
    floor_db: float = 35.0
    """The least signal-to-noise ratio of an engine's outputs against the reference."""
    golden: Callable[[], tuple[Arrays, Arrays]] | None = None
    """Gives inputs and the outputs that torch computed from them."""
    example: Callable[[Mapping[str, int]], Arrays] | None = None
    """Gives inputs of other sizes of the symbols, for engines that cannot take the golden ones."""
    refit_only: bool = False
    """Whether plans may only be refitted with these weights, which are in use for a while: no plan is built with them.
    """
    profile: Callable[[Mapping[str, int]], Profile] = exactly
    """Gives what an engine is built for when these sizes are asked for and nothing was built before."""

    def plans_folder(self, engine: str) -> Path:
        """Give the folder in which an engine keeps what it builds, where nobody names another."""
        return (self.folder or self.standard.path.parent) / "engines" / engine

    def weights_digest(self, spelling: Spelling) -> str:
        """Digest all weights: those in the weights file, and the small ones in the spelling."""
        return hashlib.sha256(f"{spelling.digest}\n{self._weights_file}".encode()).hexdigest()

    @cached_property
    def _weights_file(self) -> str:
        if self.weights_sha256 is not None:
            return self.weights_sha256
        files = [self.weights] if self.weights is not None else files_named_in(self.standard.path)
        return "\n".join(map(file_digest, files))


def files_named_in(graph: Path) -> list[Path]:
    """List the files beside a graph whose names stand in it, as ONNX names those of external weights."""
    content = graph.read_bytes()
    beside = (place for place in graph.parent.iterdir() if place.is_file() and place != graph)
    return sorted(place for place in beside if place.name.encode() in content)


def file_digest(path: Path) -> str:
    """Give a file's sha256."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            found.update(chunk)
    return found.hexdigest()
