"""Weight norm as the released vocoder keeps it: multiplied out, it gives the half-rounded weights back."""

import numpy as np
import pytest
import torch

from foley_bench.checkpoints import write_checkpoint
from foley_export.demo_model.publishing import SCHEDULER, with_weight_norm
from foley_export.demo_model.vocoding import CONFIG
from foley_export.scheduler_config import default_sampler, noise_schedule
from foley_export.vocoder import Generator, vocoder_config
from foley_export.weights import fold_weight_norm, tensors


@pytest.fixture(scope="module")
def generator():
    torch.manual_seed(0)
    return Generator(vocoder_config(CONFIG))


def test_folding_gives_the_half_rounded_weights_back(generator):
    folded = fold_weight_norm(tensors(with_weight_norm(generator)))
    weights = generator.state_dict()
    assert set(folded) == set(weights)
    for name, weight in weights.items():
        assert torch.equal(folded[name].half(), weight.half()), name
        torch.testing.assert_close(folded[name], weight.half().float(), rtol=2e-7, atol=0)


def test_lengths_are_norms_of_output_channels_and_directions_half(generator):
    state = with_weight_norm(generator)
    for name, value in state.items():
        if name.endswith("_g"):
            direction = state[f"{name.removesuffix('_g')}_v"]
            assert value.shape == (len(direction), 1, 1)
            assert (value.dtype, direction.dtype) == (torch.float32, torch.float16)
            np.testing.assert_allclose(value.flatten(), direction.float().flatten(1).norm(dim=1), rtol=1e-6)


def test_the_generator_is_left_alone(generator):
    with_weight_norm(generator)
    assert {value.dtype for value in generator.state_dict().values()} == {torch.float32}


def test_names_are_those_of_the_released_vocoder(generator, tmp_path):
    """The released one has a third kernel size, so that its residual blocks are numbered differently."""
    folder = write_checkpoint(tmp_path / "released", layout="no-adapter")
    released = torch.load(folder / "vocoder/vocoder.pt", weights_only=True)["generator"]

    def kinds(state):
        return {".".join(part for part in name.split(".") if not part.isdigit()) for name in state}

    assert kinds(with_weight_norm(generator)) == kinds(released)


def test_export_understands_the_schedule():
    config = {"_class_name": "PNDMScheduler", **SCHEDULER}
    schedule = noise_schedule(config)
    assert default_sampler(config) == "pndm"
    assert schedule.prediction_type == "v_prediction"
