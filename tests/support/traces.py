"""Traces that are made once: tracing takes most of an export, and a bundle's precision only matters after it."""

from zlib import crc32

import onnx_ir as ir
from onnx import ModelProto
from torch import Tensor, nn

from foley_export.model import GraphPlan
from foley_export.trace import trace


class Traces:
    """A `trace` that gives a copy of an earlier one wherever the module is the same, weights to the bit."""

    def __init__(self) -> None:
        self.made: dict[tuple[object, ...], ModelProto] = {}

    def __call__(self, plan: GraphPlan, module: nn.Module) -> ir.Model:
        key = plan.name, str(plan.inputs), str(plan.outputs), *_contents(module)
        if key in self.made:
            return ir.from_proto(self.made[key])
        traced = trace(plan, module)
        self.made[key] = ir.to_proto(traced)
        return traced


def _contents(module: nn.Module) -> list[object]:
    """Give all that tracing could read: classes, plain attributes, and digests of tensors."""
    tensors = [*module.named_parameters(), *module.named_buffers()]
    digests = [(name, str(tensor.dtype), *tensor.shape, _crc(tensor)) for name, tensor in tensors]
    return [*digests, *((name, *_plain(child)) for name, child in module.named_modules())]


def _plain(module: nn.Module) -> tuple[str, ...]:
    kinds = bool, int, float, str, tuple, list, dict
    attributes = (
        f"{name}={value}" for name, value in vars(module).items() if isinstance(value, kinds) and name[0] != "_"
    )
    return type(module).__qualname__, str(getattr(module, "config", "")), *attributes


def _crc(tensor: Tensor) -> int:
    return crc32(tensor.detach().contiguous().numpy().tobytes())


TRACES = Traces()
"""Of the whole run."""
