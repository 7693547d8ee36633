"""What a TensorRT plan depends on, and where a plan that was made for something else may run all the same."""

import platform
from typing import Any, Final

from foley_engines.cuda.device import Device
from foley_engines.graph_file import GraphFile, Spelling
from foley_engines.plans.parts import Parts
from foley_engines.profiles import Profile, describe
from foley_engines.setups import BuildOptions

RECIPE: Final = "1"
"""Raise it with any change to how networks are parsed and configured: older plans are then built again."""

GRAPH: Final = "graph"
WEIGHTS: Final = "weights"
LIBRARY: Final = "TensorRT"
GPU: Final = "GPU"
CAPABILITY: Final = "compute capability"
GPU_SIZE: Final = "GPU size"
PROFILE: Final = "profile"
PORTABLE: Final = "portable"
VERSION_COMPATIBLE: Final = "version-compatible"
REFITTABLE: Final = "refittable"
IDENTITY: Final = (GRAPH, WEIGHTS, LIBRARY, "recipe", "platform", GPU, CAPABILITY, GPU_SIZE)
"""Parts that decide whether a plan can run here, and is this sound. The others are how fast and how large it is."""
AMPERE: Final = (8, 0)


def parts_of(
    trt: Any,  # noqa: ANN401
    device: Device,
    graph: GraphFile,
    spelling: Spelling,
    profile: Profile,
    options: BuildOptions,
) -> Parts:
    """List what a plan depends on. Boards of one name may differ in cores and memory, as Jetson's do."""
    facts = device.facts
    return {
        GRAPH: spelling.structure or spelling.digest,
        WEIGHTS: graph.weights_digest(spelling),
        LIBRARY: trt.__version__,
        "recipe": RECIPE,
        "platform": f"{platform.system()} {platform.machine()}".lower(),
        GPU: facts.name,
        CAPABILITY: ".".join(map(str, facts.compute_capability)),
        GPU_SIZE: f"{facts.multiprocessors} multiprocessors, {round(facts.memory_bytes / (1 << 30))} GiB",
        PROFILE: describe(profile),
        "level": str(options.level),
        "workspace": "all" if options.workspace_mib is None else f"{options.workspace_mib} MiB",
        "tiling": options.tiling,
        PORTABLE: options.portable,
        VERSION_COMPATIBLE: _word(options.version_compatible),
        REFITTABLE: _word(options.refittable),
        "stripped": _word(options.stripped),
        "TF32": _word(options.tf32),
        "auxiliary streams": "any" if options.aux_streams is None else str(options.aux_streams),
    }


def runs_here(found: Parts, here: Parts) -> bool:
    """Say whether a plan was made and verified for just this graph, library and GPU, with whatever options."""
    return not _differing(found, here)


def may_run_here(found: Parts, here: Parts) -> bool:
    """Say whether a plan may run here though it was made for something else, by the options it was built with.

    With other weights where it is refittable, on another GPU where it is portable, in a later TensorRT where it is
    version-compatible. Whether it is right there is to be verified.
    """
    allowed: set[str] = set()
    if found.get(REFITTABLE) == "yes":
        allowed.add(WEIGHTS)
    if found.get(VERSION_COMPATIBLE) == "yes" and _is_later(found[LIBRARY], here[LIBRARY]):
        allowed.add(LIBRARY)
    return _differing(found, here) <= allowed | _portable(found, here)


def _differing(found: Parts, here: Parts) -> set[str]:
    return {name for name in IDENTITY if found.get(name) != here[name]}


def _portable(found: Parts, here: Parts) -> set[str]:
    """Give the parts of the GPU that may differ."""
    if found.get(PORTABLE) == "ampere+" and _version(here[CAPABILITY]) >= AMPERE:
        return {GPU, CAPABILITY, GPU_SIZE}
    return {GPU, GPU_SIZE} if found.get(PORTABLE) == "same-compute-capability" else set()


def _is_later(found: str, here: str) -> bool:
    """Say whether a version runs the version-compatible plans of another: of its own major, and of the one before."""
    old, new = _version(found), _version(here)
    return old <= new and new[0] - old[0] <= 1


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".") if part.isdigit())


def _word(yes: bool) -> str:
    return "yes" if yes else "no"
