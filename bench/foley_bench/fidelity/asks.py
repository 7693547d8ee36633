"""Which clips builds are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from foley.bundle import MANIFEST, Bundle, load_bundle
from foley.demo_bundle import FOLDER
from foley_export.demo_model.scenes import Event, Scene
from foley_export.demo_model.sounds import CLIP_SAMPLES, SAMPLE_RATE_HZ

USUAL: Final = (
    "a dog barking in the rain", "a siren passing by on a wet street", "birds singing in a forest at dawn",
    "waves breaking on a pebble beach", "a door creaks open, then slams", "footsteps on gravel",
    "a car engine starts and idles", "applause in a large hall", "a church bell rings far away",
    "glass breaks on a stone floor", "wind howling around a house", "a cat meows twice",
)  # fmt: skip
DEMO: Final = (
    ("a brief deep tone", Scene((Event("tone", pitch="low", length="short"),))),
    ("four strong knocks on a door", Scene((Event("knocks", level="loud", count=4),))),
    ("five shrill unhurried beeps", Scene((Event("beeps", pitch="high", speed="slow", count=5),))),
    ("we hear a rapid quiet falling chirp", Scene((Event("fall", speed="fast", level="quiet"),))),
    ("there is a middle-pitched strong ringing bell", Scene((Event("bell", pitch="mid", level="loud"),))),
    ("there is 3 strong clicks", Scene((Event("clicks", level="loud", count=3),))),
    ("a falling chirp after three ticks", Scene((Event("clicks", count=3), Event("fall")), "then")),
    ("2 knocks on a door after wind", Scene((Event("wind"), Event("knocks", count=2)), "then")),
    ("wind and then a wailing alarm", Scene((Event("wind"), Event("siren")), "then")),
    ("3 beeps and then two knocks", Scene((Event("beeps", count=3), Event("knocks", count=2)), "then")),
    ("3 ticks over an engine hum", Scene((Event("clicks", count=3), Event("hum")), "over")),
    ("a downward sweep with an engine hum in the background", Scene((Event("fall"), Event("hum")), "over")),
)
"""Captions of the demo model's world that it was never trained on, each with the scene that it states."""
DEMO_S: Final = CLIP_SAMPLES / SAMPLE_RATE_HZ  # 2.56 s


@dataclass(frozen=True)
class Ask:
    """One clip to be made by every build."""

    prompt: str
    seed: int
    scene: Scene | None
    """What the prompt states, for the checks of `prompt_following`; None where nobody knows."""


def make_asks(prompts: Sequence[str], count: int, seed: int, *, scored: bool) -> list[Ask]:
    """Ask for `count` clips of each prompt, one of each before the second of any; seeds count up from `seed`.

    Scenes are those of `DEMO`, where clips can be `scored`: of the demo model, 2.56 s long.
    """
    scenes = dict(DEMO) if scored else {}
    return [Ask(prompt, seed + number, scenes.get(prompt)) for number, prompt in enumerate([*prompts] * count)]


def usual_prompts(*, demo: bool) -> list[str]:
    """Give the dozen prompts that are taken where nobody names any, of the demo model's world or of Foley's."""
    return [caption for caption, _ in DEMO] if demo else list(USUAL)


def is_of_demo(bundle: Bundle) -> bool:
    """Say whether a bundle was exported from the checkpoint of the demo bundle."""
    if not (FOLDER / MANIFEST).is_file():
        return False
    return bundle.manifest.source.sha256 == load_bundle(FOLDER, verify_files=False).manifest.source.sha256
