"""A LoRA's `.safetensors` file: tensors by name, and what its header says of their scale."""

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, deserialize

from foley.errors import UsageError

MAX_BYTES: Final = 4 << 30
"""A LoRA of rank 256 for Stable Diffusion's U-Net in float32 has 1.6 GB."""
DTYPES: Final = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4"}
"""The file's types; some trainers save a whole alpha as an integer."""
HEADER: Final = struct.Struct("<Q")
ADAPTER: Final = "lora_adapter_metadata"
"""diffusers' key in the header: PEFT's settings as JSON, each behind its part's name, `unet.lora_alpha`."""
PLAIN: Final = re.compile(r"\^?[\w.-]+\$?")
"""A pattern of PEFT's that is a name."""
PEFT_CONFIG: Final = "adapter_config.json"
"""PEFT's settings beside its file `PEFT_FILE`."""
PEFT_FILE: Final = "adapter_model.safetensors"
USUAL: Final = ("pytorch_lora_weights.safetensors", PEFT_FILE)
"""What trainers call the file in their folders."""


@dataclass(frozen=True, eq=False)
class LoraFile:
    """A file, read."""

    path: Path
    sha256: str
    """Of its bytes, and of the settings that PEFT writes beside it."""
    tensors: dict[str, NDArray[np.float32]]
    settings: dict[str, Any]
    """PEFT's settings by name, `unet.lora_alpha`, or `lora_alpha` where they are of one model; none: empty."""


def read_lora_file(path: Path) -> LoraFile:
    """Read a LoRA's tensors, whatever floating type they have, as float32.

    Raises:
        UsageError: it is no such file, damaged, too large, or holds NaN, infinity or another type; in one line.
    """
    content, config = _content(path), _config(path)
    try:
        entries = deserialize(content)  # type: ignore[no-untyped-call]
        header = json.loads(content[HEADER.size : HEADER.size + HEADER.unpack_from(content)[0]])
        settings = json.loads(config or (header.get("__metadata__") or {}).get(ADAPTER, "{}"))
    except (SafetensorError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UsageError(f"LoRA {path} cannot be read: {reason}; download it again") from error
    if not isinstance(settings, dict):
        raise UsageError(f"LoRA {path}: its settings are {settings!r}, expected names and values; train it again")
    tensors = {name: _tensor(path, name, entry) for name, entry in entries}
    return LoraFile(path, hashlib.sha256(content + config).hexdigest(), tensors, settings)


def _content(path: Path) -> bytes:
    _check_place(path)
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise UsageError(f"LoRA {path} has {size} bytes, expected {MAX_BYTES} or less; give the LoRA alone")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"LoRA {path} cannot be read: {error.strerror}") from error


def _check_place(path: Path) -> None:
    if path.is_dir():
        inside = next((name for name in USUAL if (path / name).is_file()), None)
        fix = f"give {path / inside}" if inside else "give the .safetensors file in it that a trainer saved"
        raise UsageError(f"LoRA {path} is a folder, expected a file; {fix}")
    if not path.exists():
        raise UsageError(f"LoRA {path} does not exist; give the .safetensors file that a trainer saved")
    if path.suffix != ".safetensors":
        raise UsageError(f"LoRA {path} ends in {path.suffix or 'nothing'!r}, expected .safetensors; save it as one")


def _config(path: Path) -> bytes:
    """Read what PEFT writes beside its file, or nothing."""
    beside = path.with_name(PEFT_CONFIG)
    if path.name != PEFT_FILE or not beside.is_file():
        return b""
    try:
        return beside.read_bytes()
    except OSError as error:
        raise UsageError(f"{beside} cannot be read: {error.strerror}") from error


def _tensor(path: Path, name: str, entry: dict[str, Any]) -> NDArray[np.float32]:
    dtype = entry["dtype"]
    if dtype not in DTYPES:
        raise UsageError(f"LoRA {path}: {name} is {dtype}, expected F32, F16 or BF16; save it in one of these")
    values = _widened(entry["data"], dtype).reshape(entry["shape"])
    if not np.isfinite(values).all():
        raise UsageError(f"LoRA {path}: {name} holds NaN or infinity; its training went wrong, take an earlier save")
    return values


def _widened(data: bytes, dtype: str) -> NDArray[np.float32]:
    values = np.frombuffer(data, DTYPES[dtype])
    return (values.astype(np.uint32) << 16).view(np.float32) if dtype == "BF16" else values.astype(np.float32)


def setting(settings: dict[str, Any], part: str, name: str) -> Any:  # noqa: ANN401 — JSON
    """Give a setting of a part of the model (`unet`), or of the file's only one; None where nothing is said."""
    return settings.get(f"{part}.{name}", settings.get(name))


def alpha_over_rank(file: LoraFile, module: str, rank: int) -> float | None:
    """Give what PEFT's settings say a module's update is multiplied by; None where they say nothing.

    `use_rslora` divides by √r (Kalajdzievski 2023).

    Raises:
        UsageError: a setting has no meaning here.
    """
    part, _, name = module.partition(".")
    alpha = _alpha_of(file, part, name)
    if alpha is None:
        return None
    if isinstance(alpha, bool) or not isinstance(alpha, int | float) or not math.isfinite(alpha):
        raise UsageError(f"LoRA {file.path}: lora_alpha of {module} is {alpha!r}, expected a number; train it again")
    return alpha / (math.sqrt(rank) if setting(file.settings, part, "use_rslora") else rank)


def _alpha_of(file: LoraFile, part: str, name: str) -> Any:  # noqa: ANN401 — JSON
    """Give the alpha of a module; `alpha_pattern` names modules by the ends of their names, or with ^ by all of it."""
    patterns = setting(file.settings, part, "alpha_pattern") or {}
    odd = [patterns] if not isinstance(patterns, dict) else [each for each in patterns if not PLAIN.fullmatch(each)]
    if odd:
        raise UsageError(
            f"LoRA {file.path}: alpha_pattern of {part} holds {odd[0]!r}, expected names of modules; "
            "fuse it into the checkpoint in torch, and export that"
        )
    names = (name, name.removeprefix("text_model."))
    fitting = [pattern for pattern in patterns if any(_is_named(each, pattern) for each in names)]
    return patterns[fitting[0]] if fitting else setting(file.settings, part, "lora_alpha")


def _is_named(name: str, pattern: str) -> bool:
    end = pattern.removeprefix("^").removesuffix("$")
    return name == end or (name.endswith(f".{end}") and not pattern.startswith("^"))
