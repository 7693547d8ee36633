"""Who can take part, and in which program, interpreter and precision."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, get_args

from foley.errors import UsageError
from foley.manifest import Precision

Unit = Literal["step", "decode", "clip"]
"""Guided steps to latents; latents to a picture; latents to a waveform, steps and all."""
PEERS: Final = Path(__file__).parent / "peers"
FOLEY: Final = "foley"


@dataclass(frozen=True)
class Kind:
    """A peer's abilities."""

    file: str
    """Its program in `PEERS`."""
    units: tuple[Unit, ...]
    precisions: tuple[Precision, ...]
    devices: tuple[str, ...] = ("cpu", "cuda")
    compiled: bool = False
    prepared: bool = False
    """Whether it converts the checkpoint first."""


TORCH_UNITS: Final[tuple[Unit, ...]] = ("step", "decode", "clip")
KINDS: Final[dict[str, Kind]] = {
    "diffusers": Kind("torch_peer.py", TORCH_UNITS, ("fp32", "fp16", "bf16")),
    "torch-compile": Kind("torch_peer.py", TORCH_UNITS, ("fp32", "fp16", "bf16"), compiled=True),
    "optimum": Kind("optimum_peer.py", ("step", "decode"), ("fp32",), prepared=True),
    "openvino": Kind("openvino_peer.py", ("step", "decode"), ("fp32", "bf16"), ("cpu",), prepared=True),
}
ALL: Final = {
    "cpu": ("diffusers", "diffusers-bf16", "torch-compile", "optimum", "openvino", "openvino-bf16"),
    "cuda": ("diffusers", "diffusers-fp16", "torch-compile-fp16", "optimum"),
}
"""What `all` stands for, by device."""
REFERENCE: Final = "diffusers"
"""The peer whose output is right, in fp32."""


@dataclass(frozen=True)
class Contestant:
    """A program that computes the tasks in a process of its own."""

    name: str
    file: Path
    """Runs under `peers/serve.py`."""
    precision: Precision
    units: tuple[Unit, ...]
    settings: Mapping[str, Any]
    """What its `load` gets; JSON."""
    python: str = sys.executable
    prepared: bool = False


def peer_names(chosen: str, device: str) -> list[str]:
    """Split a list of names, or give those of `all`.

    Raises:
        UsageError: a name, or its precision, is unknown.
    """
    names = list(ALL[device]) if chosen == "all" else [name.strip() for name in chosen.split(",")]
    for name in names:
        kind_of(name)
    return list(dict.fromkeys(names))


def kind_of(name: str) -> tuple[str, Precision]:
    """Split a name, such as `openvino-bf16`, into a key of `KINDS` and a precision: fp32 where it names none.

    Raises:
        UsageError: there is no such peer, or not in this precision.
    """
    for precision in get_args(Precision):
        kind = name.removesuffix(f"-{precision}")
        if kind != name and kind in KINDS and precision in KINDS[kind].precisions:
            return kind, precision
    if name in KINDS:
        return name, "fp32"
    raise UsageError(f"there is no peer {name!r}; there are {', '.join(_known())}, or all")


def _known() -> list[str]:
    return [f"{kind}[-{'|'.join(facts.precisions)}]" for kind, facts in KINDS.items()]


def make_peer(name: str, settings: Mapping[str, Any], units: Sequence[Unit], pythons: Mapping[str, str]) -> Contestant:
    """Give a peer for the units that it can compute; `settings` are those that all share.

    Raises:
        UsageError: it is unknown, or can do nothing of what is asked on this device.
    """
    kind, precision = kind_of(name)
    facts = KINDS[kind]
    if settings["device"] not in facts.devices:
        raise UsageError(f"{kind} runs on {' and '.join(facts.devices)}, not on {settings['device']}; leave it out")
    able = tuple(unit for unit in units if unit in facts.units)
    if not able:
        raise UsageError(f"{kind} computes {' and '.join(facts.units)} only; ask for --unit {facts.units[0]} as well")
    own = {**settings, "precision": precision, "compiled": facts.compiled, "units": able}
    return Contestant(name, PEERS / facts.file, precision, able, own, pythons.get(kind, sys.executable), facts.prepared)
