"""A bundle on disk: a manifest, and files that are what the manifest says they are."""

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foley.errors import BundleError, UsageError
from foley.files import current_umask
from foley.manifest import FileRecord, Graph, Manifest, decode, encode

MANIFEST = "bundle.json"
CHUNK_BYTES = 1 << 22


@dataclass(frozen=True)
class Bundle:
    """A loaded manifest and the folder that it describes."""

    folder: Path
    manifest: Manifest

    def graph(self, name: str) -> Graph:
        """Give a graph's record.

        Raises:
            BundleError: the bundle has no such graph.
        """
        if name not in self.manifest.graphs:
            raise BundleError(f"{self.folder} has no graph {name!r}; it has {', '.join(self.manifest.graphs)}")
        return self.manifest.graphs[name]

    def graph_file(self, name: str, engine: str) -> Path:
        """Give the file of a graph in the spelling for an engine; its weights lie beside it."""
        graph = self.graph(name)
        return self.folder / graph.engines.get(engine, graph.file)

    def golden(self, name: str) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """Read a graph's recorded inputs and outputs, by tensor name.

        Raises:
            BundleError: the file is unreadable or lacks a tensor of the graph.
        """
        graph = self.graph(name)
        try:
            with np.load(self.folder / graph.golden, allow_pickle=False) as stored:
                recorded = {key: stored[key] for key in stored.files}
        except (OSError, ValueError) as error:
            raise BundleError(f"{self.folder / graph.golden}: {error}; export the bundle again") from error
        missing = [tensor.name for tensor in (*graph.inputs, *graph.outputs) if tensor.name not in recorded]
        if missing:
            raise BundleError(f"{self.folder / graph.golden} lacks {', '.join(missing)}; export the bundle again")
        return recorded


def load_bundle(folder: str | Path, *, verify_files: bool = True) -> Bundle:
    """Load a bundle and check its files against the manifest's sizes and digests.

    `verify_files=False` compares sizes only; digests take about a second a GiB.

    Raises:
        BundleError: the folder or a file is missing, damaged or newer than this foley; the message names it.
    """
    folder = Path(folder)
    place = folder / MANIFEST
    try:
        manifest = decode(place.read_bytes(), str(place))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(
            f"{folder} is not a bundle: {MANIFEST} is missing; make one with: foley export CHECKPOINT -o {folder}"
        ) from error
    except OSError as error:
        raise BundleError(f"{place} cannot be read: {error.strerror}") from error
    bundle = Bundle(folder, manifest)
    _check_files(bundle, digests=verify_files)
    return bundle


def _check_files(bundle: Bundle, *, digests: bool) -> None:
    for name, record in bundle.manifest.files.items():
        path = bundle.folder / name
        if not path.is_file():
            raise BundleError(f"{path} is missing; copy the bundle again, or export it again")
        size = path.stat().st_size
        if size != record.bytes:
            raise BundleError(f"{path} has {size} bytes, expected {record.bytes}; copy the bundle again")
        if digests and sha256(path) != record.sha256:
            raise BundleError(f"{path} is damaged: its sha256 is not the manifest's; copy the bundle again")


def sha256(path: Path) -> str:
    """Digest a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def record_files(folder: Path) -> dict[str, FileRecord]:
    """Record every file below a folder but the manifest, sorted by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): FileRecord(bytes=path.stat().st_size, sha256=sha256(path))
        for path in paths
    }


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `bundle.json`, after checking that it would load."""
    text = encode(manifest)
    decode(text, MANIFEST)
    (folder / MANIFEST).write_bytes(text)


@contextmanager
def new_folder(target: Path, *, replace: bool = False) -> Iterator[Path]:
    """Give an empty folder beside `target` that becomes `target` when the block ends, and vanishes if it fails.

    With `replace`, an older bundle at `target` gives way, and only after the new one is whole.

    Raises:
        UsageError: the target exists (and `replace` was not asked for, or it is no bundle), or cannot be written.
    """
    _check_target(target, replace=replace)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        working = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise UsageError(
            f"{target.parent} cannot be written: {error.strerror}; choose another folder with -o"
        ) from error
    try:
        yield working
        working.chmod(0o777 & ~current_umask())
        _swap(working, target)
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _check_target(target: Path, *, replace: bool) -> None:
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not replace:
        raise UsageError(f"{target} exists; choose another folder with -o, or replace the bundle with --force")
    if not (target / MANIFEST).is_file():
        raise UsageError(f"{target} exists and is not a bundle, so --force does not replace it; choose another folder")


def _swap(working: Path, target: Path) -> None:
    if not target.exists():
        working.rename(target)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.old.", dir=target.parent))
    old = target.rename(aside / target.name)
    try:
        working.rename(target)
    except OSError:
        old.rename(target)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
