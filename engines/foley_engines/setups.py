"""How an engine is to run, as its user chooses it: one frozen setup an engine."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from foley_engines.errors import UsageError

Tell = Callable[[str, str, float], None]
"""(graph, what is being done, fraction of it that is done)"""
Tiling = Literal["none", "fast", "moderate", "full"]
Portable = Literal["no", "same-compute-capability", "ampere+"]


def tell_nobody(graph: str, what: str, fraction: float) -> None:
    """Keep silent."""


@dataclass(frozen=True)
class CpuSetup:
    """ONNX Runtime on the CPU."""

    threads: int | None = None
    """Cores for one operator; None: all."""
    optimise: bool = True
    """Whether weights are laid out anew for the processor: slower to load, faster to run."""


@dataclass(frozen=True)
class CudaSetup:
    """ONNX Runtime on a CUDA device."""

    device: int = 0
    captured: bool = True
    """Whether runs become CUDA graphs."""


@dataclass(frozen=True)
class BuildOptions:
    """What a TensorRT plan is built with, beside its graph and profile.

    Raises:
        UsageError: an option is out of range.
    """

    level: int = 3
    """TensorRT's builder optimisation level, 0 (fast build) to 5 (fast engine)."""
    workspace_mib: int | None = None
    """Most scratch memory that a kernel may take; None: what the device has."""
    tiling: Tiling = "none"
    """Search for on-chip tiling; longer builds. Not in TensorRT 10.3."""
    portable: Portable = "no"
    """GPUs that the plan runs on: this model's alone, those of its compute capability, or Ampere's and later."""
    version_compatible: bool = False
    """Whether later TensorRT versions of the same major, and the next major, may run the plan."""
    refittable: bool = False
    """Whether other weights may be put in later, which costs some speed."""
    stripped: bool = False
    """Whether the plan leaves its weights out and takes them from the bundle at each load."""
    tf32: bool = False
    """Whether float32 products may round their operands to TF32."""
    aux_streams: int | None = None
    """Streams beside the first that may be used; None: TensorRT's choice. 0 takes the least memory."""

    def __post_init__(self) -> None:
        if isinstance(self.level, bool) or not 0 <= self.level <= 5:
            raise UsageError(f"builder level is {self.level!r}, expected 0 (fast build) to 5 (fast engine)")
        if self.workspace_mib is not None and self.workspace_mib < 1:
            raise UsageError(f"workspace is {self.workspace_mib!r} MiB, expected 1 or more")
        if self.aux_streams is not None and self.aux_streams < 0:
            raise UsageError(f"auxiliary streams are {self.aux_streams!r}, expected 0 or more")


@dataclass(frozen=True)
class TensorRtSetup:
    """TensorRT on a CUDA device."""

    device: int = 0
    captured: bool = True
    """Whether runs become CUDA graphs."""
    plans: Path | None = None
    """Folder of plans; None: `engines/tensorrt/` beside the graphs."""
    build: bool = True
    """Whether plans that are missing or stale are built; else they are refused."""
    options: BuildOptions = field(default_factory=BuildOptions)
    host_code: bool = False
    """Whether version-compatible plans may run the host code that they bring along: only for plans of your own."""
    tell: Tell = tell_nobody


Setup = CpuSetup | CudaSetup | TensorRtSetup
