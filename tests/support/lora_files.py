"""LoRA files written byte by byte, and mini bundles that say where their matrices lie."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from foley.parameters import Parameter, encode
from support import mini_model
from support.bundles import edit_manifest, record_again

TO_Q = "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q"
"""The mini U-Net's `projection`, stored as [in,out]."""
TABLE = "text_encoder.text_model.encoder.layers.0.self_attn.q_proj"
"""The mini text encoder's `embedding`, stored as [out,in]."""
PLACES = {"denoise_step": {TO_Q: ("projection", True)}, "text_encoder": {TABLE: ("embedding", False)}}
TYPES = {"float32": "F32", "float16": "F16", "int64": "I64", "int8": "I8"}


def lora_bytes(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None, *, bf16=False) -> bytes:
    """Write the format of safetensors; `bf16` cuts float32 tensors to their upper halves."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, tensor in tensors.items():
        own = (tensor.view(np.uint32) >> 16).astype("<u2") if bf16 else tensor
        kind = "BF16" if bf16 else TYPES[str(tensor.dtype)]
        ends = [len(data), len(data) + own.nbytes]
        header[name] = {"dtype": kind, "shape": list(tensor.shape), "data_offsets": ends}
        data += own.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def low_rank(out: int, inner: int, rank: int = 2, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Give down [r,in] and up [out,r], of size about 1."""
    random = np.random.default_rng(seed)
    return tuple(random.standard_normal(shape).astype(np.float32) for shape in ((rank, inner), (out, rank)))  # type: ignore[return-value]


def pair(module: str, down: np.ndarray, up: np.ndarray) -> dict[str, np.ndarray]:
    """Name the two tensors as diffusers does."""
    return {f"{module}.lora_A.weight": down, f"{module}.lora_B.weight": up}


def write_lora(file: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> Path:
    file.write_bytes(lora_bytes(tensors, metadata))
    return file


def unet_lora(file: Path, seed: int = 0) -> Path:
    """Write a LoRA for the mini U-Net."""
    return write_lora(file, pair(TO_Q, *low_rank(mini_model.CHANNELS, mini_model.WIDTH, seed=seed)))


def text_lora(file: Path) -> Path:
    """Write a LoRA for the mini text encoder."""
    return write_lora(file, pair(TABLE, *low_rank(len(mini_model.VOCABULARY), mini_model.WIDTH, seed=5)))


def place_of(folder: Path, graph: str, initializer: str) -> tuple[int, tuple[int, ...]]:
    """Find a tensor in a graph's weights file: offset and shape."""
    model = onnx.load(folder / f"graphs/{graph}.onnx", load_external_data=False)
    tensor = next(tensor for tensor in model.graph.initializer if tensor.name == initializer)
    external = {entry.key: entry.value for entry in tensor.external_data}
    return int(external.get("offset", 0)), tuple(tensor.dims)


def add_parameters(folder: Path) -> Path:
    """Let a mini bundle say where its matrices lie; gives its folder."""
    for graph, modules in PLACES.items():
        found = {}
        for module, (initializer, transposed) in modules.items():
            offset, shape = place_of(folder, graph, initializer)
            found[module] = Parameter(offset=offset, dtype="float32", shape=shape, transposed=transposed)
        name = f"graphs/{graph}.parameters.json"
        (folder / name).write_bytes(encode(found))
        edit_manifest(folder, lambda manifest, graph=graph, name=name: _name(manifest, graph, name))
    record_again(folder)
    return folder


def _name(manifest: dict[str, Any], graph: str, name: str) -> None:
    manifest["graphs"][graph]["parameters"] = name
    manifest["files"][name] = {"bytes": 0, "sha256": "0" * 64}


def change_matrix(folder: Path, graph: str, initializer: str, change: np.ndarray) -> None:
    """Add to a matrix in a bundle's own files, by hand."""
    offset, shape = place_of(folder, graph, initializer)
    file = folder / f"graphs/{graph}.weights"
    content = bytearray(file.read_bytes())
    old = np.frombuffer(content, "<f4", int(np.prod(shape)), offset).reshape(shape)
    content[offset : offset + old.nbytes] = (old + change).astype("<f4").tobytes()
    file.write_bytes(content)
    record_again(folder)
