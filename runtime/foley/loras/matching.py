"""Which of a bundle's matrices LoRAs change, and by what."""

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from foley.bundle import Bundle
from foley.errors import BundleError, UsageError
from foley.loras.file import LoraFile, alpha_over_rank, read_lora_file
from foley.loras.lora import Lora
from foley.loras.names import Role, parse_name, spellings
from foley.loras.update import Update, byte_count, check_fit
from foley.parameters import Parameter, decode

Pair = dict[Role, NDArray[np.float32]]


@dataclass(frozen=True, eq=False)
class Change:
    """What LoRAs do to one weights file."""

    weights: str
    """The file, relative to the bundle's folder."""
    parameters: Mapping[str, Parameter]
    updates: Mapping[str, Sequence[Update]]
    """Module → what is added to it, in the order of the LoRAs."""
    sha256: str
    """Digest over the file's own and, in order, of each LoRA's file and scale."""


def find_changes(bundle: Bundle, loras: Sequence[Lora]) -> list[Change]:
    """Read LoRAs and find, for each weights file of a bundle, what they change there; what has scale 0 changes nothing.

    Raises:
        BundleError: the bundle does not say where its matrices lie.
        UsageError: a LoRA cannot be read, changes a module that the bundle has not, or does not fit; one line each.
    """
    if not loras:
        return []
    files = [(lora, read_lora_file(Path(lora.file))) for lora in loras]
    known = _known(bundle)
    modules = spellings(name for parameters in known.values() for name in parameters)
    updates = [_updates(lora, file, modules) for lora, file in files]
    changes = (_change(bundle, weights, parameters, files, updates) for weights, parameters in known.items())
    return [change for change in changes if change.updates]


def _known(bundle: Bundle) -> dict[str, dict[str, Parameter]]:
    """Give each weights file's matrices; graphs may share a file."""
    known: dict[str, dict[str, Parameter]] = {}
    for graph in bundle.manifest.graphs.values():
        if graph.parameters is not None:
            own = _read_parameters(bundle, graph.parameters, graph.weights)
            known[graph.weights] = {**known.get(graph.weights, {}), **own}
    if not known:
        raise BundleError(
            f"{bundle.folder} does not say where its matrices lie, so LoRAs cannot be put in; "
            "export it again with this foley, or fuse them: foley export --lora"
        )
    return known


def _read_parameters(bundle: Bundle, name: str, weights: str) -> dict[str, Parameter]:
    place = bundle.folder / name
    try:
        parameters = decode(place.read_bytes(), str(place))
    except OSError as error:
        raise BundleError(f"{place} cannot be read: {error.strerror}; copy the bundle again") from error
    size = bundle.manifest.files[weights].bytes
    for module, parameter in parameters.items():
        if parameter.offset + byte_count(parameter) > size:
            raise BundleError(f"{place}: {module} ends beyond the {size} bytes of {weights}; export the bundle again")
    return parameters


def _updates(lora: Lora, file: LoraFile, modules: Mapping[str, str]) -> dict[str, Update]:
    """Give a LoRA's updates by the bundle's names of modules."""
    pairs: dict[str, Pair] = {}
    for name, tensor in file.tensors.items():
        spelled, role = parse_name(name, file.path)
        pairs.setdefault(_module(spelled, file, modules), {})[role] = tensor
    if not pairs:
        raise UsageError(f"LoRA {file.path} is empty; give the file that a trainer saved")
    return {module: _update(lora, file, module, pair) for module, pair in pairs.items()}


def _module(spelled: str, file: LoraFile, modules: Mapping[str, str]) -> str:
    if spelled in modules:
        return modules[spelled]
    nearest = difflib.get_close_matches(spelled, modules, n=1, cutoff=0.0)
    raise UsageError(
        f"LoRA {file.path} changes {spelled}, which is none of the {len(set(modules.values()))} modules that LoRAs may "
        f"change in this bundle, such as {', '.join(nearest)}; take one that was trained for this model"
    )


def _update(lora: Lora, file: LoraFile, module: str, pair: Pair) -> Update:
    missing = [role for role in ("down", "up") if role not in pair]
    if missing:
        raise UsageError(
            f"LoRA {file.path} lacks the tensor {missing[0]!r} of {module}; it is incomplete, save it again"
        )
    rank = max(1, pair["down"].shape[0] if pair["down"].ndim else 1)
    alpha = pair.get("alpha")
    if alpha is not None and alpha.size != 1:
        raise UsageError(f"LoRA {file.path}: alpha of {module} is {list(alpha.shape)}, expected one number")
    own = alpha_over_rank(file, module, rank) if alpha is None else float(alpha.reshape(())) / rank
    return Update(pair["down"], pair["up"], lora.scale * (1.0 if own is None else own), file.path)


def _change(
    bundle: Bundle,
    weights: str,
    parameters: Mapping[str, Parameter],
    files: Sequence[tuple[Lora, LoraFile]],
    updates: Sequence[Mapping[str, Update]],
) -> Change:
    gathered: dict[str, list[Update]] = {}
    digest = hashlib.sha256(bundle.manifest.files[weights].sha256.encode())
    for (lora, file), own in zip(files, updates, strict=True):
        here = {module: update for module, update in own.items() if module in parameters}
        for module, update in here.items():
            check_fit(module, parameters[module], update)
            if update.factor:
                gathered.setdefault(module, []).append(update)
        if any(update.factor for update in here.values()):
            digest.update(f"\n{file.sha256} {float(lora.scale).hex()}".encode())
    return Change(weights, parameters, gathered, digest.hexdigest())
