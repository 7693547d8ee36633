"""The stages of a clip: what each has to do, and how long an engine takes for it."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import onnx

from foley.build_profiles import Rows, profiles_of, wishes
from foley.bundle import Bundle
from foley.graph_files import graph_file
from foley.request import Request
from foley_bench.roofline.count import count
from foley_bench.roofline.limits import Counts, counts_of
from foley_bench.timing import Spread, clocked_ms, repeated, spread
from foley_engines import Host, Session, Setup, TensorSpec, open_host
from foley_engines.profiles import exactly, span, symbols_of, usual

SizesByGraph = Mapping[str, Mapping[str, int]]


def stage_sizes(bundle: Bundle, request: Request) -> dict[str, dict[str, int]]:
    """Give the sizes of every graph's axes: a denoising step of the whole batch, else one prompt and one clip.

    Raises:
        UsageError: the bundle has graphs of another length or batch.
    """
    manifest = bundle.manifest
    rows: Rows = "guided" if request.guidance > 1 else "unguided"
    wanted = wishes(manifest, str(request.max_batch), str(request.seconds), rows)
    return {name: usual(profiles[0]) for name, profiles in profiles_of(manifest, list(manifest.graphs), wanted).items()}


def count_stages(bundle: Bundle, sizes: SizesByGraph) -> dict[str, Counts]:
    """Count every graph in its standard spelling; weights are not read.

    Raises:
        BundleError: a graph cannot be counted.
    """
    files = {name: bundle.folder / bundle.graph(name).file for name in sizes}
    models = ((name, onnx.load(file, load_external_data=False)) for name, file in files.items())
    return {name: counts_of(count(model, sizes[name])) for name, model in models}


def time_stages(
    bundle: Bundle, setup: Setup, sizes: SizesByGraph, repeats: int, budget_s: float | None
) -> dict[str, Spread]:
    """Run every graph by itself on inputs of the model's range; give its milliseconds, one run at a time.

    `budget_s` is for each graph.

    Raises:
        EngineUnavailableError: the engine cannot run here.
        EngineError: a graph does not load or run.
    """
    with open_host(setup) as host:
        return {name: _time(bundle, host, name, each, repeats, budget_s) for name, each in sizes.items()}


def _time(
    bundle: Bundle, host: Host, name: str, sizes: Mapping[str, int], repeats: int, budget_s: float | None
) -> Spread:
    with _bound(bundle, host, name, sizes) as session:
        return spread(repeated(lambda _: _run_ms(session), repeats, budget_s))


def _run_ms(session: Session) -> float:
    found: dict[str, float] = {}
    with clocked_ms(found, "run"):
        session.run()
        session.wait()
    return found["run"]


@contextmanager
def _bound(bundle: Bundle, host: Host, name: str, sizes: Mapping[str, int]) -> Iterator[Session]:
    """Open a graph and bind it to examples of the sizes, and outputs too where these decide their shapes."""
    graph = bundle.graph(name)
    specs = [TensorSpec(each.name, each.dtype, each.shape) for each in (*graph.inputs, *graph.outputs)]
    known = [spec for spec in specs if all(symbol in sizes for symbol in symbols_of([spec]))]
    shapes = {spec.name: span(spec, exactly(sizes))[0] for spec in known}
    file = graph_file(bundle, name)
    with host.open(file) as engine:
        engine.prepare([shapes])
        session = engine.bind(**shapes)
        for tensor, array in (file.example(sizes) if file.example else {}).items():
            session[tensor].write(array)
        yield session
