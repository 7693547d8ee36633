"""`foley check`: whether a bundle's graphs will parse in TensorRT, on a machine that has none."""

from pathlib import Path

import click

from foley.demo_bundle import demo_bundle
from foley.errors import FailureError, UsageError

INSTALL = "pip install '.[check]' in Foley's clone"


@click.command(short_help="Say whether TensorRT will parse a bundle, without it.")
@click.argument("bundle", type=click.Path(path_type=Path), required=False)
@click.option(
    "--target", default="tensorrt", show_default=True, help="tensorrt[:VERSION]; the newest known by default."
)
@click.option("--slots", default="1", show_default=True, help="Clips denoised together, as in 1,4,1..8.")
@click.option("--seconds", help="Lengths, as in 10.24,1..20.48; the bundle's default where left out.")
@click.option(
    "--memory", "memory_gib", type=click.FloatRange(min=0), metavar="GIB", help="Device memory; warns beyond."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def check(
    bundle: Path | None, target: str, slots: str, seconds: str | None, memory_gib: float | None, *, as_json: bool
) -> None:
    """Say whether each graph of BUNDLE will parse in TensorRT, by tables and rules; nothing is run.

    Without BUNDLE: the demo bundle.
    """
    _check_library()
    from foley.build_profiles import wishes
    from foley_export.preflight import report
    from foley_export.preflight.check import check_bundle, read_bundle
    from foley_export.preflight.target import parse_target

    parsed = parse_target(target)
    opened = read_bundle(bundle or demo_bundle())
    done = check_bundle(opened, parsed, wishes(opened.manifest, slots, seconds))
    click.echo(report.as_json(done, memory_gib) if as_json else "\n".join(report.lines(done, memory_gib)))
    failed = [found.graph for found in done.graphs if found.of("error")]
    if failed:
        raise FailureError(
            f"{parsed} will not take {', '.join(failed)} of {opened.folder}; what is wrong is listed above"
        )


def _check_library() -> None:
    try:
        import onnx  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "onnx":
            raise
        raise UsageError(f"foley check needs onnx, which is not installed; install it with: {INSTALL}") from error
