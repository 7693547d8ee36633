"""Sampler tables by themselves: shapes, known timesteps, exactness on a model that knows the answer, and refusals."""

from typing import Any

import msgspec
import numpy as np
import pytest

from foley.contract import STATE_SLOTS
from foley.errors import BundleError, RequestError
from foley.samplers import SAMPLERS, SamplerTable, sampler_path, sampler_table, step_matrices
from foley.schedule import NoiseSchedule, alphas_cumprod

SD = NoiseSchedule(steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading")
AUDIOLDM = NoiseSchedule(beta_start=0.0015, beta_end=0.0195, steps_offset=1, timestep_spacing="leading")
ZERO_SNR = NoiseSchedule(rescale_betas_zero_snr=True, timestep_spacing="trailing", prediction_type="v_prediction")


@pytest.mark.parametrize("steps", [1, 2, 3, 25])
@pytest.mark.parametrize("name", SAMPLERS)
def test_shapes_and_types(name: str, steps: int):
    table = sampler_table(name, SD, steps)
    n = steps + 1 if name == "pndm" and steps > 1 else steps
    assert table.timesteps.shape == table.draws_noise.shape == (n,)
    assert table.matrices.shape == (n, STATE_SLOTS, STATE_SLOTS + 2)
    assert table.levels.shape == (n + 1, 2)
    assert {array.dtype for array in (table.timesteps, table.matrices, table.levels)} == {np.dtype(np.float32)}
    assert np.isfinite(table.matrices).all()


@pytest.mark.parametrize("name", SAMPLERS)
@pytest.mark.parametrize("steps", [200, 499])
def test_long_runs_stay_finite(name: str, steps: int):
    if name == "lcm":
        steps = 50
    assert np.isfinite(sampler_table(name, NoiseSchedule(), steps).matrices).all()


@pytest.mark.parametrize("name", SAMPLERS)
def test_the_first_sample_owes_nothing_to_history(name: str):
    history = sampler_table(name, SD, 12).matrices[0, 0, 1:STATE_SLOTS]
    assert not history.any()


@pytest.mark.parametrize("name", SAMPLERS)
def test_noise_has_weight_only_where_it_is_drawn(name: str):
    table = sampler_table(name, SD, 12)
    assert not table.matrices[~table.draws_noise, :, -1].any()
    assert table.stochastic == (name in {"ddpm", "euler-a", "dpmpp-2m-sde", "lcm"})


def test_eta_makes_ddim_stochastic():
    assert not sampler_table("ddim", SD, 12, eta=0.0).draws_noise.any()
    noisy = sampler_table("ddim", SD, 12, eta=1.0)
    assert noisy.draws_noise.all()
    assert noisy.stochastic


def test_pndm_takes_its_first_step_twice():
    timesteps = sampler_table("pndm", SD, 50).timesteps
    assert len(timesteps) == 51
    assert timesteps.tolist() == [981, 961, *range(961, 0, -20)]


def test_ddim_on_the_audioldm_grid():
    assert sampler_table("ddim", AUDIOLDM, 10).timesteps.tolist() == list(range(901, 0, -100))


def test_signal_of_known_schedules():
    assert alphas_cumprod(SD)[[0, -1]] == pytest.approx([0.99915, 0.004660], rel=1e-3)
    assert alphas_cumprod(AUDIOLDM)[[0, -1]] == pytest.approx([0.99850, 0.00014230], rel=1e-3)


def test_zero_terminal_snr_leaves_no_signal_and_keeps_the_start():
    signal = alphas_cumprod(ZERO_SNR)
    assert signal[-1] == 0
    assert signal[0] == pytest.approx(alphas_cumprod(NoiseSchedule())[0], rel=1e-6)


@pytest.mark.parametrize("steps", [61, 103, 994])
def test_trailing_never_visits_a_timestep_below_zero(steps: int):
    timesteps = sampler_table("ddim", SD, steps, spacing="trailing").timesteps
    assert len(timesteps) == steps
    assert timesteps[0] == 999
    assert timesteps[-1] >= 0


def knowing_loop(table: SamplerTable, matrices: np.ndarray, schedule: NoiseSchedule) -> tuple[np.ndarray, np.ndarray]:
    """Denoise with a model that knows x0, in float64; return x0 and the last sample."""
    random = np.random.default_rng(3)
    x0, noise = random.standard_normal((2, 64))
    state = np.zeros((STATE_SLOTS, 64))
    state[0] = noise * table.initial_scale
    for (alpha, sigma), matrix in zip(table.levels.astype(np.float64), matrices, strict=False):
        eps = (state[0] - alpha * x0) / sigma
        output = {"epsilon": eps, "v_prediction": alpha * eps - sigma * x0, "sample": x0}[schedule.prediction_type]
        state = matrix @ np.concatenate([state, [output, random.standard_normal(64)]])
    return x0, state[0]


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("steps", [1, 2, 3, 20])
@pytest.mark.parametrize(
    "name", ["ddim", "ddpm", "euler", "dpmpp-2m", "dpmpp-2m-karras", "dpmpp-2m-sde", "dpmpp-3m", "unipc"]
)
def test_a_model_that_knows_x0_gets_it_back(name: str, steps: int, prediction: Any):
    schedule = NoiseSchedule(prediction_type=prediction)
    table = sampler_table(name, schedule, steps)
    x0, got = knowing_loop(table, step_matrices(name, sampler_path(name, schedule, steps)), schedule)
    np.testing.assert_allclose(got, x0, atol=1e-4)  # the model reads float32 levels, and x0 = (x − σ ε)/α magnifies


@pytest.mark.parametrize(
    ("got", "offered"),
    [("dpm++-2m", "dpmpp-2m"), ("eular", "euler"), ("DDIM2", "samplers are pndm, ddim"), ("plms", "lms")],
)
def test_unknown_name_offers_near_ones(got: str, offered: str):
    with pytest.raises(RequestError, match=offered) as raised:
        sampler_table(got, SD, 10)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("steps", [0, -1, 1001, 2.5, float("nan"), True, "25", None])
def test_steps_must_be_a_count(steps: Any):
    with pytest.raises(RequestError, match="expected a whole number from 1 to 1000"):
        sampler_table("ddim", SD, steps)


@pytest.mark.parametrize("eta", [-0.1, float("nan"), float("inf"), True, "1"])
def test_eta_must_be_a_weight(eta: Any):
    with pytest.raises(RequestError, match="eta: got"):
        sampler_table("ddim", SD, 10, eta=eta)


def test_eta_beyond_the_room_for_noise():
    with pytest.raises(RequestError, match="more noise than step"):
        sampler_table("ddim", SD, 10, eta=3.0)


@pytest.mark.parametrize("name", [name for name in SAMPLERS if name != "ddim"])
def test_eta_is_for_ddim_only(name: str):
    with pytest.raises(RequestError, match="use the sampler ddim"):
        sampler_table(name, SD, 10, eta=0.0)


def test_unknown_spacing():
    with pytest.raises(RequestError, match="expected one of leading, linspace, trailing"):
        sampler_table("ddim", SD, 10, spacing="cosine")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["dpmpp-2m-karras", "lcm"])
def test_spacing_where_a_sampler_has_its_own(name: str):
    with pytest.raises(RequestError, match="leave spacing out"):
        sampler_table(name, SD, 10, spacing="leading")


@pytest.mark.parametrize("name", ["pndm", "euler-a"])
def test_a_prediction_that_a_class_rejects(name: str):
    with pytest.raises(RequestError, match="use one of ddim, ddpm"):
        sampler_table(name, NoiseSchedule(prediction_type="sample"), 10)


@pytest.mark.parametrize("name", ["pndm", "lms", "deis"])
def test_zero_snr_where_a_class_ignores_it(name: str):
    with pytest.raises(RequestError, match="zero terminal SNR; use one of ddim"):
        sampler_table(name, ZERO_SNR, 10)


@pytest.mark.parametrize("name", ["ddim", "ddpm", "lcm"])
def test_epsilon_where_no_signal_is_left(name: str):
    schedule = msgspec.structs.replace(ZERO_SNR, prediction_type="epsilon")
    with pytest.raises(RequestError, match="use spacing leading, or one of euler"):
        sampler_table(name, schedule, 10)


@pytest.mark.parametrize("spacing", ["leading", "linspace"])
def test_more_steps_than_a_multistep_solver_has_timesteps(spacing: Any):
    with pytest.raises(RequestError, match="ask for fewer"):
        sampler_table("dpmpp-2m", NoiseSchedule(), 1000, spacing=spacing)


def test_an_offset_beyond_the_schedule():
    with pytest.raises(RequestError, match="start at timestep 1000, expected at most 999"):
        sampler_table("ddim", SD, 1000)


def test_lcm_has_only_its_distilled_timesteps():
    with pytest.raises(RequestError, match="got 51 for lcm"):
        sampler_table("lcm", SD, 51)


def test_betas_that_do_not_fill_the_schedule():
    with pytest.raises(BundleError, match="holds 2 values, expected 1000"):
        alphas_cumprod(NoiseSchedule(trained_betas=(0.1, 0.2)))
