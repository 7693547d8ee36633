"""`scheduler_config.json` of any diffusers scheduler as Foley's noise schedule."""

from typing import Any

import msgspec

from foley.errors import CheckpointError
from foley.schedule import NoiseSchedule

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
CLIPPING = ("DDIMScheduler", "DDPMScheduler")
"""Classes that clip the sample to [-1,1] unless their config says otherwise; a latent is no picture."""


def noise_schedule(config: dict[str, Any]) -> NoiseSchedule:
    """Read a scheduler's config; keys that do not shape the schedule are passed over.

    Raises:
        CheckpointError: the schedule is of a kind that no sampler here can follow.
    """
    _refuse(config)
    known = {name: config[name] for name in NoiseSchedule.__struct_fields__ if config.get(name) is not None}
    try:
        return msgspec.convert(known, NoiseSchedule)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"scheduler/scheduler_config.json: {error}") from error


def default_sampler(config: dict[str, Any]) -> str:
    """Give the sampler of the scheduler class that a checkpoint names, or PNDM, Auffusion's."""
    return SAMPLER_OF_CLASS.get(str(config.get("_class_name", "")), "pndm")


def _refuse(config: dict[str, Any]) -> None:
    if config.get("thresholding"):
        raise CheckpointError("scheduler/scheduler_config.json has thresholding, which no table of matrices can follow")
    if config.get("_class_name") in CLIPPING and config.get("clip_sample", True):
        raise CheckpointError(
            f"scheduler/scheduler_config.json: {config['_class_name']} would clip its samples (clip_sample is "
            f"{config.get('clip_sample', 'absent')}), which is meant for pictures; set clip_sample to false"
        )
