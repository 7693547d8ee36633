"""What a system's loader hands to the exporter: manifest facts, tokenizers, and graphs that are built one at a time."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from foley.manifest import Audio, Conditioning, Defaults, LatentSpace, Precision
from foley.schedule import NoiseSchedule

Axes = tuple[str | int, ...]
"""A tensor's axes: a number is fixed, a name is dynamic, `8*n` a multiple."""


@dataclass(frozen=True)
class GraphPlan:
    """One graph, not yet built."""

    name: str
    build: Callable[[], nn.Module]
    """Reads the weights and gives the wrapper in float32."""
    inputs: dict[str, Axes]
    """In the order of the wrapper's forward."""
    outputs: dict[str, Axes]
    """In the order of what forward returns: one tensor, or a tuple of them."""
    example: Callable[[], dict[str, Tensor]]
    """Golden inputs, which also trace the graph."""
    calibration: Callable[[], Sequence[dict[str, Tensor]]] = tuple
    """Gives more inputs, on which activations are measured before the graph is converted to half."""
    half: bool = True
    """False where float16 overflows for some inputs and measuring a few would prove nothing: the graph stays float32 in
    an fp16 bundle."""
    lora_prefixes: dict[str, str] = field(default_factory=dict)
    """Beginning of the names of modules that a LoRA may change → what LoRA files in diffusers' format have in its
    place; the first that fits counts."""


@dataclass(frozen=True)
class Model:
    """A checkpoint, understood."""

    system: str
    audio: Audio
    latents: LatentSpace
    conditioning: Conditioning
    schedule: NoiseSchedule
    defaults: Defaults
    graphs: tuple[GraphPlan, ...]
    tokenizers: dict[str, Callable[[Path], None]] = field(default_factory=dict)
    """File in the bundle → what writes it."""
    loras: tuple[str, ...] = ()

    def precision(self, plan: GraphPlan, wanted: Precision) -> Precision:
        """Give the precision that a graph gets in a bundle of precision `wanted`, before anything is measured."""
        return "fp32" if wanted == "fp16" and not plan.half else wanted
