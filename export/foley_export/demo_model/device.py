"""The device that networks are trained on. All that is random is drawn on the CPU: the same on every device."""

import re
from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn

from foley.errors import UsageError


def find_device(name: str) -> torch.device:
    """Give the device of a name: cpu, cuda (the first one), or cuda:N.

    Raises:
        UsageError: that is no such name, or torch does not see the device.
    """
    match = re.fullmatch(r"cpu|cuda(?::([0-9]+))?", name)
    if match is None:
        raise UsageError(f"--device {name}, expected cpu, cuda or cuda:N")
    return torch.device("cpu") if name == "cpu" else _cuda(name, int(match[1] or 0))


def send(tensor: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor from the CPU to a device, if it can without waiting until the device has done what it was given."""
    return tensor.to(device, non_blocking=True)


def autoencoder_on(vae: nn.Module, device: torch.device) -> nn.Module:
    """Give a copy of diffusers' autoencoder that computes on a device, and takes and gives tensors on the CPU."""
    copy: Any = deepcopy(vae).to(device)
    for first, last in ((copy.encoder, copy.quant_conv), (copy.post_quant_conv, copy.decoder)):
        first.register_forward_pre_hook(lambda _, read: (send(read[0], device), *read[1:]))
        last.register_forward_hook(lambda _, __, made: made.cpu())
    return copy  # type: ignore[no-any-return]


def _cuda(name: str, number: int) -> torch.device:
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= count:
        seen = f"torch {torch.__version__} sees {count} CUDA devices, expected {number + 1} or more"
        fix = "choose another one" if count else "install a torch for CUDA and its driver, or use --device cpu"
        raise UsageError(f"--device {name}: {seen}; {fix}")
    return torch.device("cuda", number)
