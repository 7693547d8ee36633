"""Every sampler against its diffusers class, created from a checkpoint's configuration as a pipeline would.

Two oracles. *Loops*: both run whole loops on a closed-form model, in float32 as shipped. *Probes*: every model output
and every noise draw is a unit vector, and diffusers' own code computes in float64, so each coefficient is compared by
itself.
"""

import importlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest import mock

import diffusers
import msgspec
import numpy as np
import pytest
import torch

from foley.errors import RequestError
from foley.samplers import SAMPLERS, sampler_path, sampler_table, step_matrices
from foley.schedule import NoiseSchedule, Spacing, alphas_cumprod
from foley_bench.parity.reference import SCHEDULERS

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # torch under numpy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning"),
]


@dataclass(frozen=True)
class Tolerance:
    """Worst error that passes, relative to the reference."""

    loop: float = 2e-6
    probe: float = 1e-12


# Two float32 loops differ by the rounding of both. Our own is below 9e-7 everywhere; diffusers' DEIS turns every model
# output into x0 and back, which loses digits, and its SDE step takes √(1 − e^{−2h}) in float32.
TOLERANCES = {
    "pndm": Tolerance(),  # measured: loop 9.5e-7, probe 3.0e-15
    "ddim": Tolerance(),  # 8.4e-7, 1.2e-15
    "ddpm": Tolerance(),  # 7.4e-7, 1.1e-13
    "euler": Tolerance(),  # 7.6e-7, 9.1e-14
    "euler-a": Tolerance(),  # 6.9e-7, 1.4e-14
    "lms": Tolerance(),  # 9.3e-7, 1.1e-14
    "dpmpp-2m": Tolerance(),  # 6.5e-7, 1.1e-15
    "dpmpp-2m-karras": Tolerance(),  # 6.4e-7, 2.2e-15
    "dpmpp-2m-sde": Tolerance(),  # 1.1e-6, 1.8e-15
    "dpmpp-3m": Tolerance(),  # 7.0e-7, 3.2e-15
    "deis": Tolerance(loop=1e-5),  # 5.5e-6, 1.2e-13
    "unipc": Tolerance(),  # 6.0e-7, 2.3e-15
    "lcm": Tolerance(),  # 7.4e-7, 1.3e-15
}

SD = NoiseSchedule(steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading")
SCHEDULES = {
    "sd": SD,
    "silent": NoiseSchedule(),
    "audioldm": NoiseSchedule(beta_start=0.0015, beta_end=0.0195, steps_offset=1, set_alpha_to_one=False),
    "linear-linspace": NoiseSchedule(beta_schedule="linear", timestep_spacing="linspace", set_alpha_to_one=True),
    "trailing": NoiseSchedule(timestep_spacing="trailing", set_alpha_to_one=False),
    "leading": NoiseSchedule(beta_schedule="linear", timestep_spacing="leading", set_alpha_to_one=True),
    "explicit-betas": NoiseSchedule(num_train_timesteps=200, trained_betas=tuple(np.linspace(0.001, 0.04, 200))),
    "zero-snr-trailing": NoiseSchedule(rescale_betas_zero_snr=True, timestep_spacing="trailing"),
    "zero-snr-leading": NoiseSchedule(rescale_betas_zero_snr=True, timestep_spacing="leading", steps_offset=1),
}


def build_oracle(name: str, schedule: NoiseSchedule, **extra: Any) -> Any:
    """Load the configuration into one class and hand it to another: unstated keys take the second one's defaults."""
    stated = {key: value for key, value in msgspec.structs.asdict(schedule).items() if value is not None}
    if "trained_betas" in stated:
        stated["trained_betas"] = list(stated["trained_betas"])
    checkpoint = diffusers.DDIMScheduler.from_config(stated)
    class_name, overrides = SCHEDULERS[name]
    return getattr(diffusers, class_name).from_config(checkpoint.config, **overrides, **extra)


class InFloat64:
    """A module in which `float32` means float64."""

    def __init__(self, module: Any) -> None:
        self.module = module

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self.module, "float64" if attribute == "float32" else attribute)


@contextmanager
def computing_in_float64(scheduler: Any, schedule: NoiseSchedule) -> Iterator[None]:
    """Let a scheduler compute in float64 from ᾱ as Foley has it, which other tests compare with diffusers' own."""
    signal = torch.from_numpy(alphas_cumprod(schedule))
    if schedule.rescale_betas_zero_snr and hasattr(scheduler, "sigmas"):
        signal[-1] = 2**-24
    scheduler.alphas_cumprod = signal
    if getattr(scheduler, "final_alpha_cumprod", 1.0) != 1.0:
        scheduler.final_alpha_cumprod = signal[0]
    module = importlib.import_module(type(scheduler).__module__)
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with mock.patch.multiple(module, torch=InFloat64(torch), np=InFloat64(np)):
            yield
    finally:
        torch.set_default_dtype(default)


Model = Callable[[int, np.ndarray, float], np.ndarray]


def run_diffusers(
    scheduler: Any, steps: int, model: Model, start: np.ndarray, draws: list[np.ndarray], eta: float = 0.0
) -> tuple[list[np.ndarray], list[bool]]:
    """Run a whole loop; return the sample in variance-preserving scale after every step, and which steps drew noise."""
    module = importlib.import_module(type(scheduler).__module__)
    scheduler.set_timesteps(steps)
    if hasattr(scheduler, "set_begin_index"):
        scheduler.set_begin_index(0)  # left to guess, diffusers starts at 1 where the first two timesteps round to one
    sample = torch.from_numpy(start) * torch.as_tensor(scheduler.init_noise_sigma, dtype=torch.from_numpy(start).dtype)
    samples, drew = [], []
    extra = {"eta": eta} if isinstance(scheduler, diffusers.DDIMScheduler) else {}
    for i, t in enumerate(scheduler.timesteps):
        draw = mock.Mock(return_value=torch.from_numpy(draws[i]))
        output = model(i, scheduler.scale_model_input(sample, t).numpy(), float(t))
        with mock.patch.object(module, "randn_tensor", draw, create=True):
            sample = scheduler.step(torch.from_numpy(output), t, sample, **extra).prev_sample
        samples.append(sample.numpy() * to_preserved_variance(scheduler, i + 1))
        drew.append(draw.called)
    return samples, drew


def to_preserved_variance(scheduler: Any, i: int) -> Any:
    if not hasattr(scheduler, "is_scale_input_called"):
        return 1.0
    return (1 / (scheduler.sigmas[i] ** 2 + 1) ** 0.5).numpy()


def run_table(
    timesteps: np.ndarray, matrices: np.ndarray, model: Model, start: np.ndarray, draws: list[np.ndarray]
) -> list[np.ndarray]:
    state = np.zeros((matrices.shape[1], *start.shape), dtype=start.dtype)
    state[0] = start
    samples = []
    for i, (timestep, matrix) in enumerate(zip(timesteps, matrices, strict=True)):
        output = model(i, state[0], float(timestep))
        state = np.tensordot(matrix, np.concatenate([state, [output, draws[i]]]), axes=1)
        samples.append(state[0])
    return samples


def closed_form_model(_: int, sample: np.ndarray, timestep: float) -> np.ndarray:
    """A bounded, mixing stand-in for a U-Net: any shape and float type, same out."""
    position = np.linspace(-1.0, 1.0, sample.size).reshape(sample.shape)
    mixed = 0.7 * sample + 0.3 * np.roll(sample, 1, axis=-1) * position
    return np.tanh(mixed + 0.5 * np.sin(timestep / 200 + position)).astype(sample.dtype)


def relative_error(got: Any, expected: Any) -> float:
    """Return ‖got − expected‖ / ‖expected‖."""
    got, expected = np.asarray(got, dtype=np.float64), np.asarray(expected, dtype=np.float64)
    return float(np.linalg.norm(got - expected) / np.linalg.norm(expected))


def loop_error(name: str, schedule: NoiseSchedule, steps: int, eta: float | None = None) -> float:
    """Compare the last samples of two float32 loops, and the steps that draw noise."""
    table = sampler_table(name, schedule, steps, eta=eta)
    random = np.random.default_rng(steps)
    start, *draws = random.standard_normal((len(table.timesteps) + 1, 2, 4, 8), dtype=np.float32)
    scheduler = build_oracle(name, schedule)
    expected, drew = run_diffusers(scheduler, steps, closed_form_model, start, draws, eta or 0.0)
    start = start * np.float32(table.initial_scale)
    got = run_table(table.timesteps, table.matrices, closed_form_model, start, draws)
    assert got[-1].dtype == expected[-1].dtype == np.float32
    assert drew == table.draws_noise.tolist()
    return relative_error(got[-1], expected[-1])


def measure(name: str, prediction: str, steps: int) -> float:
    """Return ‖difference‖ / ‖sample‖ after a whole float32 loop on the Stable Diffusion schedule."""
    return loop_error(name, msgspec.structs.replace(SD, prediction_type=prediction), steps)


def probe_error(name: str, schedule: NoiseSchedule, steps: int, eta: float | None = None) -> float:
    """Compare every coefficient after every step: columns are the start, the model outputs and the noise draws."""
    path = sampler_path(name, schedule, steps, eta=eta)
    n = len(path)
    basis = np.eye(1 + 2 * n)[:, None]
    start, outputs, draws = basis[0], basis[1 : n + 1], list(basis[n + 1 :])
    scheduler = build_oracle(name, schedule)
    with computing_in_float64(scheduler, schedule):
        expected, _ = run_diffusers(scheduler, steps, lambda i, *_: outputs[i], start, draws, eta or 0.0)
    start = start * path.initial_scale
    got = run_table(path.timesteps, step_matrices(name, path), lambda i, *_: outputs[i], start, draws)
    got, expected = np.asarray(got), np.asarray(expected)
    return float(np.abs(got - expected).max() / np.abs(expected).max())


def supported() -> Iterator[Any]:
    for name, sampler in SAMPLERS.items():
        for prediction in sampler.predictions:
            yield pytest.param(name, prediction, id=f"{name}-{prediction}")


def able(name: str, schedule: NoiseSchedule) -> bool:
    try:
        sampler_path(name, schedule, 12)
    except RequestError:
        return False
    return True


def scheduled() -> Iterator[Any]:
    for key, schedule in SCHEDULES.items():
        for prediction in ("epsilon", "v_prediction", "sample"):
            predicting = msgspec.structs.replace(schedule, prediction_type=prediction)
            for name in SAMPLERS:
                if able(name, predicting):
                    yield pytest.param(name, predicting, id=f"{name}-{key}-{prediction}")


def test_every_sampler_has_an_oracle_and_a_tolerance():
    assert list(SCHEDULERS) == list(TOLERANCES) == list(SAMPLERS)


@pytest.mark.parametrize("steps", [5, 12, 25, 50])
@pytest.mark.parametrize(("name", "prediction"), [*supported()])
def test_whole_loop(name: str, prediction: str, steps: int):
    assert measure(name, prediction, steps) <= TOLERANCES[name].loop


@pytest.mark.parametrize("name", SAMPLERS)
def test_our_rounding_to_float32(name: str):
    """Against the same loop in float64, so that a tolerance above cannot hide our own error."""
    table, path = sampler_table(name, SD, 50), sampler_path(name, SD, 50)
    start, *draws = np.random.default_rng(0).standard_normal((len(path) + 1, 2, 4, 8), dtype=np.float32)
    single = run_table(table.timesteps, table.matrices, closed_form_model, start, draws)
    draws = [draw.astype(np.float64) for draw in draws]
    double = run_table(path.timesteps, step_matrices(name, path), closed_form_model, start.astype(np.float64), draws)
    assert relative_error(single[-1], double[-1]) < 2e-6


@pytest.mark.parametrize(("name", "schedule"), [*scheduled()])
def test_every_coefficient(name: str, schedule: NoiseSchedule):
    worst = max(probe_error(name, schedule, steps) for steps in (1, 2, 3, 12, 25))
    assert worst <= TOLERANCES[name].probe


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("key", ["sd", "silent", "linear-linspace"])
def test_ddim_with_noise(key: str, eta: float):
    assert probe_error("ddim", SCHEDULES[key], 12, eta) <= TOLERANCES["ddim"].probe
    assert loop_error("ddim", SCHEDULES[key], 12, eta) <= TOLERANCES["ddim"].loop


def test_ddim_from_zero_signal_with_full_noise():
    schedule = msgspec.structs.replace(SCHEDULES["zero-snr-trailing"], prediction_type="v_prediction")
    assert probe_error("ddim", schedule, 10, eta=1.0) <= TOLERANCES["ddim"].probe


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
@pytest.mark.parametrize(("name", "schedule"), [*scheduled()])
def test_timesteps_and_starting_noise(name: str, schedule: NoiseSchedule, steps: int):
    table, oracle = sampler_table(name, schedule, steps), build_oracle(name, schedule)
    oracle.set_timesteps(steps)
    np.testing.assert_array_equal(table.timesteps, oracle.timesteps.numpy().astype(np.float32))
    scale = float(oracle.init_noise_sigma) * float(to_preserved_variance(oracle, 0))
    assert table.initial_scale == pytest.approx(scale, rel=3e-7)


@pytest.mark.parametrize("steps_offset", [0, 1])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", [name for name, sampler in SAMPLERS.items() if sampler.spacing])
def test_a_given_spacing_replaces_the_checkpoints(name: str, spacing: Spacing, steps_offset: int):
    schedule = msgspec.structs.replace(SD, steps_offset=steps_offset)
    table = sampler_table(name, schedule, 13, spacing=spacing)
    oracle = build_oracle(name, schedule, timestep_spacing=spacing)
    oracle.set_timesteps(13)
    np.testing.assert_array_equal(table.timesteps, oracle.timesteps.numpy().astype(np.float32))


@pytest.mark.parametrize("key", SCHEDULES)
def test_remaining_signal(key: str):
    """diffusers' float32 square roots and ramps depend on the machine in their last bit."""
    oracle = build_oracle("ddim", SCHEDULES[key])
    np.testing.assert_allclose(alphas_cumprod(SCHEDULES[key]), oracle.alphas_cumprod.numpy(), rtol=2e-6)


@pytest.mark.parametrize("name", SAMPLERS)
def test_levels_are_those_of_the_samples(name: str):
    """A model that knows x0 leaves α x0 in every sample, once the starting one has been left behind."""
    table, scheduler = sampler_table(name, SD, 12), build_oracle(name, SD)
    scheduler.set_timesteps(12)
    at = scheduler.timesteps.numpy().astype(int)
    signal = scheduler.alphas_cumprod.numpy()[at]
    np.testing.assert_allclose(table.levels[: len(at), 0] ** 2, signal, rtol=0.02 if "karras" in name else 1e-5)
    np.testing.assert_allclose((table.levels**2).sum(axis=1), 1, rtol=1e-6)
