"""Rows of a baseline file: what a build took once, and how to measure the same again."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from foley.bundle import Bundle, load_bundle
from foley.errors import UsageError
from foley.pipeline import Pipeline
from foley_bench.build import Workload, configuration, cores_of, fidelity, method
from foley_bench.latency.cold import engine_options_of
from foley_bench.regression import yardstick
from foley_bench.regression.clip import Turns
from foley_bench.regression.orders import Order, setup_from
from foley_bench.regression.sample import find_turns, take_sample
from foley_bench.rows import machine, row
from foley_engines import Setup

NAME: Final = "baseline"
"""Name of the rows."""
SCHEMA: Final = 1
"""To be counted up whenever the figures mean something else."""
PROCESSES: Final = 12
"""Processes of a baseline; a sample to compare with it has half as many."""
LEAST_PROCESSES: Final = 8
CLIPS: Final = 12
"""Clips of a process."""
WRITE_AGAIN: Final = "write it again with: foley bench baseline"

Row = Mapping[str, Any]


def measure_baseline(folder: Path, setup: Setup, workload: Workload, processes: int, clips: int) -> dict[str, Any]:
    """Measure a bundle's row of a baseline.

    Raises:
        FoleyError: the bundle, the engine or the workload cannot be run.
    """
    bundle = load_bundle(folder)
    what, snr_db = configured(bundle, setup, workload), fidelity(bundle, setup)
    with yardstick.yardstick_file(bundle.manifest.precision) as graph:
        order = Order(folder, engine_options_of(setup), workload, graph, Turns(), clips)
        order = replace(order, turns=find_turns(order))
        sample = take_sample(order, processes)
    how = {**method(bundle, setup), **identity(), "options": order.engine, "clips": clips, "turns": vars(order.turns)}
    return row(NAME, what, sample.figures(cores_of(setup)), fidelity=snr_db, method=how)


def configured(bundle: Bundle, setup: Setup, workload: Workload) -> dict[str, Any]:
    """Say what is measured; see `build.configuration`.

    Raises:
        FoleyError: the engine or the workload does not fit the bundle.
    """
    with Pipeline(bundle, engine=setup) as pipeline:
        return configuration(bundle, setup, workload.request(pipeline, 0))


def identity() -> dict[str, int]:
    """Give the versions that figures must share to be compared."""
    return {"yardstick": yardstick.VERSION, "schema": SCHEMA}


def read_baseline(file: Path) -> list[dict[str, Any]]:
    """Read the newest row of each configuration that was measured on this processor.

    Raises:
        UsageError: the file is missing, is no JSON lines, or has no row of this processor.
    """
    found = [each for each in _rows(file) if isinstance(each, dict) and each.get("name") == NAME]
    if not found:
        raise UsageError(f"{file} has no row of a baseline; {WRITE_AGAIN} {file}")
    here = machine()["processor"]
    own = {json.dumps(each["configuration"], sort_keys=True): each for each in found if _processor(each) == here}
    if not own:
        raise UsageError(f"{file} is of {_processor(found[-1])}, this is {here}; {WRITE_AGAIN} {file}")
    return list(own.values())


def _processor(measured: Row) -> str:
    return str(measured["machine"]["processor"])


def _rows(file: Path) -> Iterator[dict[str, Any]]:
    if not file.is_file():
        raise UsageError(f"there is no file {file}; {WRITE_AGAIN} {file}")
    try:
        yield from (json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip())
    except ValueError as error:
        raise UsageError(f"{file} does not hold a row of JSON on each line ({error}); {WRITE_AGAIN} {file}") from error


@dataclass(frozen=True)
class Again:
    """What a row of a baseline is measured again with."""

    bundle: Bundle
    setup: Setup
    workload: Workload


def measured_again(kept: Row, folder: Path) -> Again:
    """Take a row's settings, and refuse where what is measured now could not be compared with it.

    Raises:
        UsageError: the engine's library, the yardstick, the schema or a setting is not the row's.
        FoleyError: the bundle or the engine cannot be run.
    """
    what, how = kept["configuration"], kept.get("method", {})
    for name, now in identity().items():
        _refuse(name, how.get(name), now)
    setup, bundle = setup_from(how["options"]), load_bundle(folder)
    workload = Workload(what["seconds"], what["steps"], what["sampler"], what["guidance"], what["batch"])
    _refuse("library", how["library"], method(bundle, setup)["library"])
    for name, now in configured(bundle, setup, workload).items():
        _refuse(name, what.get(name), now)
    return Again(bundle, setup, workload)


def _refuse(name: str, then: object, now: object) -> None:
    if then != now:
        raise UsageError(f"the baseline's {name} is {then!r}, now it is {now!r}: not comparable; {WRITE_AGAIN}")
