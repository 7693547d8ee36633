"""A checkpoint's files: a local folder, or a hub repository brought into the hub's own cache."""

import hashlib
import json
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from foley.bundle import sha256
from foley.errors import CheckpointError

WEIGHT_FILES: Final = (
    "diffusion_pytorch_model.safetensors",
    "model.safetensors",
    "diffusion_pytorch_model.fp16.safetensors",
    "model.fp16.safetensors",
    "diffusion_pytorch_model.bin",
    "pytorch_model.bin",
    "diffusion_pytorch_model.fp16.bin",
    "pytorch_model.fp16.bin",
)
"""Names that diffusers and transformers give weights, the first found is read: safetensors before pickles."""

NETWORK_LIBRARIES: Final = ("httpx", "httpcore", "requests", "urllib3", "huggingface_hub")
EXAMPLE: Final = "auffusion/auffusion-full"
CONFIG: Final = "config.json"


@dataclass(frozen=True)
class Checkpoint:
    """A folder in a released layout. Every file that is read is remembered for the bundle's source digest."""

    folder: Path
    name: str
    revision: str | None = None
    replaced: Mapping[str, Path] = field(default_factory=dict)
    """Components that are read from other folders, as `unet` is of a run that trained it alone."""
    _read: dict[Path, str] = field(default_factory=dict, repr=False)
    """Each file that was read, and its name in the layout."""

    def has(self, name: str) -> bool:
        """Say whether a file or folder is there."""
        return self._path(name).exists()

    def file(self, name: str) -> Path:
        """Give a file's path.

        Raises:
            CheckpointError: it is missing.
        """
        path = self._path(name)
        if not path.is_file():
            raise CheckpointError(f"{self.name} lacks {name}; looked in {self.folder}")
        self._read[path] = name
        return path

    def json(self, name: str) -> Any:  # noqa: ANN401 — JSON
        """Read a JSON file.

        Raises:
            CheckpointError: it is missing or no JSON.
        """
        path = self.file(name)
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path} is not JSON: {error}") from error

    def config(self, name: str) -> dict[str, Any]:
        """Read a JSON object.

        Raises:
            CheckpointError: it is missing, no JSON or no object.
        """
        value = self.json(name)
        if not isinstance(value, dict):
            raise CheckpointError(f"{self.folder / name} holds a {type(value).__name__}, expected a JSON object")
        return value

    def weights(self, folder: str) -> Path:
        """Find the weights of a component.

        Raises:
            CheckpointError: none of the known file names is there.
        """
        for name in WEIGHT_FILES:
            if self._path(f"{folder}/{name}").is_file():
                return self.file(f"{folder}/{name}")
        raise CheckpointError(f"{self.name} lacks weights in {folder}/; looked for {', '.join(WEIGHT_FILES)}")

    def _path(self, name: str) -> Path:
        """Place a name that may come from a config; links stay, for the hub's cache is made of them."""
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise CheckpointError(f"{self.name} names the file {name}, which is outside its folder")
        component, _, rest = name.partition("/")
        return self.replaced[component] / rest if component in self.replaced else self.folder / name

    def with_unet(self, folder: Path) -> "Checkpoint":
        """Give the same checkpoint with the U-Net of a training run: its folder, or the run's that has it in `unet/`.

        Raises:
            CheckpointError: the folder holds no U-Net in diffusers' layout, or this checkpoint has none to replace.
        """
        found = next((place for place in (folder / "unet", folder) if (place / CONFIG).is_file()), None)
        if found is None:
            raise CheckpointError(f"--unet {folder} holds no {CONFIG}; give the folder that diffusers' training wrote")
        if not self.has("unet"):
            raise CheckpointError(f"{self.name} has no unet/ to replace; give the folder of a whole pipeline")
        name = "/".join(found.resolve().parts[-2:])
        return replace(self, name=f"{self.name} with {name}", replaced={**self.replaced, "unet": found}, _read={})

    def files(self) -> list[Path]:
        """Give every file read so far, in the order of their names in the layout."""
        return sorted(self._read, key=lambda path: Path(self._read[path]))

    def digest(self, digest: Callable[[Path], str] = sha256) -> str:
        """Digest the names and contents of every file read so far; `digest` gives that of one file."""
        whole = hashlib.sha256()
        for path in self.files():
            whole.update(f"{Path(self._read[path]).as_posix()} {digest(path)}\n".encode())
        return whole.hexdigest()


def open_checkpoint(place: str, *, revision: str | None = None) -> Checkpoint:
    """Open a local folder, or a hub repository such as `auffusion/auffusion-full`.

    Raises:
        CheckpointError: there is no such folder or repository, or the hub cannot be reached and its cache lacks it.
    """
    folder = Path(place).expanduser()
    if folder.is_dir():
        if revision is not None:
            raise CheckpointError(
                f"{place} is a folder, and --revision {revision} means a hub repository; leave it out"
            )
        return Checkpoint(folder, folder.resolve().name)
    if folder.exists():
        raise CheckpointError(
            f"{place} is a file, expected a checkpoint's folder or a hub id such as auffusion/auffusion"
        )
    if place.count("/") != 1 or place.startswith((".", "/", "~")):
        raise CheckpointError(f"there is no folder {place}, and it is no hub id such as {EXAMPLE}")
    return _from_hub(place, revision)


def _from_hub(repository: str, revision: str | None) -> Checkpoint:
    from huggingface_hub import HfApi, errors, snapshot_download

    try:
        patterns = _wanted(HfApi().list_repo_files(repository, revision=revision))
        folder = Path(snapshot_download(repository, revision=revision, allow_patterns=patterns))
    except errors.HFValidationError as error:
        raise CheckpointError(f"there is no folder {repository}, and it is no hub id: {_line(error)}") from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise CheckpointError(f"the hub has no {repository} that you may read: {_line(error)}") from error
    except Exception as error:  # among them those of the hub's HTTP library, which its versions have changed
        if not _is_network(error):
            raise
        folder = _from_cache(repository, revision, error)
    return Checkpoint(folder, repository, folder.name)


def _is_network(error: Exception) -> bool:
    """Tell a lost connection from a full disk and from a mistake of ours."""
    library = type(error).__module__.partition(".")[0].rstrip("2")
    return isinstance(error, ConnectionError | TimeoutError) or library in NETWORK_LIBRARIES


def _from_cache(repository: str, revision: str | None, reason: Exception) -> Path:
    """Find an earlier download. It need not be whole: a file that it lacks is named when it is wanted."""
    from huggingface_hub import errors, snapshot_download

    try:
        folder = Path(snapshot_download(repository, revision=revision, local_files_only=True))
    except (errors.HfHubHTTPError, OSError) as error:
        partial = getattr(error, "snapshot_path", None)  # newer hub libraries tell where a part of it lies
        if partial is None:
            raise CheckpointError(
                f"there is no folder {repository}, the hub cannot be reached ({type(reason).__name__}) and its cache "
                f"has no copy of {repository}; connect, or give the folder of a downloaded checkpoint"
            ) from error
        folder = Path(partial)
    warnings.warn(f"the hub cannot be reached; using the cached commit {folder.name} of {repository}", stacklevel=2)
    return folder


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _wanted(files: Iterable[str]) -> list[str]:
    """Choose what to download: every small file, and one file of weights a component."""
    chosen: list[str] = []
    weighted: dict[str, list[str]] = {}
    for file in files:
        folder, _, name = file.rpartition("/")
        if name in WEIGHT_FILES:
            weighted.setdefault(folder, []).append(name)
        elif name.endswith((".json", ".txt", ".model")) or (folder and name.endswith(".pt")):
            chosen.append(file)
    return chosen + [f"{folder}/{min(names, key=WEIGHT_FILES.index)}" for folder, names in weighted.items()]
