"""Generate sound from text with a bundle of ONNX graphs, and no torch.

import foley

with foley.load("bundle") as pipeline:
    for clip in pipeline.generate(["a dog barking in the rain"], seconds=5.0, steps=25, sampler="dpmpp-2m"):
        clip.save("dog.wav")
"""

from foley.bundle import Bundle, load_bundle
from foley.clip import Clip, Timings
from foley.denoise import Step
from foley.errors import FoleyError
from foley.generation import Generation
from foley.loras import Lora
from foley.pipeline import Pipeline, load
from foley.prompt import Part, PromptTruncatedWarning
from foley.request import NegativeIgnoredWarning, Request
from foley.samplers import SAMPLERS
from foley.verify import GraphReport, verify

__all__ = [
    "SAMPLERS",
    "Bundle",
    "Clip",
    "FoleyError",
    "Generation",
    "GraphReport",
    "Lora",
    "NegativeIgnoredWarning",
    "Part",
    "Pipeline",
    "PromptTruncatedWarning",
    "Request",
    "Step",
    "Timings",
    "__version__",
    "load",
    "load_bundle",
    "verify",
]


__version__: str


def __getattr__(name: str) -> str:
    """Give `__version__`, looked up when it is asked for: what reads installed packages is 15 % of the import."""
    if name != "__version__":
        raise AttributeError(f"module 'foley' has no attribute {name!r}")
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("foley")
    except PackageNotFoundError:  # a bare checkout on the path
        return "0+unknown"
