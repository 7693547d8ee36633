"""A bundle on disk: a manifest, and files that are what the manifest says they are."""

import errno
import hashlib
import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foley.errors import BundleError, EngineUnavailableError, UsageError
from foley.files import hidden_name, swap_folder
from foley.manifest import FileRecord, Graph, Manifest, decode, encode

MANIFEST = "bundle.json"
ENGINES = "engines"
"""Folder of a bundle in which engines keep what they build for a machine."""
CHUNK_BYTES = 1 << 22
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


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

    def check_engine(self, engine: str) -> None:
        """Say before anything is loaded that an engine has no arithmetic for this bundle.

        Raises:
            EngineUnavailableError: a graph is bf16 and the engine is the CPU's.
        """
        if engine == "cpu" and any(graph.precision == "bf16" for graph in self.manifest.graphs.values()):
            raise EngineUnavailableError(
                f"engine 'cpu' cannot run {self.folder}, a bf16 bundle: ONNX Runtime has no bfloat16 convolution or "
                "matrix product on CPUs; use --engine tensorrt, or export the checkpoint again with --precision fp32"
            )

    def golden(self, name: str) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
        """Read a graph's recorded inputs and outputs, by tensor name.

        Raises:
            BundleError: the file is unreadable or lacks a tensor of the graph.
        """
        graph = self.graph(name)
        recorded = _read_arrays(self.folder / graph.golden)
        missing = [tensor.name for tensor in (*graph.inputs, *graph.outputs) if tensor.name not in recorded]
        if missing:
            raise BundleError(f"{self.folder / graph.golden} lacks {', '.join(missing)}; export the bundle again")
        return recorded


def _read_arrays(path: Path) -> dict[str, NDArray[np.float32] | NDArray[np.int64]]:
    """Read an .npz file without pickles; numpy gives what is no array in it as bytes."""
    try:
        with zipfile.ZipFile(path), np.load(path, allow_pickle=False) as stored:
            return {key: array for key in stored.files if isinstance(array := stored[key], np.ndarray)}
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BundleError(f"{path} is not a recording: {error}; export the bundle again") from error


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
            f"{folder} is not a bundle: {MANIFEST} is missing; make one with: foley export CHECKPOINT -o BUNDLE"
            if folder.exists()
            else f"there is no folder {folder}; make a bundle with: foley export CHECKPOINT -o {folder}"
        ) from error
    except OSError as error:
        raise BundleError(f"{place} cannot be read: {error.strerror}") from error
    bundle = Bundle(folder, manifest)
    _check_files(bundle, digests=verify_files)
    return bundle


def _check_files(bundle: Bundle, *, digests: bool) -> None:
    for name, record in bundle.manifest.files.items():
        path = bundle.folder / name
        try:
            _check_file(path, record, digest=digests)
        except OSError as error:
            raise BundleError(f"{path} cannot be read: {error.strerror}; copy the bundle again") from error


def _check_file(path: Path, record: FileRecord, *, digest: bool) -> None:
    if not path.is_file():
        raise BundleError(f"{path} is missing; copy the bundle again, or export it again")
    size = path.stat().st_size
    if size != record.bytes:
        raise BundleError(f"{path} has {size} bytes, expected {record.bytes}; copy the bundle again")
    if digest and sha256(path) != record.sha256:
        raise BundleError(f"{path} is damaged: its sha256 is not the manifest's; copy the bundle again")


def sha256(path: Path) -> str:
    """Digest a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def record_files(folder: Path, digest: Callable[[Path], str] = sha256) -> dict[str, FileRecord]:
    """Record every file below a folder but the manifest, sorted by name."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return {
        path.relative_to(folder).as_posix(): FileRecord(bytes=path.stat().st_size, sha256=digest(path))
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
        UsageError: the target exists (and `replace` was not asked for, or it is more than a bundle), cannot be written,
            or its disk fills up.
    """
    target = target.resolve()
    check_new_folder(target, replace=replace)
    working = hidden_name(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        working.mkdir()
    except OSError as error:
        place = f"{target.parent} cannot be written: {error.strerror}"
        raise UsageError(f"{place}; choose another folder with -o") from error
    try:
        yield working
        check_new_folder(target, replace=replace)
        swap_folder(working, target)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise UsageError(f"the disk of {target.parent} is full; free some room, nothing was kept there") from error
        raise
    finally:
        shutil.rmtree(working, ignore_errors=True)


def check_new_folder(target: Path, *, replace: bool) -> None:
    """Say now, not after minutes of work, that `new_folder` would refuse a target.

    Raises:
        UsageError: it exists, and `replace` was not asked for, or it is more than a bundle.
    """
    if target.is_mount() or target == Path.cwd():
        raise UsageError(f"{target} cannot be swapped for a new folder; choose a folder below it with -o")
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if not replace:
        raise UsageError(f"{target} exists; choose another folder with -o, or replace the bundle with --force")
    foreign = _foreign(target)
    if foreign is not None:
        raise UsageError(f"{target} is not a bundle alone (it holds {foreign}), so --force does not replace it")


def _foreign(folder: Path) -> str | None:
    """Name something in a folder that does not belong to a bundle, if there is any: it must not be lost."""
    try:
        known = decode((folder / MANIFEST).read_bytes(), MANIFEST).files
    except (OSError, BundleError):
        return f"no {MANIFEST} that this foley can read"
    names = (path.relative_to(folder) for path in folder.rglob("*") if not path.is_dir())
    own = (*known, MANIFEST)
    return next((str(name) for name in names if name.as_posix() not in own and name.parts[0] != ENGINES), None)
