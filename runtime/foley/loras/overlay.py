"""A temporary folder with the files of the graphs that LoRAs change; all else stays in the bundle."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from foley.bundle import DISK_FULL, Bundle
from foley.errors import UsageError
from foley.loras.lora import Lora
from foley.loras.matching import Change, find_changes
from foley.loras.update import byte_count, updated
from foley.manifest import Graph
from foley_engines.setups import Tell, tell_nobody

PREFIX: Final = "foley-loras-"


class Overlay:
    """Files that stand in for those of the same names in a bundle. They are gone when it is closed."""

    def __init__(self, folder: Path, weights: Mapping[str, str]) -> None:
        """Take a folder, and the changed weights files by name, each with the digest that stands for its content."""
        self.folder = folder
        self.weights = weights
        self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def covers(self, graph: Graph) -> bool:
        """Say whether a graph's weights are among the changed ones."""
        return graph.weights in self.weights

    def graphs(self, bundle: Bundle) -> list[str]:
        """List the changed graphs."""
        return [name for name, graph in bundle.manifest.graphs.items() if self.covers(graph)]

    def close(self) -> None:
        """Remove the folder; engines that were loaded from it must be closed before."""
        self._remove()


def write_overlay(bundle: Bundle, loras: Sequence[Lora], tell: Tell = tell_nobody) -> Overlay | None:
    """Write the files of a bundle's graphs with LoRAs in them; None where they change nothing.

    Raises:
        BundleError: the bundle does not say where its matrices lie.
        UsageError: a LoRA cannot be read or does not fit, or the files cannot be written; nothing is kept then.
    """
    changes = find_changes(bundle, loras)
    if not changes:
        return None
    what = f"weights with {', '.join(map(str, loras))}"
    overlay = _new_overlay({change.weights: change.sha256 for change in changes})
    try:
        for change in changes:
            _write(bundle, overlay.folder, change, what, tell)
    except OSError as error:
        overlay.close()
        needed = sum(bundle.manifest.files[change.weights].bytes for change in changes)
        raise _refusal(overlay.folder.parent, error, needed) from error
    except BaseException:
        overlay.close()
        raise
    return overlay


def _new_overlay(weights: Mapping[str, str]) -> Overlay:
    try:
        return Overlay(Path(tempfile.mkdtemp(prefix=PREFIX)), weights)
    except OSError as error:
        raise UsageError(f"no temporary folder can be made: {error.strerror}; name one in TMPDIR") from error


def _write(bundle: Bundle, folder: Path, change: Change, what: str, tell: Tell) -> None:
    """Copy a weights file and the graphs over it, then put the new matrices in their places."""
    graphs = {name: graph for name, graph in bundle.manifest.graphs.items() if graph.weights == change.weights}
    teller = next(iter(graphs))
    tell(teller, what, 0.0)
    for graph in graphs.values():
        for name in (graph.file, *graph.engines.values()):
            _copy(bundle.folder, folder, name)
    with _copy(bundle.folder, folder, change.weights).open("r+b") as file:
        for number, module in enumerate(change.updates, 1):
            _patch(file, change, module)
            tell(teller, what, number / len(change.updates))


def _copy(source: Path, target: Path, name: str) -> Path:
    place = target / name
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source / name, place)
    return place


def _patch(file: BinaryIO, change: Change, module: str) -> None:
    parameter = change.parameters[module]
    file.seek(parameter.offset)
    stored = file.read(byte_count(parameter))
    content = updated(module, parameter, stored, change.updates[module])
    file.seek(parameter.offset)
    file.write(content)


def _refusal(place: Path, error: OSError, needed: int) -> UsageError:
    if error.errno in DISK_FULL:
        fix = "free some room, or name another folder in TMPDIR"
        return UsageError(f"the disk of {place} is full: weights with LoRAs take {needed} bytes there; {fix}")
    return UsageError(f"weights with LoRAs cannot be written to {place}: {error.strerror}; name a folder in TMPDIR")
