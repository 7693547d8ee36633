"""The record beside a plan: everything that the plan depends on, its digest, and what verified it."""

from collections.abc import Mapping
from typing import Annotated, Final, Literal

import msgspec

SCHEMA: Final = 1
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
FileName = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+-]*$")]


class Facts(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A part of a record: immutable, and an unknown key in the file is an error."""


class Figure(Facts, frozen=True, kw_only=True):
    """How one output of the built engine compares."""

    output: str
    snr_db: float
    worst_abs: float


class Verified(Facts, frozen=True, kw_only=True):
    """What a plan's engine was compared with before the plan was recorded."""

    against: Literal["torch", "onnxruntime-cpu"]
    """Whose outputs were the reference: recorded by torch at export, or computed by ONNX Runtime at the build."""
    floor_db: float
    figures: tuple[Figure, ...]


class Record(Facts, frozen=True, kw_only=True):
    """All that is known of a plan."""

    schema: int
    graph: str
    """The graph's name."""
    parts: Mapping[str, str]
    """What the plan depends on, in words: a difference in any of them makes it another plan."""
    profile: Mapping[str, tuple[int, int, int]]
    """Symbol → least, usual and largest size."""
    plan: FileName
    """The plan's file, in the record's folder."""
    sha256: Sha256
    bytes: Annotated[int, msgspec.Meta(ge=1)]
    weights_inside: Sha256 | None
    """Digest of the weights that the plan was built with; None: they were left out. Others are put in at each load."""
    verified: Verified
    scratch_bytes: Annotated[int, msgspec.Meta(ge=0)]
    """Device memory that a run takes beside weights, inputs and outputs."""
    build_s: float
    created_by: Mapping[str, str]


class Pointer(msgspec.Struct, frozen=True):
    """What a record of any schema has."""

    plan: FileName


def adopted(record: Record, parts: Mapping[str, str], verified: Verified) -> Record:
    """Give the record of the same plan where it was verified for other parts: weights, GPU or library."""
    return msgspec.structs.replace(record, parts=parts, verified=verified)


def encode(record: Record) -> bytes:
    """Write a record as JSON that a person can read."""
    return msgspec.json.format(msgspec.json.encode(record, order="deterministic"), indent=1) + b"\n"


def plan_named_by(text: bytes) -> str:
    """Give the plan that a record of any schema points to.

    Raises:
        ValueError: it is no record.
    """
    try:
        return msgspec.json.decode(text, type=Pointer).plan
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def decode(text: bytes) -> Record:
    """Read a record.

    Raises:
        ValueError: it is no record, or one of another schema.
    """
    try:
        record = msgspec.json.decode(text, type=Record)
    except msgspec.DecodeError as error:  # a ValidationError is one
        raise ValueError(str(error)) from error
    if record.schema != SCHEMA:
        raise ValueError(f"its schema is {record.schema}, this foley reads {SCHEMA}")
    return record
