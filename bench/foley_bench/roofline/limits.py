"""Which of two limits of a machine is the nearer one to a stage, and how near the stage comes to it."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from foley.manifest import Precision
from foley_bench.roofline.count import GraphCost
from foley_bench.roofline.peaks import Peaks

Limit = Literal["operations", "memory"]


@dataclass(frozen=True)
class Counts:
    """What one run of a stage has to do."""

    flops: int
    """Operations of products, two a multiply-add."""
    least_bytes: int
    """Weights once, inputs and outputs."""
    moved_bytes: int
    """Were nothing fused or kept in caches."""

    @property
    def intensity(self) -> float:
        """Operations a byte that has to move."""
        return self.flops / self.least_bytes


def counts_of(cost: GraphCost) -> Counts:
    """Sum a graph."""
    return Counts(cost.flops, cost.least_bytes, cost.moved_bytes)


def least_s(counts: Counts, peaks: Peaks) -> tuple[float, Limit]:
    """Give the least seconds that a machine of these peaks needs, and which of them decides."""
    operations, memory = counts.flops / peaks.flops_per_s, counts.least_bytes / peaks.bytes_per_s
    return (operations, "operations") if operations >= memory else (memory, "memory")


def nearness(counts: Counts, peaks: Peaks, seconds: float) -> dict[str, Any]:
    """Set a measured time beside the least possible one.

    The fraction is above 1 where a stage outran the peaks: what it reads stayed in caches, or others had the machine
    while the peaks were measured.
    """
    least, limit = least_s(counts, peaks)
    return {
        "gflop_per_s": round(counts.flops / seconds / 1e9, 3),
        "gb_per_s": round(counts.least_bytes / seconds / 1e9, 3),
        "moved_gb_per_s": round(counts.moved_bytes / seconds / 1e9, 3),
        "limit": limit,
        "least_ms": round(least * 1e3, 4),
        "fraction": round(least / seconds, 4),
    }


@dataclass(frozen=True)
class Rounds:
    """Peaks measured before and after the stages, by precision."""

    before: Mapping[Precision, Peaks]
    after: Mapping[Precision, Peaks]

    def best(self, precision: Precision) -> Peaks:
        """Take the better measurement of each peak: less was had only because something disturbed."""
        rounds = (self.before[precision], self.after[precision])
        products = max(rounds, key=lambda peaks: peaks.flops_per_s)
        return replace(products, bytes_per_s=max(peaks.bytes_per_s for peaks in rounds))

    def figures(self) -> dict[str, dict[str, Any]]:
        """Give the best and both measurements for a row."""
        return {
            precision: {
                **_rounded(self.best(precision)), "before": _rounded(before), "after": _rounded(self.after[precision])
            }
            for precision, before in self.before.items()
        }  # fmt: skip


def _rounded(peaks: Peaks) -> dict[str, float | int]:
    return {
        "gflop_per_s": round(peaks.flops_per_s / 1e9, 2),
        "gb_per_s": round(peaks.bytes_per_s / 1e9, 2),
        "product_size": peaks.product_size,
    }
