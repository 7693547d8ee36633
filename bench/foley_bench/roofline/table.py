"""A row of the roofline for people to read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from foley_bench.sentences import against_torch, disturbance, title

DRIFT: Final = 0.1
"""Part by which two measurements of a peak may differ unmentioned."""
COUNTED: Final = f"{'GFLOP':>10}{'MB least':>10}{'MB moved':>10}{'FLOP/B':>9}"


def roofline_table(measured: Mapping[str, Any]) -> str:
    """Lay a row out: configuration, peaks, a line a stage, what to make of them, fidelity."""
    figures = measured["figures"]
    lines = [title(measured["configuration"]), *_peaks(figures["peaks"])]
    lines.append(f"{'stage':<16}{'ms':>10}{COUNTED}{'GFLOP/s':>10}{'GB/s':>8}  nearer limit, fraction of it")
    lines += [_stage(name, stage) for name, stage in figures["stages"].items()]
    share = figures["share"]
    lines += [*_outrun(figures["stages"]), *disturbance(share["busy"], share["cores"], measured["configuration"])]
    return "\n".join([*lines, against_torch(measured["fidelity"])])


def counts_table(counted: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay out what was counted, a line a stage."""
    lines = [f"{_name(name)}{_counts(stage)}  {_sizes(stage)}" for name, stage in counted.items()]
    return "\n".join([f"{'stage':<16}{COUNTED}  sizes", *lines])


def _peaks(peaks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for precision, each in peaks.items():
        yield (
            f"peaks, {precision}: {each['gflop_per_s']:g} GFLOP/s (products of {each['product_size']} rows and "
            f"columns), {each['gb_per_s']:g} GB/s"
        )
        for unit, words in (("gflop_per_s", "GFLOP/s"), ("gb_per_s", "GB/s")):
            yield from _drift(each["before"][unit], each["after"][unit], words)


def _drift(before: float, after: float, unit: str) -> Iterator[str]:
    """Tell of a peak that was another one after the stages than before them."""
    if abs(before - after) > DRIFT * max(before, after):
        yield f"  the better of {before:g} {unit} before and {after:g} after: the machine was not calm"


def _stage(name: str, stage: Mapping[str, Any]) -> str:
    return (
        f"{_name(name)}{stage['ms']['median']:>10.3f}{_counts(stage)}{stage['gflop_per_s']:>10.1f}"
        f"{stage['gb_per_s']:>8.2f}  {stage['limit']}, {stage['fraction']:.1%}"
    )


def _name(graph: str) -> str:
    return f"{graph.replace('_', ' '):<16}"


def _counts(stage: Mapping[str, Any]) -> str:
    least, moved = stage["least_bytes"] / 1e6, stage["moved_bytes"] / 1e6
    return f"{stage['flops'] / 1e9:>10.3f}{least:>10.2f}{moved:>10.1f}{stage['flop_per_byte']:>9.1f}"


def _sizes(stage: Mapping[str, Any]) -> str:
    return " ".join(f"{symbol}={size}" for symbol, size in stage["sizes"].items())


def _outrun(stages: Mapping[str, Mapping[str, Any]]) -> list[str]:
    names = [name for name, stage in stages.items() if stage["fraction"] > 1]
    words = "faster than the peaks: its data stayed in caches, or others had the machine while these were measured"
    return [f"{', '.join(names)}: {words}"] if names else []
