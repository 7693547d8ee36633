"""Exported graphs in ONNX Runtime against the modules that were traced, at sizes that were not traced."""

import numpy as np
import pytest
import torch

import foley_engines
from foley.contract import NEXT_STATE
from foley.verify import snr_db

pytestmark = pytest.mark.slow

FLOOR_DB = 105


@pytest.fixture(scope="module")
def modules(bundles):
    """The no-adapter checkpoint's graphs as torch modules."""
    from foley_export.checkpoint import open_checkpoint
    from foley_export.systems import read_model

    model = read_model(open_checkpoint(str(bundles.checkpoint("no-adapter"))))
    return {plan.name: plan.build() for plan in model.graphs}


@pytest.fixture(scope="module")
def step(plain):
    return plain.graph("denoise_step")


def run(engine, **arrays):
    session = engine.bind(**{name: array.shape for name, array in arrays.items()})
    for name, array in arrays.items():
        session[name].write(array)
    session.run()
    return {name: session[name].read() for name in engine.outputs}


def step_inputs(slots: int, rows: int, columns: int) -> dict[str, np.ndarray]:
    """Give random inputs in which every one takes part."""
    rng = np.random.default_rng(slots * 100 + rows * 10 + columns)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    return {
        "state": normal(slots, 4, 4, 32, columns),
        "step_matrix": normal(slots, 4, 6),
        "timestep": rng.uniform(0, 999, slots).astype(np.float32),
        "noise": normal(slots, 4, 32, columns),
        "row_slot": np.arange(rows, dtype=np.int64) % slots,
        "row_mix": normal(slots, rows),
        "context": normal(rows, 77, 32),
        "known": normal(slots, 2, 4, 32, columns),
        "known_mix": normal(slots, 2),
        "repaint": rng.uniform(0, 1, (slots, 1, 32, columns)).astype(np.float32),
    }


@pytest.mark.parametrize(
    ("slots", "rows", "columns"),
    [(1, 1, 8), (1, 2, 16), (2, 3, 40), (1, 2, 128), (3, 6, 8), (4, 1, 8), (1, 5, 24)],
)
def test_a_step_of_any_size(step, modules, slots, rows, columns):
    inputs = step_inputs(slots, rows, columns)
    with torch.no_grad():
        expected = modules["denoise_step"](*map(torch.from_numpy, inputs.values())).numpy()
    got = run(step, **inputs)[NEXT_STATE]
    assert got.shape == (slots, 4, 4, 32, columns)
    assert snr_db(expected, got) > FLOOR_DB


def test_a_row_does_not_hear_the_other_rows(step):
    """Clips that share a call come out as they would alone."""
    both = step_inputs(2, 2, 8) | {"row_mix": np.eye(2, dtype=np.float32)}
    joint = run(step, **both)[NEXT_STATE]
    for slot in range(2):
        alone = {name: array[slot : slot + 1] for name, array in both.items()}
        alone |= {"row_slot": np.zeros(1, np.int64), "row_mix": np.ones((1, 1), np.float32)}
        assert snr_db(run(step, **alone)[NEXT_STATE][0], joint[slot]) > FLOOR_DB


@pytest.mark.parametrize("columns", [4, 12, 8 * 5 + 1])
def test_columns_that_the_unet_does_not_take(step, columns):
    with pytest.raises(foley_engines.errors.EngineError):
        run(step, **step_inputs(1, 1, columns))


@pytest.mark.parametrize(("clips", "columns"), [(1, 8), (2, 16), (1, 11), (1, 128)])
def test_decoder_of_any_size(plain, modules, clips, columns):
    latents = np.random.default_rng(columns).standard_normal((clips, 4, 32, columns), dtype=np.float32)
    with torch.no_grad():
        expected = modules["latent_decoder"](torch.from_numpy(latents)).numpy()
    got = run(plain.graph("latent_decoder"), latents=latents)["mel"]
    assert got.shape == (clips, 256, 8 * columns)
    assert snr_db(expected, got) > FLOOR_DB


@pytest.mark.parametrize(("clips", "frames"), [(1, 1), (2, 64), (1, 1024)])
def test_vocoder_of_any_length(plain, modules, clips, frames):
    mel = np.random.default_rng(frames).standard_normal((clips, 256, frames), dtype=np.float32) * 2 - 4
    with torch.no_grad():
        expected = modules["vocoder"](torch.from_numpy(mel)).numpy()
    got = run(plain.graph("vocoder"), mel=mel)["waveform"]
    assert got.shape == (clips, 160 * frames)
    assert np.abs(got).max() <= 1
    assert snr_db(expected, got) > FLOOR_DB


def test_half_graphs_keep_float32_at_their_boundary(bundles):
    import foley

    with foley.load(bundles.bundle("no-adapter", "fp16"), threads=1) as half:
        for name in half.bundle.manifest.graphs:
            engine = half.graph(name)
            assert {spec.dtype for spec in (*engine.inputs.values(), *engine.outputs.values())} <= {"float32", "int64"}
        inputs = step_inputs(2, 3, 16)
        assert np.isfinite(run(half.graph("denoise_step"), **inputs)[NEXT_STATE]).all()
