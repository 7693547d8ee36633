"""The checkpoints and bundles that parity is measured on, each made once in a folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foley.manifest import Precision
from foley_bench.checkpoints.configs import Encoder
from foley_bench.checkpoints.write import Layout, write_checkpoint
from foley_bench.parity.emulation import emulate_bundle
from foley_export.checkpoint import open_checkpoint
from foley_export.export import Options, export
from foley_export.libraries import quiet_libraries

ENCODERS: Final[dict[Layout, tuple[Encoder, ...]]] = {"adapter": ("clip", "t5", "clap"), "no-adapter": ("clip",)}
"""The adapter layout gets every encoder that its loader knows; what was released is the first alone."""


@dataclass(frozen=True)
class Bundles:
    """Random-weight checkpoints of the tiny size and their bundles, made when first asked for."""

    folder: Path

    def checkpoint(self, layout: Layout) -> Path:
        """Give a checkpoint's folder."""
        place = self.folder / f"checkpoint-{layout}"
        return place if place.exists() else write_checkpoint(place, layout=layout, encoders=ENCODERS[layout])

    def bundle(self, layout: Layout, precision: Precision) -> Path:
        """Give a bundle's folder; an export takes about half a minute."""
        place = self.folder / f"bundle-{layout}-{precision}"
        if not place.exists():
            with quiet_libraries():
                export(open_checkpoint(str(self.checkpoint(layout))), place, Options(precision=precision))
        return place

    def emulation(self, layout: Layout) -> Path:
        """Give the folder of a bf16 bundle's emulation, which CPUs run in float32."""
        place = self.folder / f"bundle-{layout}-bf16-emulated"
        return place if place.exists() else emulate_bundle(self.bundle(layout, "bf16"), place)

    def runnable(self, layout: Layout, precision: Precision, engine: str) -> Path:
        """Give the folder of a bundle as an engine can run it."""
        emulated = (precision, engine) == ("bf16", "cpu")
        return self.emulation(layout) if emulated else self.bundle(layout, precision)
