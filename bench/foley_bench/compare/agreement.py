"""Whether a contestant's output is the reference's."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from foley.errors import VerificationError
from foley.floors import SNR_FLOOR_DB
from foley.manifest import Precision
from foley_engines.fidelity import snr_db

LOWEST, HIGHEST = np.log(1e-5), np.log(200)
"""Natural log of the mel magnitudes that black and white stand for."""
PICTURE_AXES: Final = 4

Array = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Reference:
    """A task's right output."""

    name: str
    """Whose it is."""
    output: Array

    def compare(self, output: Array, precision: Precision) -> float:
        """Give an output's signal-to-noise ratio in dB.

        Raises:
            VerificationError: it is below the floor of the precision, or of another shape.
        """
        if output.shape != self.output.shape:
            raise VerificationError(f"gave {list(output.shape)}, {self.name} {list(self.output.shape)}")
        found, floor = snr_db(self.output, output), SNR_FLOOR_DB[precision]
        if not found >= floor:
            raise VerificationError(f"{found:.1f} dB from {self.name}, expected at least {floor:g} ({precision})")
        return found


def heard(unit: str, output: Array) -> Array:
    """Give what is compared: of pictures [n,3,M,T] in [-1,1], highest bin on top, their log-mel [n,M,T]."""
    if unit != "decode" or output.ndim != PICTURE_AXES:
        return output
    unit_range = np.clip(output[:, 0] / 2 + 0.5, 0, 1)
    return np.asarray(np.flip(unit_range, 1) * (HIGHEST - LOWEST) + LOWEST, np.float32)
