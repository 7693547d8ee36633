"""A reader is a part of a generator's first stage: it reads the same, whitened or not, and is written back."""

import pytest
import torch
from torch.nn.functional import conv1d, leaky_relu, pad

from foley_export.demo_model.harmonics import HARMONICS, UNIT
from foley_export.demo_model.noise import GATES, GRAIN, TURNS
from foley_export.demo_model.readers import Place, Reader
from foley_export.demo_model.vocoding import AMPLITUDES, CONFIG, NOISE
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config

PLACES = {"amplitudes": AMPLITUDES, "turns": Place(GRAIN, TURNS, TURNS), "noise": NOISE}
"""All channels of the first stage."""


UNEVEN = Place(slice(20, 50), slice(10, 22), slice(30, 47))
"""Nothing but its own sizes and starts."""


@pytest.fixture(params=[*PLACES.values(), UNEVEN], ids=[*PLACES, "uneven"])
def place(request):
    return request.param


@pytest.fixture
def generator(place):
    """Random weights, none of them between the place and other channels."""
    torch.manual_seed(0)
    made = Generator(vocoder_config(CONFIG)).eval()
    with torch.no_grad():
        for name, weight in made.named_parameters():
            if name.startswith(("ups.0.", "resblocks.0.")) and name.endswith("weight"):
                rows, columns = spots(name, place)
                weight[rows, : columns.start] = weight[rows, columns.stop :] = 0
                weight[: rows.start, columns] = weight[rows.stop :, columns] = 0
    return made


def spots(name: str, place: Place) -> tuple[slice, ...]:
    """Give which channels of one of the first stage's values are a place's, along one or two dimensions."""
    if name.startswith("conv_pre."):
        return (bounded(place.first),)
    if name.startswith("ups.0."):
        found = (place.out,) if name.endswith("bias") else (place.first, place.out)
    else:
        found = (place.inner, place.out) if ".convs1." in name else (place.out, place.inner)
    return tuple(map(bounded, found[:1] if name.endswith("bias") else found))


def bounded(channels: slice) -> slice:
    return slice(channels.start or 0, channels.stop)


def first_stage(generator: Generator, mels: torch.Tensor) -> torch.Tensor:
    """Run a generator that reads units on log-mels [B,256,T], with zeros beyond their edges: [B,96,T]."""
    units = (pad(mels, (3, 3)) - LOG_MEL_MIN) / UNIT
    first = conv1d(units, generator.conv_pre.weight, generator.conv_pre.bias)
    return generator.resblocks[0](generator.ups[0](leaky_relu(first, SLOPE)))


def correlated(seed: int = 1) -> torch.Tensor:
    """Log-mels [4,256,500] whose bins have much in common, and a mean far from silence."""
    random = torch.Generator().manual_seed(seed)
    mixed = torch.eye(256) + torch.randn(256, 256, generator=random) / 16 + 0.3
    return LOG_MEL_MIN + UNIT * (2 + torch.einsum("ij,bjt->bit", mixed, torch.randn(4, 256, 500, generator=random)))


def read(reader: Reader, mels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return reader(mels)


def test_places_share_all_channels_of_the_first_stage():
    for field, count in (("first", 192), ("inner", 96), ("out", 96)):
        slices = [getattr(place, field) for place in PLACES.values()]
        assert [number for each in slices for number in range(count)[each]] == list(range(count))


def test_amplitudes_and_gates_are_where_the_later_stages_look():
    assert AMPLITUDES.out == slice(HARMONICS)
    assert range(96)[NOISE.out][: GATES.stop - GATES.start] == range(96)[GATES]


def test_a_reader_reads_what_the_first_stage_does(generator, place):
    mels = correlated()[:2, :, :40]
    reader = Reader(generator, place)
    with torch.no_grad():
        expected = first_stage(generator, mels)[:, place.out]
    torch.testing.assert_close(read(reader, mels), expected, rtol=1e-4, atol=1e-4)
    assert expected.abs().max() > 0.1


def test_a_reader_has_weights_of_its_own(generator, place):
    reader = Reader(generator, place)
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.zero_()
    assert all(torch.equal(value, before[name]) for name, value in generator.state_dict().items())


def test_a_whitened_reader_reads_the_same(generator, place):
    reader, mels = Reader(generator, place), correlated()
    before, weight = read(reader, mels[..., :40]), reader.first.weight.clone()
    reader.whiten(mels)
    torch.testing.assert_close(read(reader, mels[..., :40]), before, rtol=1e-3, atol=1e-3)
    assert not torch.allclose(reader.first.weight, weight, atol=0.01)


def test_mels_are_read_uncorrelated_and_around_nought(generator, place):
    reader, mels = Reader(generator, place), correlated()
    reader.whiten(mels)
    whitened = torch.einsum("ij,bjt->bit", reader.basis, (mels - LOG_MEL_MIN) / UNIT - reader.centre)
    units = whitened.transpose(0, 1).flatten(1)
    assert units.mean(1).abs().max() < 1e-3
    torch.testing.assert_close(torch.cov(units), torch.eye(256), rtol=0, atol=0.1)


@pytest.mark.parametrize("whitened", [False, True])
def test_what_is_written_back_at_once_is_what_was(generator, place, whitened):
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    reader = Reader(generator, place)
    if whitened:
        reader.whiten(correlated())
    reader.write(generator)
    for name, value in generator.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=1e-4 if whitened else 0)


@pytest.mark.parametrize("whitened", [False, True])
def test_a_generator_reads_what_was_taught_to_a_reader(generator, place, whitened):
    reader, mels = Reader(generator, place), correlated()
    if whitened:
        reader.whiten(mels)
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        expected = read(reader, mels[..., :40])
        reader.write(generator)
        made = first_stage(generator, mels[..., :40])[:, place.out]
    torch.testing.assert_close(made, expected, rtol=1e-3, atol=1e-3)


def test_only_its_place_is_written(generator, place):
    before = {name: value.clone() for name, value in generator.state_dict().items()}
    reader = Reader(generator, place)
    with torch.no_grad():
        for parameter in reader.parameters():
            parameter.add_(1.0)
    reader.write(generator)
    for name, value in generator.state_dict().items():
        expected = torch.zeros_like(value, dtype=torch.bool)
        if name.startswith(("conv_pre.", "ups.0.", "resblocks.0.")):
            expected[spots(name, place)] = True
        assert torch.equal(value != before[name], expected), name
