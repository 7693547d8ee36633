"""Clips of the demo model's corpus for what reads crops of it: one event over a whole clip."""

import numpy as np
import torch

from foley_export.demo_model.crops import Crops
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.scenes import Event, Scene
from foley_export.demo_model.sounds import render_apart

STEADY = slice(40, 180)
"""Frames in which a wind blows."""


def clip(event: Event, seed: int = 0) -> Crops:
    """Render a whole clip of one event, with the mels of the sound itself."""
    parts = render_apart(Scene((event,)), np.random.default_rng(seed))
    clear, noise = (torch.from_numpy(samples).float()[None] for samples in parts)
    return Crops(log_mel(clear + noise), clear, noise)
