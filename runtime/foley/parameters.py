"""`graphs/NAME.parameters.json`: where in a graph's weights file the matrices lie that a LoRA may change."""

from typing import Annotated, Literal

import msgspec

from foley.errors import BundleError


class Parameter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the weight of one linear or convolution layer lies."""

    offset: Annotated[int, msgspec.Meta(ge=0)]
    """First byte in the graph's weights file; values follow in C order, little endian."""
    dtype: Literal["float32", "float16", "bfloat16"]
    shape: tuple[Annotated[int, msgspec.Meta(ge=1)], ...]
    """Of the tensor as it is stored."""
    transposed: bool
    """Whether a layer's weight [out,in] is stored as [in,out]."""


def encode(parameters: dict[str, Parameter]) -> bytes:
    """Write places as indented JSON: name in LoRA files (`unet.….to_q`, `text_encoder.….q_proj`) → place."""
    return msgspec.json.format(msgspec.json.encode(parameters), indent=2) + b"\n"


def decode(text: bytes, place: str) -> dict[str, Parameter]:
    """Read places by their names in LoRA files; `place` names the file in messages.

    Raises:
        BundleError: it is not JSON, or a key is unknown, missing or of the wrong type, and named.
    """
    try:
        return msgspec.json.decode(text, type=dict[str, Parameter])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{place}: {error}; export the bundle again, or upgrade foley") from error
