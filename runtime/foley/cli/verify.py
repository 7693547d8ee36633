"""`foley verify`: an engine against torch's recorded outputs."""

import json
from dataclasses import asdict
from math import isfinite
from pathlib import Path

import click

from foley.bundle import load_bundle
from foley.cli.engine import engine_options
from foley.demo_bundle import demo_bundle
from foley.errors import VerificationError
from foley.verify import GraphReport
from foley.verify import verify as verify_bundle
from foley_engines import Setup
from foley_engines.registry import check_engine, engine_of


@click.command(short_help="Compare an engine with torch's recorded outputs.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@engine_options
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each graph.")
def verify(setup: Setup, bundle: Path | None, *, as_json: bool) -> None:
    """Run every graph of BUNDLE on its recorded inputs and compare with torch's float32 outputs.

    Without BUNDLE: the demo bundle. In TensorRT: every plan that was built for this machine.
    """
    check_engine(setup)
    failed = []
    for report in verify_bundle(load_bundle(bundle or demo_bundle()), engine=setup):
        click.echo(json.dumps(_record(report)) if as_json else _line(report))
        failed += [] if report.passed else [report]
    if failed:
        first = failed[0]
        raise VerificationError(
            f"{first.graph} in engine {engine_of(setup).name}: {first.snr_db:.1f} dB against torch, "
            f"the floor of {first.precision} is {first.floor_db:g} dB; do not use this engine for this bundle"
        )


def _record(report: GraphReport) -> dict[str, object]:
    """Give a report for JSON, which has no infinity: null stands for one (no error at all, or no number at all)."""
    values = asdict(report) | {"passed": report.passed}
    return {name: None if isinstance(value, float) and not isfinite(value) else value for name, value in values.items()}


def _line(report: GraphReport) -> str:
    verdict = "ok" if report.passed else "BELOW THE FLOOR"
    return (
        f"{report.graph:<16} {report.precision}  SNR {report.snr_db:6.1f} dB (floor {report.floor_db:g})  "
        f"worst error {report.worst_error:.1e}  {verdict}"
    )
