"""The names of tensors in LoRA files, as diffusers (three generations), PEFT and Kohya's scripts write them."""

from collections.abc import Iterable, Iterator
from typing import Final, Literal

from foley.errors import UsageError

Role = Literal["down", "up", "alpha"]

ROLES: Final[dict[str, Role]] = {
    ".lora_A.weight": "down",
    ".lora_B.weight": "up",
    ".lora_A.default.weight": "down",
    ".lora_B.default.weight": "up",
    ".lora.down.weight": "down",
    ".lora.up.weight": "up",
    ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up",
    "_lora.down.weight": "down",
    "_lora.up.weight": "up",
    ".lora_down.weight": "down",
    ".lora_up.weight": "up",
    ".alpha": "alpha",
}
"""End of a tensor's name → what it is: down is [r,in…], up [out,r…], alpha a number."""
KOHYA: Final = {"unet": ("lora_unet_",), "text_encoder": ("lora_te_", "lora_te1_")}
"""Part of the model → what Kohya's names begin with; dots are underscores there."""
OLDEST_TEXT: Final = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
"""A text encoder's attention in diffusers' oldest files → now."""
FOREIGN: Final = {
    "dora_scale": "DoRA",
    "lora_magnitude_vector": "DoRA",
    "hada_": "LoHa",
    "lokr_": "LoKr",
    "lora_mid": "a LoRA with a middle matrix",
    ".bias": "a LoRA that changes biases",
    ".diff": "a file of full differences",
}
"""Part of a tensor's name → what the file is instead."""


def parse_name(name: str, file: object) -> tuple[str, Role]:
    """Give the module, as the file spells it, and the role of a tensor.

    Raises:
        UsageError: the tensor is of another kind of update, or of none; the message names it.
    """
    for ending, role in ROLES.items():
        if name.endswith(ending):
            return _respelled(name.removesuffix(ending)), role
    kind = next((kind for mark, kind in FOREIGN.items() if mark in name), None)
    if kind is not None:
        raise UsageError(
            f"LoRA {file} is {kind} ({name}), which is not put in at run time; "
            "fuse it into the checkpoint in torch, and export that"
        )
    raise UsageError(
        f"LoRA {file} holds {name}, expected names such as unet.….to_q.lora_A.weight or "
        "lora_unet_…_to_q.lora_down.weight; give a LoRA in the format of diffusers, PEFT or Kohya's scripts"
    )


def _respelled(module: str) -> str:
    """Take off what PEFT and diffusers' attention processors put around a module's name."""
    module = module.removeprefix("base_model.model.").replace(".processor.", ".")
    head, _, last = module.rpartition(".")
    if head.endswith(".self_attn"):
        return f"{head}.{OLDEST_TEXT.get(last, last)}"
    return f"{module}.0" if last == "to_out" else module


def spellings(modules: Iterable[str]) -> dict[str, str]:
    """Give each way in which files may spell a bundle's modules → the module."""
    found: dict[str, str] = {}
    for module in modules:
        for spelling in _spellings(module):
            found.setdefault(spelling, module)
    return found


def _spellings(module: str) -> Iterator[str]:
    """Spell a module: with its part's name; without, as files of one model do; as Kohya's scripts do."""
    part, _, rest = module.partition(".")
    for name in _names(part, rest):
        yield f"{part}.{name}"
        yield name
        yield from (prefix + name.replace(".", "_") for prefix in KOHYA.get(part, ()))


def _names(part: str, rest: str) -> tuple[str, ...]:
    """Name a module within its part: since transformers 5 a CLIP text model's names begin without `text_model.`."""
    bare = rest.removeprefix("text_model.")
    return (bare, f"text_model.{bare}") if part == "text_encoder" else (rest,)
