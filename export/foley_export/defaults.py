"""The defaults that a bundle records, where the exporter's caller wants others than its system's."""

from dataclasses import dataclass

from foley.guidance import check_guidance
from foley.manifest import Defaults
from foley.request import check_seconds, whole
from foley.samplers.table import find_sampler, sampler_path
from foley.schedule import NoiseSchedule


@dataclass(frozen=True)
class DefaultKnobs:
    """What requests get where they say nothing; None leaves a knob as the system has it.

    Raises:
        RequestError: a knob is out of the range that `foley generate` takes; the message names it.
    """

    steps: int | None = None
    guidance: float | None = None
    sampler: str | None = None
    """A key of `foley.SAMPLERS`."""
    seconds: float | None = None

    def __post_init__(self) -> None:
        if self.steps is not None:
            whole("steps", self.steps)
        if self.guidance is not None:
            check_guidance(self.guidance, 1.0)
        if self.sampler is not None:
            find_sampler(self.sampler)
        if self.seconds is not None:
            check_seconds(self.seconds)

    def over(self, defaults: Defaults, schedule: NoiseSchedule) -> Defaults:
        """Replace what was chosen in a system's defaults.

        Raises:
            RequestError: the sampler cannot do the checkpoint's schedule, or not in so many steps.
        """
        if self == DefaultKnobs():
            return defaults
        chosen = Defaults(
            steps=defaults.steps if self.steps is None else int(self.steps),
            guidance=float(defaults.guidance if self.guidance is None else self.guidance),
            sampler=defaults.sampler if self.sampler is None else self.sampler,
            seconds=float(defaults.seconds if self.seconds is None else self.seconds),
        )
        sampler_path(chosen.sampler, schedule, chosen.steps)
        return chosen
