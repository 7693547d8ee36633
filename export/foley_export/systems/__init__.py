"""One file per system turns a checkpoint's folder into modules and manifest facts; nothing else asks which it is."""

from collections.abc import Sequence
from typing import Protocol

from foley.errors import CheckpointError
from foley_export.checkpoint import Checkpoint
from foley_export.lora import Lora
from foley_export.model import Model
from foley_export.systems import auffusion


class System(Protocol):
    """What a system's file offers."""

    LAYOUTS: str
    """The files by which its layouts are known, for messages."""

    def recognises(self, checkpoint: Checkpoint) -> bool:
        """Say whether a folder has one of its layouts."""
        ...

    def read_model(self, checkpoint: Checkpoint, loras: Sequence[Lora] = ()) -> Model:
        """Read configs and plan the graphs."""
        ...


SYSTEMS: tuple[System, ...] = (auffusion,)


def read_model(checkpoint: Checkpoint, loras: Sequence[Lora] = ()) -> Model:
    """Find the system that a checkpoint belongs to and read it.

    Raises:
        CheckpointError: no system knows the layout, or the one that does finds something missing.
    """
    for system in SYSTEMS:
        if system.recognises(checkpoint):
            return system.read_model(checkpoint, loras)
    looked = "; ".join(system.LAYOUTS for system in SYSTEMS)
    raise CheckpointError(
        f"{checkpoint.name} has no known layout; looked in {checkpoint.folder} for {looked}{_hint(checkpoint)}"
    )


def _hint(checkpoint: Checkpoint) -> str:
    """Say what to do with what is there."""
    if checkpoint.has("model_index.json"):
        return "; it is a pipeline without a vocoder: put the one that it was made for in vocoder/"
    if checkpoint.has("unet") or checkpoint.has("diffusion_pytorch_model.safetensors"):
        return f"; a U-Net alone goes with its pipeline: foley export PIPELINE --unet {checkpoint.folder}"
    return ""
