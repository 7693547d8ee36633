"""Linear forms: a solver written in its paper's notation on these rows *is* its step matrix.

Every quantity of a step (the sample, x0, ε, an earlier model output) is a linear form of what the step reads: K state
slots, the guided model output y and one gaussian draw. A form is float64 [K+2], the row of coefficients.
"""

from typing import Final

import numpy as np

from foley.contract import STATE_SLOTS
from foley.samplers.path import Level
from foley.schedule import FloatArray, Prediction

_IDENTITY: Final = np.eye(STATE_SLOTS + 2)
SAMPLE: Final[FloatArray] = _IDENTITY[0]
"""x_t = α x0 + σ ε, what the U-Net reads."""
HISTORY: Final[tuple[FloatArray, ...]] = tuple(_IDENTITY[1:STATE_SLOTS])
"""Slots 1…3 of the state, which a solver fills as it likes: K−1 forms."""
OUTPUT: Final[FloatArray] = _IDENTITY[STATE_SLOTS]
"""y, the guided model output at this step."""
NOISE: Final[FloatArray] = _IDENTITY[STATE_SLOTS + 1]
"""A unit gaussian, drawn for this step."""

Rows = list[FloatArray]
"""The forms of the next state, slot 0 first; slots left out become zero."""


def predict_x0(prediction: Prediction, level: Level) -> FloatArray:
    """Return the clean sample x0 as a form of the sample at `level` and the model output: float64 [K+2]."""
    if prediction == "epsilon":
        return (SAMPLE - level.sigma * OUTPUT) / level.alpha
    if prediction == "v_prediction":
        return level.alpha * SAMPLE - level.sigma * OUTPUT
    return OUTPUT


def predict_noise(
    prediction: Prediction, level: Level, sample: FloatArray = SAMPLE, output: FloatArray = OUTPUT
) -> FloatArray:
    """Return the noise ε as a form of a sample at `level` and a model output: float64 [K+2]."""
    if prediction == "epsilon":
        return output
    if prediction == "v_prediction":
        return level.alpha * output + level.sigma * sample
    return (sample - level.alpha * output) / level.sigma


def step_matrix(rows: Rows) -> FloatArray:
    """Stack the forms of the next state into float64 [K, K+2]."""
    matrix = np.zeros((STATE_SLOTS, STATE_SLOTS + 2))
    matrix[: len(rows)] = rows
    return matrix
