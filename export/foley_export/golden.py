"""Recorded inputs and torch's float32 outputs, by which any engine can be checked on any machine."""

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from foley_export.model import GraphPlan

Recording = dict[str, NDArray[np.float32] | NDArray[np.int64]]


def record(plan: GraphPlan, module: nn.Module) -> Recording:
    """Run a float32 module on its plan's example and keep inputs and outputs by tensor name."""
    example = plan.example()
    with torch.no_grad():
        returned = module(*(example[name] for name in plan.inputs))
    outputs = returned if isinstance(returned, tuple) else (returned,)
    tensors = {**example, **dict(zip(plan.outputs, outputs, strict=True))}
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def write_recording(recording: Recording, path: Path) -> None:
    """Write a recording as a compressed .npz without pickles."""
    np.savez_compressed(path, allow_pickle=False, **recording)
