"""Generate sound from text with a bundle of ONNX graphs, and no torch.

import foley

with foley.load("bundle") as pipeline:
    for clip in pipeline.generate(["a dog barking in the rain"], seconds=5.0, steps=25, sampler="dpmpp-2m"):
        clip.save("dog.wav")
"""

from importlib.metadata import PackageNotFoundError, version

from foley.bundle import Bundle, load_bundle
from foley.clip import Clip, Timings
from foley.denoise import Step
from foley.errors import FoleyError
from foley.loras import Lora
from foley.pipeline import Generation, Pipeline, load
from foley.prompt import Part, PromptTruncatedWarning
from foley.request import NegativeIgnoredWarning, Request
from foley.samplers import SAMPLERS
from foley.verify import GraphReport, verify

try:
    __version__ = version("foley")
except PackageNotFoundError:  # a bare checkout on the path
    __version__ = "0+unknown"

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
