"""Which LoRA, and how strongly."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from foley.errors import RequestError


@dataclass(frozen=True)
class Lora:
    """A file of low-rank updates and how strongly it is applied.

    Raises:
        RequestError: the scale is no finite number.
    """

    file: str | Path
    """A `.safetensors` file as diffusers, PEFT or Kohya's scripts write it."""
    scale: float = 1.0
    """0: not at all; 1: as trained; beyond, or negative: more, or the opposite."""

    def __post_init__(self) -> None:
        is_number = isinstance(self.scale, int | float) and not isinstance(self.scale, bool)
        if not is_number or not math.isfinite(self.scale):
            raise RequestError(f"the scale of {self.file} is {self.scale!r}, expected a finite number such as 0.8")

    def __str__(self) -> str:
        return f"{Path(self.file).stem}@{self.scale:g}"


def checked_loras(loras: Sequence[Lora]) -> tuple[Lora, ...]:
    """Give several LoRAs as a tuple.

    Raises:
        RequestError: they are no sequence, or one of them is no `Lora`.
    """
    if isinstance(loras, Lora | str | Path):
        raise RequestError(f"loras are {loras!r}, expected several, as in [foley.Lora('file.safetensors', 0.8)]")
    for lora in loras:
        if not isinstance(lora, Lora):
            raise RequestError(f"a LoRA is {lora!r}, expected one as in foley.Lora('file.safetensors', 0.8)")
    return tuple(loras)


def parse_lora(text: str) -> Lora:
    """Read `FILE` or `FILE@SCALE`.

    Raises:
        RequestError: what follows the last @ is no finite number.
    """
    name, mark, scale = text.rpartition("@")
    if not mark:
        return Lora(text)
    if not name:
        raise RequestError(f"--lora {text}: there is no file before the @, expected one, as in file.safetensors@0.8")
    try:
        number = float(scale)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise RequestError(
            f"--lora {text}: the scale is {scale!r}, expected a number, as in file.safetensors@0.8"
            + (f"; a name that holds an @ takes one too: {text}@1" if Path(text).exists() else "")
        )
    return Lora(name, number)
