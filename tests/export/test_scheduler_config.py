"""scheduler_config.json of diffusers' classes: what is read, what is left to the sampler, what is refused."""

import diffusers
import pytest

from foley.errors import CheckpointError
from foley.samplers import SAMPLERS
from foley.schedule import NoiseSchedule
from foley_bench.checkpoints.configs import scheduler_config
from foley_export.scheduler_config import SAMPLER_OF_CLASS, default_sampler, noise_schedule


def test_stable_diffusions_schedule():
    expected = NoiseSchedule(steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading")
    assert noise_schedule(scheduler_config("epsilon")) == expected


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_prediction_type_is_read(prediction):
    assert noise_schedule(scheduler_config(prediction)).prediction_type == prediction


def test_prediction_type_of_a_checkpoint(checkpoint, read):
    assert read(checkpoint(prediction_type="v_prediction")).schedule.prediction_type == "v_prediction"


@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept:DeprecationWarning")  # torch under numpy 2
@pytest.mark.parametrize("name", SAMPLER_OF_CLASS)
def test_a_silent_config_has_its_classs_schedule(name):
    """What another sampler's class would fill differently stays open."""
    schedule = noise_schedule({"_class_name": name, "clip_sample": False})
    defaults = getattr(diffusers, name)().config
    for key in ("num_train_timesteps", "beta_start", "beta_end", "beta_schedule", "prediction_type"):
        assert getattr(schedule, key) == defaults[key], key
    assert schedule.steps_offset == defaults.get("steps_offset", 0)
    assert schedule.timestep_spacing is None
    assert schedule.set_alpha_to_one is None


def test_explicit_betas_and_zero_snr_are_read():
    schedule = noise_schedule({"trained_betas": [0.1, 0.2], "num_train_timesteps": 2, "rescale_betas_zero_snr": True})
    assert schedule.trained_betas == (0.1, 0.2)
    assert schedule.rescale_betas_zero_snr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"_class_name": "DDIMScheduler", "clip_sample": True}, ["DDIMScheduler", "clip_sample is True", "false"]),
        ({"_class_name": "DDPMScheduler", "clip_sample": None}, ["DDPMScheduler", "clip_sample"]),
        ({"_class_name": "DPMSolverMultistepScheduler", "thresholding": True}, ["thresholding"]),
        ({"skip_prk_steps": False}, ["Runge-Kutta", "set skip_prk_steps to true"]),
        ({"beta_schedule": "squaredcos_cap_v2"}, ["beta_schedule", "squaredcos_cap_v2"]),
        ({"prediction_type": "flow"}, ["prediction_type", "flow"]),
        ({"num_train_timesteps": "many"}, ["num_train_timesteps"]),
    ],
)
def test_schedules_that_no_sampler_follows_are_refused(changes, words):
    config = {key: value for key, value in (scheduler_config("epsilon") | changes).items() if value is not None}
    with pytest.raises(CheckpointError) as caught:
        noise_schedule(config)
    assert [word for word in ["scheduler_config.json", *words] if word not in str(caught.value)] == []


def test_a_class_that_does_not_clip_may_carry_the_key():
    assert noise_schedule(scheduler_config("epsilon") | {"clip_sample": True})


@pytest.mark.parametrize("name", SAMPLER_OF_CLASS)
def test_default_sampler_is_that_of_the_class(name):
    assert hasattr(diffusers, name)
    assert default_sampler({"_class_name": name}) in SAMPLERS


def test_a_config_without_a_class_gets_auffusions_sampler():
    assert default_sampler({}) == "pndm"


@pytest.mark.parametrize(
    ("changes", "sampler"),
    [
        ({}, "dpmpp-2m"),
        ({"use_karras_sigmas": True}, "dpmpp-2m-karras"),
        ({"algorithm_type": "sde-dpmsolver++"}, "dpmpp-2m-sde"),
        ({"solver_order": 3}, "dpmpp-3m"),
    ],
)
def test_one_class_may_be_several_samplers(changes, sampler):
    assert default_sampler({"_class_name": "DPMSolverMultistepScheduler", **changes}) == sampler


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"_class_name": "HeunDiscreteScheduler"}, ["HeunDiscreteScheduler", "expected one of PNDMScheduler"]),
        ({"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"}, ["dpmsolver of order 2"]),
        ({"_class_name": "EulerDiscreteScheduler", "use_karras_sigmas": True}, ["use_karras_sigmas", "false"]),
    ],
)
def test_a_scheduler_without_a_sampler_is_refused(config, words):
    with pytest.raises(CheckpointError) as caught:
        default_sampler(config)
    assert [word for word in ["scheduler_config.json", *words] if word not in str(caught.value)] == []
