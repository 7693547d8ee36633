"""What the vocoder's two readers learn, at which rates, and the generator that they are written into."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from support.clips import STEADY, clip
from torch.nn.functional import conv1d, leaky_relu, pad

from foley_export.demo_model import vocoding
from foley_export.demo_model.crops import Crops
from foley_export.demo_model.ends import read_silence_beyond
from foley_export.demo_model.harmonics import HARMONICS, LOUD, UNIT, amplitudes
from foley_export.demo_model.mel import log_mel
from foley_export.demo_model.noise import BANDS, band_harmonics
from foley_export.demo_model.readers import Reader
from foley_export.demo_model.scenes import Event
from foley_export.demo_model.training import train
from foley_export.demo_model.vocoding import (
    AMPLITUDES,
    CONFIG,
    NOISE,
    AmplitudeTask,
    GateTask,
    optimiser,
    plain,
    train_vocoder,
    written,
)
from foley_export.graphs import LOG_MEL_MIN
from foley_export.vocoder import SLOPE, Generator, vocoder_config

CPU = torch.device("cpu")
TASKS = {"amplitudes": AmplitudeTask, "gates": GateTask}
Weights = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def amplitude_task(sounds):
    return AmplitudeTask(sounds, sounds.mels, 1, CPU)


@pytest.fixture(scope="module")
def gate_task(sounds):
    return GateTask(sounds, sounds.mels, 1, CPU)


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(vocoding, "CROPS", 2)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return 0.1 * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(module: torch.nn.Module) -> Weights:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: Weights, after: Weights) -> set[str]:
    """Names of the values that differ."""
    assert before.keys() == after.keys()
    return {name for name, value in after.items() if not torch.equal(value, before[name])}


def read(reader: torch.nn.Module, mels: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return reader(mels)


def test_a_plain_generator_makes_of_raw_mels_what_the_other_makes_of_units():
    torch.manual_seed(0)
    generator = Generator(vocoder_config(CONFIG)).eval()
    mel = torch.cat([log_mel(noise(1, 3200)), log_mel(torch.zeros(1, 3200))], 2)
    before = weights(generator)
    units = (pad(mel, (3, 3)) - LOG_MEL_MIN) / UNIT  # beyond its edges, a generator reads a raw log-mel of 0
    with torch.no_grad():
        expected = generator.upsample(conv1d(units, generator.conv_pre.weight, generator.conv_pre.bias))
        torch.testing.assert_close(plain(generator)(mel), expected, rtol=0, atol=1e-5)
    assert changed(before, generator.state_dict()) == set()


def test_the_written_generator_is_always_the_same():
    torch.manual_seed(1)
    first = weights(written())
    torch.manual_seed(2)
    assert changed(first, written().state_dict()) == set()


def test_a_generator_makes_160_samples_a_frame():
    with torch.no_grad():
        waveform = plain(written())(log_mel(noise(2, 1440)))
    assert waveform.shape == (2, 1, 1440)
    assert waveform.abs().max() <= 1


def test_every_weight_has_one_rate_that_of_its_layer():
    reader = Reader(written(), NOISE)
    names = {id(parameter): name for name, parameter in reader.named_parameters()}
    groups = optimiser(reader, 0.3, 2.0).param_groups
    rates = {names[id(each)]: group["initial_lr"] for group in groups for each in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates) == len(names) == 16
    assert {name: 0.3 if name.startswith("convolutions.0.") else 2.0 for name in names.values()} == rates


def test_the_first_convolutions_learn_slower(amplitude_task, gate_task):
    for task, expected in ((amplitude_task, [3e-5, 6e-5]), (gate_task, [2e-4, 2e-3])):
        (only,) = task.optimisers
        assert [group["initial_lr"] for group in only.param_groups] == expected
        taught = {id(each) for group in only.param_groups for each in group["params"]}
        assert taught == {id(each) for each in task.modules["reader"].parameters()}


def test_amplitudes_start_whitened_from_what_is_written(amplitude_task):
    mel = clip(Event("bell")).mels[..., 10:30]
    expected = read(amplitude_task.written, mel)
    assert torch.equal(expected, read(Reader(written(), AMPLITUDES), mel))
    for each in amplitude_task.modules.values():
        assert not torch.equal(each.basis, torch.eye(256))
        torch.testing.assert_close(read(each, mel), expected, rtol=0, atol=1e-4)


def test_gates_start_whitened_from_one_draw(sounds, gate_task):
    torch.manual_seed(3)
    again = GateTask(sounds, sounds.mels, 1, CPU)
    states = [weights(each) for task in (gate_task, again) for each in task.modules.values()]
    assert not torch.equal(states[0]["basis"], torch.eye(256))
    assert changed(states[0], states[1]) == set()
    for name, value in states[2].items():
        torch.testing.assert_close(value, states[0][name], rtol=0, atol=1e-4)  # eigenvectors, to rounding
    assert all(states[0][f"convolutions.{number}.weight"].any() for number in range(8))


@pytest.mark.parametrize("kind", ["bell", "clicks"])
def test_amplitudes_of_what_is_clear_are_measured(amplitude_task, kind):
    crops = clip(Event(kind))
    with torch.no_grad():
        torch.testing.assert_close(amplitude_task.target(crops), amplitudes(crops.clear) / LOUD)


@pytest.mark.parametrize("pitch", ["low", "high"])
def test_amplitudes_of_noise_are_those_written_around_each_frame(amplitude_task, pitch):
    wind = clip(Event("wind", pitch=pitch))
    loudest = amplitudes(wind.noise)[0].mean(1).topk(4).indices
    with torch.no_grad():
        got = amplitude_task.target(wind)[0, loudest]
    made = leaky_relu(read(Reader(written(), AMPLITUDES), wind.mels), SLOPE)[0, loudest]
    smooth = torch.stack([made[:, frame - 2 : frame + 3].mean(1) for frame in range(STEADY.start, STEADY.stop)], 1)
    torch.testing.assert_close(got[:, STEADY], smooth, rtol=0.05, atol=0.015)
    assert smooth.mean() > 0.05


def test_amplitudes_of_a_mixture_are_shared(amplitude_task):
    """As loud as the rest, noise counts by half; the rest counts as it was measured."""
    wind = clip(Event("wind"))
    both = replace(wind, clear=wind.noise)
    with torch.no_grad():
        alone, mixed = amplitude_task.target(wind), amplitude_task.target(both)
    loud = amplitudes(wind.noise) > 0.01
    noisy = mixed - amplitudes(wind.noise) / LOUD
    assert loud.sum() > 100
    torch.testing.assert_close(noisy[loud], 0.5 * alone[loud], rtol=0.02, atol=1e-4)


def test_amplitudes_of_noise_stay_those_that_were_written(sounds):
    task, wind = AmplitudeTask(sounds, sounds.mels, 1, CPU), clip(Event("wind"))
    with torch.no_grad():
        before = task.target(wind)
        for each in task.modules.values():
            for parameter in each.parameters():
                parameter.zero_()
        assert torch.equal(task.target(wind), before)


def beside(clear_level: float, noise_level: float, harmonic: int) -> Crops:
    """A second of a harmonic and of the same as noise, at levels."""
    wave = torch.sin(2 * torch.pi * 100 * harmonic * torch.arange(16000) / 16000)[None]
    return Crops(torch.zeros(1, 256, 100), clear_level * wave, noise_level * wave)


@pytest.mark.parametrize("number", range(len(BANDS)))
def test_a_gate_is_asked_for_where_noise_outweighs_the_rest(gate_task, number):
    harmonic = range(1, HARMONICS + 1)[band_harmonics(BANDS[number])][2]
    for clear, noisy, expected in ((0.1, 0.2, 1.0), (0.2, 0.1, 0.0), (0.0, 0.1, 1.0), (0.1, 0.0, 0.0)):
        asked, weight = (each[0, :, 10:-10] for each in gate_task.target(beside(clear, noisy, harmonic)))
        one = torch.zeros(len(BANDS), 1)
        one[number] = 1.0
        torch.testing.assert_close(asked, expected * one.expand(-1, 80))
        torch.testing.assert_close(weight, (0.05 + one).expand(-1, 80))


def test_the_power_of_a_whole_band_decides(gate_task):
    """Four harmonics of noise outweigh a single louder one."""
    tones = [beside(0.15, 0.1, harmonic) for harmonic in (21, 24, 27, 30)]
    crops = replace(tones[0], noise=torch.stack([each.noise for each in tones]).sum(0))
    asked, _ = gate_task.target(crops)
    assert (asked[0, 2, 10:-10] == 1).all()


def test_silence_has_no_gates_and_hardly_counts(gate_task):
    asked, weight = gate_task.target(beside(1e-5, 1e-4, 20))
    assert not asked.any()
    torch.testing.assert_close(weight, torch.full_like(weight, 0.05))


def test_wind_asks_for_gates_where_it_blows(gate_task):
    for pitch, inside in (("low", [0]), ("high", [1, 2])):
        asked, weight = (each[0, :, STEADY] for each in gate_task.target(clip(Event("wind", pitch=pitch))))
        assert (asked[inside] == 1).all()
        assert (weight[inside] > 1).all()


def piece(event: Event) -> Crops:
    """40 frames of a clip."""
    whole, frames, samples = clip(event), slice(50, 90), slice(50 * 160, 90 * 160)
    return Crops(whole.mels[..., frames], whole.clear[:, samples], whole.noise[:, samples])


def first_losses(task: object, crops: Crops, monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """What a step on crops gives, without making it."""
    with monkeypatch.context() as patched:
        patched.setattr(vocoding, "draw", lambda *_: crops)
        patched.setattr(vocoding, "descend", lambda *_, **__: None)
        patched.setattr(vocoding, "average", lambda *_: None)
        return {name: float(loss) for name, loss in task.advance(0).items()}


@pytest.mark.parametrize("name", TASKS)
def test_the_ends_of_crops_are_not_compared(request, monkeypatch, name):
    task = request.getfixturevalue("amplitude_task" if name == "amplitudes" else "gate_task")
    part, crops = ("clear", piece(Event("bell"))) if name == "amplitudes" else ("noise", piece(Event("bell")))
    end, middle = (getattr(crops, part).clone() for _ in range(2))
    end[:, :400] = end[:, -400:] = noise(1, 400) * 5
    middle[:, 3000:3400] = noise(1, 400) * 5
    expected = first_losses(task, crops, monkeypatch)
    assert first_losses(task, replace(crops, **{part: end}), monkeypatch) == pytest.approx(expected, rel=1e-4)
    assert (
        abs(first_losses(task, replace(crops, **{part: middle}), monkeypatch)["error"] / expected["error"] - 1) > 0.02
    )


def test_the_error_of_amplitudes_is_a_share_of_their_energy(monkeypatch):
    """An error of a tenth, whatever the level of a crop; one that is nearly silent counts for little."""
    true = torch.rand(3, HARMONICS, 24, generator=torch.Generator().manual_seed(0))
    true = true * torch.tensor([1.0, 0.01, 0.0])[:, None, None]
    read_too_high = torch.nn.Module()
    read_too_high.forward = lambda _: 1.1 * true
    task = SimpleNamespace(
        sounds=None, decoded=None, device=CPU, optimisers=[], target=lambda _: true,
        modules={"reader": read_too_high, "mean": None},
    )  # fmt: skip
    monkeypatch.setattr(vocoding, "draw", lambda *_: Crops(true, true, true))
    monkeypatch.setattr(vocoding, "descend", lambda *_, **__: None)
    monkeypatch.setattr(vocoding, "average", lambda *_: None)
    energy = (0.01 * true[1, :, 4:-4]).square().sum() * 1e4
    quiet = float(energy / (energy + 0.01))
    assert float(AmplitudeTask.advance(task, 0)["error"]) == pytest.approx((0.01 + 0.01 * quiet) / 3, rel=1e-3)


def test_a_step_draws_its_own_crops(sounds, monkeypatch):
    seen = []

    def draw(*arguments):
        seen.append((arguments[2].random(), *arguments[3:]))
        return piece(Event("wind"))

    for task in (AmplitudeTask(sounds, sounds.mels, 1, CPU), GateTask(sounds, sounds.mels, 1, CPU)):
        with monkeypatch.context() as patched:
            patched.setattr(vocoding, "draw", draw)
            for step in (0, 0, 1):
                task.advance(step)
    assert {each[1:] for each in seen} == {(16, 64)}
    numbers = [each[0] for each in seen]
    assert (numbers[0], numbers[3]) == (numbers[1], numbers[4])
    assert len(set(numbers)) == 4


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("name", TASKS)
def test_steps_teach_a_reader_and_its_average(tmp_path, sounds, name):
    task = TASKS[name](sounds, sounds.mels, 2, CPU)
    before = weights(task.modules["reader"])
    train(task, tmp_path)
    for each in task.modules.values():
        assert changed(before, each.state_dict()) == {parameter for parameter, _ in each.named_parameters()}
    assert changed(task.modules["mean"].state_dict(), task.modules["reader"].state_dict())


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_gates_are_learnt(tmp_path, sounds, monkeypatch):
    """A crop of wind and one of a bell, over and over."""
    wind, bell = piece(Event("wind", pitch="low")), piece(Event("bell", pitch="high"))
    crops = Crops(*(torch.cat([vars(each)[part] for each in (wind, bell)]) for part in ("mels", "clear", "noise")))
    monkeypatch.setattr(vocoding, "draw", lambda *_: crops)
    task = GateTask(sounds, sounds.mels, 60, CPU)
    before = first_losses(task, crops, monkeypatch)
    train(task, tmp_path)
    after = first_losses(task, crops, monkeypatch)
    assert after["error"] < 0.3 * before["error"]
    assert after["wrong"] < 0.1


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_both_averages_become_the_vocoder_and_are_resumed(tmp_path, sounds, monkeypatch):
    read = []
    with monkeypatch.context() as patch:
        patch.setattr(vocoding, "MELS_TO_END", 2)
        patch.setattr(vocoding, "read_silence_beyond", lambda _, mels: read.append(mels.shape))
        made = train_vocoder(sounds, sounds.mels, tmp_path, 2, 1, CPU)
    assert read == [(2 + 2, 256, 256)]  # half of the four sounds, and of the four decoded
    expected = written()
    for name, steps in (("amplitudes", 2), ("gates", 1)):
        task = TASKS[name](sounds, sounds.mels, steps, CPU)
        state = torch.load(tmp_path / f"{name}.state", weights_only=True)
        assert state["done"] == steps
        task.modules.load_state_dict(state["modules"])
        task.modules["mean"].write(expected)
    assert changed(plain(expected).state_dict(), made.state_dict()) == set()
    assert changed(plain(written()).state_dict(), made.state_dict())
    monkeypatch.setattr(vocoding, "draw", None)
    resumed = train_vocoder(sounds, sounds.mels, tmp_path, 2, 1, CPU)
    read_silence_beyond(made, torch.from_numpy(np.concatenate([sounds.mels, sounds.mels]).astype(np.float32)))
    for name, value in resumed.state_dict().items():
        torch.testing.assert_close(value, made.state_dict()[name], rtol=1e-3, atol=1e-5)
