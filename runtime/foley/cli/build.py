"""`foley build`: plans of every graph, verified, before anybody waits for them."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import click
import msgspec

from foley.build_profiles import Rows, Wish, profiles_of, wishes
from foley.bundle import Bundle, load_bundle
from foley.cli.engine import Teller
from foley.cli.plans import plan_line
from foley.errors import UsageError
from foley.graph_files import graph_file
from foley_engines import BuildOptions, TensorRtSetup
from foley_engines.plans.record import Record
from foley_engines.profiles import describe
from foley_engines.setups import Portable, Tiling

if TYPE_CHECKING:
    from foley_engines.tensorrt.bisect import Departure


@click.command(short_help="Build and verify engines for this machine's GPU.")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--engine", type=click.Choice(["tensorrt"]), default="tensorrt", show_default=True, help="What to build.")
@click.option("--slots", help="Clips at a time, such as 1, 1,4 or 1..8; 1 by default.")
@click.option("--seconds", help="Lengths, such as 10.24 or 1..20.48; the bundle's own by default.")
@click.option("--rows", type=click.Choice(get_args(Rows)), help="With guidance, without, or both.")
@click.option("--graph", "graphs", multiple=True, help="Build this graph only; repeat for more.")
@click.option("--refit", is_flag=True, help="Put this bundle's weights into plans that differ in nothing else.")
@click.option("--bisect", is_flag=True, help="Find the first tensor that departs from ONNX Runtime; keep no plan.")
@click.option("--force", is_flag=True, help="Build again what is there already.")
@click.option("--refittable", is_flag=True, help="Make plans that take other weights later; a little slower.")
@click.option("--strip", is_flag=True, help="Leave the weights out of the plans; loading takes them from the bundle.")
@click.option(
    "--portable", type=click.Choice(get_args(Portable)), default="no", show_default=True, help="GPUs to run on."
)
@click.option("--version-compatible", is_flag=True, help="Let later TensorRT versions run the plans.")
@click.option("--level", type=int, default=3, show_default=True, help="0 builds fast, 5 runs fast.")
@click.option("--tiling", type=click.Choice(get_args(Tiling)), default="none", show_default=True)
@click.option("--workspace", type=int, metavar="MIB", help="Most scratch memory a kernel may take.")
@click.option("--aux-streams", type=int, help="Streams beside the first; 0 takes the least memory.")
@click.option("--tf32", is_flag=True, help="Round float32 products to TF32.")
@click.option("--device", type=click.IntRange(min=0), default=0, show_default=True, help="Number of the CUDA device.")
@click.option("--plans", type=click.Path(path_type=Path), help="Folder of plans; in the bundle by default.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON line for each plan.")
def build(
    bundle: Path,
    engine: str,  # noqa: ARG001 — one choice as yet
    slots: str | None,
    seconds: str | None,
    rows: Rows | None,
    graphs: tuple[str, ...],
    portable: Portable,
    level: int,
    tiling: Tiling,
    workspace: int | None,
    aux_streams: int | None,
    device: int,
    plans: Path | None,
    *,
    refit: bool,
    bisect: bool,
    force: bool,
    refittable: bool,
    strip: bool,
    version_compatible: bool,
    tf32: bool,
    as_json: bool,
) -> None:
    """Build the engines of BUNDLE for this machine's GPU, and verify each against torch.

    One plan a graph for each value of --slots, --seconds and --rows. What is there and fits is kept.
    """
    options = BuildOptions(
        level=level, workspace_mib=workspace, tiling=tiling, portable=portable, version_compatible=version_compatible,
        refittable=refittable or refit, stripped=strip, tf32=tf32, aux_streams=aux_streams,
    )  # fmt: skip
    setup = TensorRtSetup(device, plans=plans, options=options, host_code=version_compatible, tell=Teller())
    loaded = load_bundle(bundle)
    wanted, chosen = wishes(loaded.manifest, slots, seconds, rows), _chosen(loaded, graphs)
    if bisect:
        for line in _departures(loaded, setup, wanted, chosen):
            click.echo(line)
        return
    for record in _built(loaded, setup, wanted, chosen, refit=refit, force=force):
        click.echo(msgspec.json.encode(record).decode() if as_json else plan_line(record))


def _chosen(bundle: Bundle, graphs: tuple[str, ...]) -> list[str]:
    known = list(bundle.manifest.graphs)
    unknown = [name for name in graphs if name not in known]
    if unknown:
        raise UsageError(f"--graph: there is no graph {unknown[0]!r}; the bundle has {', '.join(known)}")
    return [name for name in known if name in graphs or not graphs]


def _built(
    bundle: Bundle, setup: TensorRtSetup, wished: list[Wish], graphs: list[str], *, refit: bool, force: bool
) -> Iterator[Record]:
    from foley_engines.tensorrt.host import TensorRtHost

    wanted = profiles_of(bundle.manifest, graphs, wished)
    with TensorRtHost(setup) as host:
        for name in graphs:
            keeper = host.keeper(graph_file(bundle, name))
            for profile in wanted[name]:
                kept = None if force or refit else keeper.find(profile)
                yield kept or (keeper.refit(profile) if refit else keeper.build(profile))


def _departures(bundle: Bundle, setup: TensorRtSetup, wished: list[Wish], graphs: list[str]) -> Iterator[str]:
    """Say for every graph and profile where it departs."""
    from foley_engines.tensorrt.bisect import bisect
    from foley_engines.tensorrt.host import TensorRtHost

    wanted = profiles_of(bundle.manifest, graphs, wished)
    with TensorRtHost(setup) as host:
        for name in graphs:
            keeper = host.keeper(graph_file(bundle, name))
            for profile in wanted[name]:
                yield f"{name} {describe(profile)}: {_departure(bisect(host, keeper, profile))}"


def _departure(found: "Departure | None") -> str:
    if found is None:
        return "every tensor that was looked at holds"
    before = f", after {found.before}, which holds" if found.before else ""
    return f"{found.tensor} departs first: {found.snr_db:.1f} dB against ONNX Runtime{before}"
