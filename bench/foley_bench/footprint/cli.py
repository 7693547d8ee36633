"""`foley bench footprint`."""

import json
import platform
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import click

from foley.bundle import Bundle, load_bundle
from foley.demo_bundle import demo_bundle
from foley.errors import UsageError
from foley.request import Request, make_request
from foley_bench.build import PROMPTS, bundle_bytes, configuration
from foley_bench.footprint.environment import (
    ROOT,
    Environment,
    diffusers_environment,
    foley_environments,
    megabytes,
)
from foley_bench.footprint.starts import (
    Contestant,
    clock_imports,
    clock_starts,
    diffusers_contestant,
    foley_contestant,
    verified,
)
from foley_bench.footprint.table import footprint_table
from foley_bench.options import write_results
from foley_bench.rows import row
from foley_engines import CpuSetup

EXTRAS: Final = ("cpu", "cuda", "tensorrt", "check", "export")
STARTED: Final = "cpu"
"""The extra whose environment is imported and started; of the others only the size is measured."""
DEMO_CHECKPOINT: Final = ROOT / "export" / "foley_export" / "demo_model" / "checkpoint"
IMPORTS: Final = 7
STARTS: Final = 5


@dataclass(frozen=True)
class Peer:
    """diffusers, as it is to be measured."""

    python: Path | None
    """None: it is installed."""
    checkpoint: Path


@click.command(short_help="Installed size, import time, memory and cold start.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option("--extras", default=STARTED, show_default=True, help=f"Extras, as in cpu,check: {', '.join(EXTRAS)}.")
@click.option("--threads", type=click.IntRange(min=1), help="Cores for one operator; all by default.")
@click.option("--with", "beside", type=click.Choice(["diffusers"]), help="Measure it too, in turn.")
@click.option("--peer-python", type=click.Path(path_type=Path), help="A Python that has it; else it is installed.")
@click.option("--checkpoint", type=click.Path(path_type=Path), help="What it loads; the demo's by default.")
@click.option("--repeats", type=click.IntRange(min=1), default=STARTS, show_default=True, help="Cold starts.")
@click.option("--results", type=click.Path(path_type=Path, dir_okay=False), help="File of JSON lines to add to.")
@click.option("--json", "as_json", is_flag=True, help="Print the row as a JSON line.")
def footprint(
    bundle: Path | None,
    extras: str,
    threads: int | None,
    beside: str | None,
    peer_python: Path | None,
    checkpoint: Path | None,
    repeats: int,
    results: Path | None,
    *,
    as_json: bool,
) -> None:
    """Install the runtime into an environment of its own, and measure what it takes up to the first sound.

    In a checkout, a wheel of it; else Foley is taken as it is installed. BUNDLE, or the demo, is started on the CPU.
    """
    peer = _peer(beside, peer_python, checkpoint, bundle)
    wanted = _extras(extras)
    opened = load_bundle(bundle or demo_bundle())
    with tempfile.TemporaryDirectory(prefix="foley-footprint-") as folder:
        environments = foley_environments(Path(folder), wanted)
        other = None if peer is None else diffusers_environment(Path(folder) / "diffusers", peer.python)
        measured = measure_footprint(opened, environments, peer, other, threads, repeats)
    write_results(results, measured)
    click.echo(json.dumps(measured) if as_json else footprint_table(measured))


def _extras(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in EXTRAS]
    if unknown or STARTED not in names:
        raise UsageError(f"--extras {text}: expected {STARTED}, and others of {', '.join(EXTRAS)} after commas")
    return names


def _peer(beside: str | None, python: Path | None, checkpoint: Path | None, bundle: Path | None) -> Peer | None:
    if beside is None:
        if python is not None or checkpoint is not None:
            raise UsageError("--peer-python and --checkpoint are for a peer; add --with diffusers")
        return None
    if bundle is not None and checkpoint is None:
        raise UsageError("--with diffusers loads the demo's checkpoint, not that of BUNDLE; name it: --checkpoint")
    found = checkpoint or DEMO_CHECKPOINT
    if not (found / "model_index.json").is_file():
        raise UsageError(f"{found} is no checkpoint of diffusers: it has no model_index.json; name one: --checkpoint")
    return Peer(python, found.resolve())


def measure_footprint(
    bundle: Bundle,
    environments: Mapping[str, Environment],
    peer: Peer | None,
    other: Environment | None,
    threads: int | None,
    repeats: int,
) -> dict[str, Any]:
    """Measure a row of footprint: fidelity, imports and cold starts in turn; sizes were measured when it was installed.

    Raises:
        FoleyError: something does not run.
    """
    own, folder = environments[STARTED], bundle.folder.resolve()
    request = make_request(bundle.manifest.defaults, PROMPTS[0], max_batch=1)
    snr_db = verified(own.python, folder, threads)
    contestants = {"foley": foley_contestant(own.python, folder, threads)}
    if peer is not None and other is not None:
        contestants["diffusers"] = diffusers_contestant(other.python, peer.checkpoint, bundle, request, threads)
    started = _started(contestants, repeats)
    figures = {
        "extras": {extra: each.figures() for extra, each in environments.items()},
        "bundle_mb": megabytes(bundle_bytes(folder)),
        **started["foley"],
    }
    if peer is not None and other is not None:
        size = megabytes(bundle_bytes(peer.checkpoint))
        figures["diffusers"] = {**other.figures(), "checkpoint_mb": size, **started["diffusers"]}
    return row("footprint", _what(bundle, request, threads), figures, fidelity=snr_db, method=_method(own, other))


def _started(contestants: Mapping[str, Contestant], repeats: int) -> dict[str, dict[str, Any]]:
    imports, starts = clock_imports(contestants, IMPORTS), clock_starts(contestants, repeats)
    return {name: {"import_s": imports[name].rounded(), "cold_start": starts[name]} for name in contestants}


def _what(bundle: Bundle, request: Request, threads: int | None) -> dict[str, Any]:
    return {**configuration(bundle, CpuSetup(threads), request), "extra": STARTED}


def _method(own: Environment, other: Environment | None) -> dict[str, Any]:
    installed = {"foley": own.versions()} | ({} if other is None else {"diffusers": other.versions()})
    return {"python": platform.python_version(), "installed": installed}
