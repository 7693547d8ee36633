"""Sounds as the features that a Fréchet distance is over, by the mel spectrogram that the model was trained with."""

import numpy as np
import torch
from numpy.typing import NDArray

from foley_bench.fidelity.frechet import Floats, statistics
from foley_export.demo_model.mel import log_mel


def features(clips: NDArray[np.float32]) -> Floats:
    """Measure clips float32 [n,N] in [-1,1] at 16 kHz as [n,96]: `statistics` of their log-mels."""
    return statistics(log_mel(torch.from_numpy(clips)).double().numpy())
