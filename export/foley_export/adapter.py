"""Auffusion's condition adapter: a linear layer and a layer norm behind a text encoder."""

from torch import Tensor, nn

from foley_export.weights import State


class ConditionAdapter(nn.Module):
    """Map hidden states to the U-Net's width; tensor names are those of `condition_adapter.pt`."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.proj = nn.Linear(inner, outer)
        self.norm = nn.LayerNorm(outer)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map [B,L,inner] to [B,L,outer]."""
        adapted: Tensor = self.norm(self.proj(hidden))
        return adapted


def adapter_state(state: State) -> State:
    """Take off the prefix that data-parallel training leaves."""
    return {name.removeprefix("module."): value for name, value in state.items()}
