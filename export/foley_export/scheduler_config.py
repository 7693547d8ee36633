"""`scheduler_config.json` of any diffusers scheduler as Foley's noise schedule."""

import inspect
from typing import Any

import diffusers
import msgspec

from foley.errors import CheckpointError
from foley.schedule import NoiseSchedule

FILE = "scheduler/scheduler_config.json"
SAMPLER_OF_CLASS = {
    "PNDMScheduler": "pndm",
    "DDIMScheduler": "ddim",
    "DDPMScheduler": "ddpm",
    "EulerDiscreteScheduler": "euler",
    "EulerAncestralDiscreteScheduler": "euler-a",
    "LMSDiscreteScheduler": "lms",
    "DPMSolverMultistepScheduler": "dpmpp-2m",
    "DEISMultistepScheduler": "deis",
    "UniPCMultistepScheduler": "unipc",
    "LCMScheduler": "lcm",
}
DPM_SAMPLERS = {
    ("dpmsolver++", 2, False): "dpmpp-2m",
    ("dpmsolver++", 2, True): "dpmpp-2m-karras",
    ("sde-dpmsolver++", 2, False): "dpmpp-2m-sde",
    ("dpmsolver++", 3, False): "dpmpp-3m",
}
"""(algorithm_type, solver_order, use_karras_sigmas) of DPMSolverMultistepScheduler → sampler."""
CLIPPING = ("DDIMScheduler", "DDPMScheduler")
"""Classes that clip the sample to [-1,1] unless their config says otherwise; a latent is no picture."""


EXPLICIT = ("timestep_spacing", "set_alpha_to_one")
"""Keys that each sampler's own class fills where the checkpoint says nothing."""


def noise_schedule(config: dict[str, Any]) -> NoiseSchedule:
    """Read a scheduler's config; keys that do not shape the schedule are passed over.

    A key that is absent has the default of the config's own class, as diffusers would have it.

    Raises:
        CheckpointError: the schedule is of a kind that no sampler here can follow.
    """
    _refuse(config)
    whole = {**_class_defaults(config), **config}
    known = {
        name: whole[name]
        for name in NoiseSchedule.__struct_fields__
        if whole.get(name) is not None and (name not in EXPLICIT or name in config)
    }
    try:
        return msgspec.convert(known, NoiseSchedule)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"{FILE}: {error}") from error


def default_sampler(config: dict[str, Any]) -> str:
    """Give the sampler that a checkpoint's scheduler is.

    Raises:
        CheckpointError: no sampler here is that scheduler.
    """
    name = _class_name(config)
    if name == "DPMSolverMultistepScheduler":
        return _multistep_dpm(config)
    if config.get("use_karras_sigmas"):
        raise CheckpointError(f"{FILE}: {name} with use_karras_sigmas has no sampler here; set it to false")
    return SAMPLER_OF_CLASS[name]


def _multistep_dpm(config: dict[str, Any]) -> str:
    kind = config.get("algorithm_type", "dpmsolver++")
    order = config.get("solver_order", 2)
    karras = bool(config.get("use_karras_sigmas", False))
    sampler = DPM_SAMPLERS.get((kind, order, karras))
    if sampler is None:
        raise CheckpointError(f"{FILE}: no sampler here is {kind} of order {order} with use_karras_sigmas {karras}")
    return sampler


def _class_name(config: dict[str, Any]) -> str:
    name = str(config.get("_class_name", "PNDMScheduler"))  # Auffusion's own loader takes PNDM, whatever is said
    if name not in SAMPLER_OF_CLASS:
        raise CheckpointError(f"{FILE} has the class {name}, expected one of {', '.join(SAMPLER_OF_CLASS)}")
    return name


def _class_defaults(config: dict[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(getattr(diffusers, _class_name(config)).__init__).parameters
    return {name: value.default for name, value in parameters.items() if value.default is not inspect.Parameter.empty}


def _refuse(config: dict[str, Any]) -> None:
    if config.get("thresholding"):
        raise CheckpointError(f"{FILE} has thresholding, which no table of matrices can follow")
    if _class_name(config) == "PNDMScheduler" and config.get("skip_prk_steps") is False:
        raise CheckpointError(
            f"{FILE} asks for PNDM's Runge-Kutta warm-up; only PLMS is here: set skip_prk_steps to true"
        )
    if _class_name(config) in CLIPPING and config.get("clip_sample", True):
        raise CheckpointError(
            f"{FILE}: {config['_class_name']} would clip its samples (clip_sample is "
            f"{config.get('clip_sample', 'absent')}), which is meant for pictures; set clip_sample to false"
        )
