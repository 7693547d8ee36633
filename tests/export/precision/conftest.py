"""Graphs of a few nodes, converted to half."""

from collections.abc import Callable

import onnx
import onnx_ir as ir
import pytest
from support.typed_graphs import Arrays, Converted, parse

from foley_export.precision.lower import lower

Convert = Callable[..., Converted]


@pytest.fixture
def convert(tmp_path) -> Convert:
    """Return what converts a graph in text form, measured on the inputs that are given."""

    def converted(text: str, weights: Arrays, *samples: Arrays, precision: str = "fp16") -> Converted:
        model = parse(text, weights)
        lowered = lower(model, precision, samples, tmp_path)
        onnx.checker.check_model(ir.to_proto(model), full_check=True)
        return Converted(model, lowered, tmp_path)

    return converted
