"""What is on record of a bundle's plans, for people and as JSON."""

from collections.abc import Iterator
from pathlib import Path

import msgspec

from foley.bundle import Bundle
from foley.graph_files import graph_file
from foley_engines import TensorRtSetup
from foley_engines.plans.record import Record
from foley_engines.plans.store import PlanStore
from foley_engines.profiles import Sizes, describe

MIB = 1 << 20


def plan_lines(bundle: Bundle, plans: Path | None, *, layers: bool, as_json: bool) -> Iterator[str]:
    """Give the lines on every plan of a bundle, by graph.

    Raises:
        EngineError: `layers` are wanted, and a plan does not load.
        EngineUnavailableError: `layers` are wanted, and TensorRT cannot run here.
    """
    store = PlanStore(plans or graph_file(bundle, next(iter(bundle.manifest.graphs))).plans_folder("tensorrt"))
    records = [record for name in bundle.manifest.graphs for record in store.records(name)]
    if layers:
        yield from _layers(bundle, plans, records)
    elif as_json:
        yield from (msgspec.json.encode(record).decode() for record in records)
    elif records:
        yield from (line for record in records for line in _record(record))
    else:
        yield f"{store.folder} holds no plan; build them with: foley build {bundle.folder}"


def plan_line(record: Record) -> str:
    """Word a plan in one line."""
    worst = min(figure.snr_db for figure in record.verified.figures)
    sizes = describe({symbol: Sizes(*each) for symbol, each in record.profile.items()})
    return (
        f"{record.graph:<16} {sizes:<20} {record.bytes / MIB:8.1f} MiB  {record.build_s:6.1f} s  "
        f"SNR {worst:5.1f} dB against {record.verified.against} (floor {record.verified.floor_db:g})"
    )


def _record(record: Record) -> list[str]:
    parts = ", ".join(f"{name} {value[:12]}" for name, value in record.parts.items() if name != "profile")
    memory = f"{record.scratch_bytes / MIB:.1f} MiB of scratch memory"
    return [plan_line(record), f"    {record.plan}, {memory}", f"    {parts}"]


def _layers(bundle: Bundle, plans: Path | None, records: list[Record]) -> Iterator[str]:
    """Load each plan and give TensorRT's own report of it."""
    from foley_engines.tensorrt.host import TensorRtHost

    with TensorRtHost(TensorRtSetup(plans=plans, build=False)) as host:
        for record in records:
            yield host.keeper(graph_file(bundle, record.graph)).layers(record)
