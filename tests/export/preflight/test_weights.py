"""References to the weights file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper, parser

GRAPH = '<ir_version: 10, opset_import: ["" : 20]>\ng (float[2,2] x) => (float[2,2] y) { y = MatMul (x, w) }'


def model(**place: object) -> onnx.ModelProto:
    """Give a graph that keeps 16 bytes of weights elsewhere."""
    built = parser.parse_model(GRAPH)
    tensor = numpy_helper.from_array(np.eye(2, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in place.items():
        tensor.external_data.add(key=key, value=str(value))
    built.graph.initializer.append(tensor)
    return built


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "g.weights").write_bytes(bytes(32))
    return tmp_path / "g.weights"


GOOD = {"location": "g.weights", "offset": 16, "length": 16}


def test_a_whole_reference(errors, weights):
    assert errors(model(**GOOD)) == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"offset": 20}, "beyond the end"),
        ({"length": 12}, "refers to 12 bytes, its shape and type need 16"),
        ({"location": "other.weights"}, "missing"),
        ({"location": "../g.weights"}, "beside or below"),
        ({"location": "/etc/passwd"}, "beside or below"),
        ({"basepath": "here"}, "basepath"),
    ],
)
def test_references_that_do_not_hold(errors, weights, change, words):
    [found] = errors(model(**{**GOOD, **change}))
    assert (found.node, found.rule) == ("w", "weights")
    assert words in found.message


def test_sparse_weights(errors):
    built = parser.parse_model(GRAPH)
    built.graph.initializer.append(numpy_helper.from_array(np.eye(2, dtype=np.float32), "w"))
    assert errors(built) == []
    built.graph.sparse_initializer.add()
    assert [found.rule for found in errors(built)] == ["weights"]


def test_a_graph_file_beyond_protobufs_limit(errors, tmp_path, monkeypatch):
    from foley_export.preflight.rules import weights

    built = parser.parse_model(GRAPH.replace("w)", "x)"))
    assert errors(built) == []
    monkeypatch.setattr(weights, "MOST_FILE_BYTES", 10)
    assert ["2 GiB" in found.message for found in errors(built)] == [True]


def test_stored_tensors_of_more_than_eight_axes(errors):
    built = parser.parse_model(GRAPH.replace("w)", "x)"))
    built.graph.initializer.append(numpy_helper.from_array(np.zeros((1,) * 9, np.float32), "w"))
    assert {(found.node, found.rule) for found in errors(built)} >= {("w", "weights")}


def test_half_weights_that_are_widened_count_as_float32():
    from foley_export.preflight.rules.weights import weight_bytes

    text = "g (float[4] x) => (float[4] y) <float16[4] w = {1,1,1,1}> { c = Cast <to = 1> (w) y = Add (x, c) }"
    assert weight_bytes(parser.parse_model('<ir_version: 10, opset_import: ["" : 20]>\n' + text)) == 16
