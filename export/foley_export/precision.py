"""Half precision with float32 islands: where a sum runs over many values, it runs in float32."""

import torch
from torch import Tensor, nn

NORMS = (nn.GroupNorm, nn.LayerNorm)


class Float32Norm(nn.Module):
    """A normalisation whose statistics and affine step are float32, between half tensors."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.norm = norm.float()

    def forward(self, x: Tensor) -> Tensor:
        """Normalise, keeping shape and dtype."""
        normalised: Tensor = self.norm(x.float())
        return normalised.to(x.dtype)


def halve(module: nn.Module) -> None:
    """Turn a module's weights to float16 in place, its normalisations kept whole in float32."""
    norms = [(parent, name, child) for parent in module.modules() for name, child in parent.named_children()]
    norms = [(parent, name, child) for parent, name, child in norms if isinstance(child, NORMS)]
    for parent, name, _ in norms:
        setattr(parent, name, nn.Identity())  # out of reach of half()
    module.half()
    for parent, name, norm in norms:
        setattr(parent, name, Float32Norm(norm))


def torch_dtype(precision: str) -> torch.dtype:
    """Give the torch type of a precision's weights."""
    return {"fp32": torch.float32, "fp16": torch.float16}[precision]
