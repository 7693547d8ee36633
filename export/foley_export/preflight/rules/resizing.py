"""What the parser asks of Resize and Upsample."""

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np

from foley_export.preflight.rules.complaints import Complaint, one_of, zero
from foley_export.preflight.subject import Node

TRANSFORMS: Final = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
ROUNDINGS: Final = ("floor", "ceil", "round_prefer_floor", "round_prefer_ceil")
MOST_AXES: Final = {"linear": 3, "bilinear": 3, "cubic": 2}
"""How many axes, counted from the last, each mode may scale."""
SCALES: Final = 2
SIZES: Final = 3


def _resize(node: Node) -> Iterator[Complaint]:
    yield from one_of(node, "mode", "nearest", ("nearest", "linear", "cubic"))
    yield from one_of(node, "coordinate_transformation_mode", "half_pixel", TRANSFORMS)
    yield from one_of(node, "nearest_mode", "round_prefer_floor", ROUNDINGS)
    yield from one_of(node, "keep_aspect_ratio_policy", "stretch", ("stretch",))
    yield from zero(node, "antialias")
    yield from _rounding(node)
    yield from _axes(node)
    yield from _scaled(node, SCALES)


def _rounding(node: Node) -> Iterator[Complaint]:
    tensorflow = node.attributes.get("coordinate_transformation_mode") == "tf_half_pixel_for_nn"
    if tensorflow and node.attributes.get("nearest_mode", "round_prefer_floor") != "round_prefer_floor":
        yield Complaint("tf_half_pixel_for_nn goes with nearest_mode round_prefer_floor only")


def _axes(node: Node) -> Iterator[Complaint]:
    axes = list(node.attributes.get("axes", ()))
    if len(set(axes)) < len(axes):
        yield Complaint(f"axes are {axes}; the parser wants each once")
    scales = node.input(SCALES)
    computed = scales is not None and scales.origin != "stored"
    if axes and computed and not node.has_input(SIZES) and axes != list(range(node.rank(0) or 0)):
        yield Complaint("axes are a choice and scales are computed; the parser takes that for all axes in order only")


def _scaled(node: Node, index: int) -> Iterator[Complaint]:
    """Ask that a smooth mode scales the last axes only."""
    scales, mode = node.input(index), node.attributes.get("mode", "nearest")
    if scales is None or scales.array is None or scales.array.size == 0 or mode not in MOST_AXES:
        return
    most = MOST_AXES[mode]
    if np.any(np.ravel(scales.array)[:-most] != 1):
        yield Complaint(f"mode {mode} scales more than the last {most} axes")


def _upsample(node: Node) -> Iterator[Complaint]:
    yield from one_of(node, "mode", "nearest", ("nearest", "linear", "bilinear"))
    yield from _scaled(node, 1)


ASKED: Final[dict[str, Callable[[Node], Iterator[Complaint]]]] = {"Resize": _resize, "Upsample": _upsample}
