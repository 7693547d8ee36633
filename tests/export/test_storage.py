"""The weights file: each content once, whatever its name, shape or dtype; offsets that a runtime may map."""

import numpy as np
import onnx_ir as ir
import pytest

from foley_export.storage import ALIGNMENT, INLINE_BYTES, WeightsFile


@pytest.fixture
def places(tmp_path):
    """Return what stores arrays and gives their (offset, length), read back from the file."""

    def store(*arrays):
        with WeightsFile(tmp_path / "graph.weights") as file:
            found = [file._place(ir.tensor(array)) for array in arrays]
        content = (tmp_path / "graph.weights").read_bytes()
        for array, (offset, length) in zip(arrays, found, strict=True):
            assert content[offset : offset + length] == array.tobytes()
            assert offset % ALIGNMENT == 0
        return found

    return store


def test_equal_contents_share_a_place(places):
    array = np.arange(3000, dtype=np.float32)
    first, same, reshaped, other = places(array, array.copy(), array.reshape(30, 100), array + 1)
    assert first == same == reshaped != other


@pytest.mark.parametrize("at", [0, 50_000, -1])
def test_one_value_makes_another_content(places, at):
    array = np.zeros(100_000, np.float32)
    changed = array.copy()
    changed[at] = 1e-30
    first, other, again = places(array, changed, array)
    assert first == again != other


def test_a_transposed_array_is_stored_as_it_reads(places):
    places(np.arange(6000, dtype=np.float16).reshape(60, 100).T)


def test_small_tensors_stay_in_the_graph(tmp_path):
    names = {"small": INLINE_BYTES // 4 - 1, "large": INLINE_BYTES // 4}
    values = [
        ir.Value(name=name, const_value=ir.tensor(np.ones(size, np.float32), name=name)) for name, size in names.items()
    ]
    model = ir.Model(ir.Graph([], [], nodes=[], initializers=values), ir_version=10)
    with WeightsFile(tmp_path / "graph.weights") as file:
        file.store(model)
    kinds = {name: isinstance(value.const_value, ir.ExternalTensor) for name, value in model.graph.initializers.items()}
    assert kinds == {"small": False, "large": True}
