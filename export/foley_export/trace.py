"""A torch module in the shape of a graph contract, traced to ONNX with its dynamic axes."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator
from typing import Any, Final

import onnx_ir as ir
import torch
from torch import nn
from torch.export import Dim

from foley_export.attention import OneNodeAttention
from foley_export.model import Axes, GraphPlan
from foley_export.parameters import name_transposed

OPSET: Final = 20
"""The newest in which normalisations are traced to the InstanceNormalization form, ONNX Runtime's fastest on CPUs."""

BATCH_AXES: Final = ("B", "R", "S")
MAX_BATCH: Final = 63
"""diffusers' up-sampler makes its input contiguous from 64 rows on, which the tracer would take for another graph. The
limit does not reach the ONNX graph, where that call is nothing."""


def trace(plan: GraphPlan, module: nn.Module) -> ir.Model:
    """Trace a wrapper over its plan's example; attention becomes one node where diffusers' blocks do it.

    The module must not be run afterwards: its attention computes nothing any more.
    """
    _one_node_attention(module)
    example = plan.example()
    with _quiet(), torch.no_grad():
        program = torch.onnx.export(
            module,
            tuple(example[name] for name in plan.inputs),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(plan.inputs),
            output_names=list(plan.outputs),
            dynamic_shapes=_dynamic_shapes(plan),
            verbose=False,
            optimize=False,
        )
        if program is None:
            raise RuntimeError(f"torch.onnx.export gave nothing for {plan.name}")
        name_transposed(program.model.graph)
        program.optimize()
    return _named_axes(program.model, plan)


def _one_node_attention(module: nn.Module) -> None:
    from diffusers.models.attention_processor import Attention

    for child in module.modules():
        if isinstance(child, Attention):
            child.set_processor(OneNodeAttention())


def _dynamic_shapes(plan: GraphPlan) -> tuple[dict[int, Any], ...]:
    dims: dict[str, Any] = {}
    return tuple(
        {axis: _dim(name, dims) for axis, name in enumerate(axes) if isinstance(name, str)}
        for axes in plan.inputs.values()
    )


def _dim(name: str, dims: dict[str, Any]) -> Any:  # noqa: ANN401 — torch's own dimension classes
    factor, mark, base = name.rpartition("*")
    if base not in dims:
        dims[base] = Dim(base, min=1, max=MAX_BATCH if base in BATCH_AXES else 1 << 16)
    return int(factor) * dims[base] if mark else dims[base]


def _named_axes(model: ir.Model, plan: GraphPlan) -> ir.Model:
    """Write the plan's names on the boundary, where the tracer may have chosen others."""
    axes: dict[str, Axes] = {**plan.inputs, **plan.outputs}
    for value in (*model.graph.inputs, *model.graph.outputs):
        value.shape = ir.Shape(axes[str(value.name)])
    return model


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the tracer's remarks about itself from the user's terminal; its exceptions pass."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
