"""How near an engine's outputs are to a reference's, and the reference where none was recorded."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from foley_engines.base import Array, Engine


@dataclass(frozen=True)
class Comparison:
    """One output against the reference's."""

    output: str
    snr_db: float
    """Signal-to-noise ratio in dB; infinity where both are equal, -infinity where a value is not finite."""
    worst_abs: float


def run_once(engine: Engine, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Bind an engine to inputs by name, run it, and give its outputs."""
    session = engine.bind(**{name: array.shape for name, array in inputs.items()})
    try:
        for name, array in inputs.items():
            session[name].write(array)
        session.run()
        return {name: session[name].read() for name in engine.outputs}
    finally:
        session.close()


def compare_outputs(expected: Mapping[str, Array], got: Mapping[str, Array]) -> list[Comparison]:
    """Compare outputs by name; one of another shape compares as -infinity."""
    return [_compare(name, expected[name], got[name]) for name in expected]


def snr_db(signal: Array, other: Array) -> float:
    """Give the ratio of `signal`'s power to that of `other - signal`, in dB; inf where they are equal, -inf at NaN."""
    reference = signal.astype(np.float64)
    error = float(np.sum((other.astype(np.float64) - reference) ** 2))
    if error == 0:
        return float("inf")
    power = float(np.sum(reference**2))
    return 10 * float(np.log10(power / error)) if np.isfinite(error) and power > 0 else float("-inf")


def _compare(name: str, expected: Array, got: Array) -> Comparison:
    if expected.shape != got.shape:
        return Comparison(name, float("-inf"), float("inf"))
    worst = float(np.max(np.abs(got.astype(np.float64) - expected.astype(np.float64)), initial=0.0))
    return Comparison(name, snr_db(expected, got), worst)
