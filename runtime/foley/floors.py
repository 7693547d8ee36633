"""How near an engine's outputs must be to torch's."""

from typing import Final

from foley.manifest import Precision

SNR_FLOOR_DB: Final[dict[Precision, float]] = {"fp32": 80.0, "fp16": 35.0, "bf16": 20.0}
"""The least signal-to-noise ratio of a graph against torch in float32; README.md shows what was measured."""
