"""The fake's plan: a header that says what it was built by and for, and the ONNX graph."""

import hashlib
from dataclasses import dataclass
from typing import Any

import msgspec

from support.nvidia.machine import FakeDevice
from support.nvidia.onnx_network import OnnxNetwork, read_bytes

MAGIC = b"FAKEPLAN"
Ranges = dict[str, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
"""Minimum, optimum and maximum shape by input."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What a plan says about itself."""

    version: str
    """TensorRT's."""
    gpu: str
    compute_capability: tuple[int, int]
    flags: tuple[str, ...] = ()
    """Names in BuilderFlag."""
    compatibility: str = "NONE"
    """A name in HardwareCompatibilityLevel."""
    verbosity: str = "LAYER_NAMES_ONLY"
    """A name in ProfilingVerbosity."""
    profiles: tuple[Ranges, ...] = ()
    weights: str = ""
    """The digest of the weights that it was built with."""
    stripped: bool = False
    """Whether the weights are left out."""
    options: dict[str, Any] = {}
    """What was built with, for tests to look at."""

    @property
    def refittable(self) -> bool:
        """Whether weights can be replaced."""
        return "REFIT" in self.flags or "REFIT_IDENTICAL" in self.flags


@dataclass(frozen=True)
class Plan:
    """A plan, read."""

    header: Header
    network: OnnxNetwork


class PlanError(Exception):
    """The bytes are no plan, or one that does not run here; in TensorRT's words or near them."""


def write(plan: Plan) -> bytes:
    """Give a plan's bytes."""
    header = msgspec.json.encode(plan.header)
    body = len(header).to_bytes(8, "little") + header + plan.network.proto.SerializeToString()
    return MAGIC + hashlib.sha256(body).digest() + body


def read(content: bytes) -> Plan:
    """Read a plan.

    Raises:
        PlanError: it is damaged, or none.
    """
    body = content[len(MAGIC) + 32 :]
    if content[: len(MAGIC)] != MAGIC or hashlib.sha256(body).digest() != content[len(MAGIC) : len(MAGIC) + 32]:
        raise PlanError("Serialization assertion stdMagicTag == header.magicTag failed. Magic tag does not match")
    end = 8 + int.from_bytes(body[:8], "little")
    return Plan(msgspec.json.decode(body[8:end], type=Header), read_bytes(body[end:]))


def check(header: Header, version: str, device: FakeDevice, *, host_code: bool) -> str:
    """Check that a plan may run here; gives a warning, or nothing.

    Raises:
        PlanError: it is of another version or for another GPU, or holds host code that is not allowed.
    """
    _check_version(header, version, host_code=host_code)
    if not _admits(header, device):
        ours, theirs = (".".join(map(str, cc)) for cc in (device.compute_capability, header.compute_capability))
        raise PlanError(
            f"The engine plan file is generated on an incompatible device, expecting compute {ours} "
            f"got compute {theirs}, please rebuild."
        )
    if header.compatibility == "NONE" and header.gpu != device.name:
        return "Using an engine plan file across different models of devices is not recommended"
    return ""


def _check_version(header: Header, version: str, *, host_code: bool) -> None:
    compatible = "VERSION_COMPATIBLE" in header.flags
    if compatible and "EXCLUDE_LEAN_RUNTIME" not in header.flags and not host_code:
        raise PlanError("The engine contains a lean runtime, but host code is not allowed (engine_host_code_allowed)")
    same_major = header.version.split(".")[0] == version.split(".")[0]
    if header.version != version and not (compatible and same_major):
        raise PlanError(
            f"The engine plan file is not compatible with this version of TensorRT, expecting library version "
            f"{version} got {header.version}, please rebuild."
        )


def _admits(header: Header, device: FakeDevice) -> bool:
    if header.compatibility == "AMPERE_PLUS":
        return device.compute_capability >= (8, 0)
    return device.compute_capability == header.compute_capability
