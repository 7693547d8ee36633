"""Checkpoint to bundle: each graph is built, recorded, traced, stored and checked before the next."""

import gc
import importlib.metadata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Literal

import msgspec
import numpy as np
import onnx_ir as ir

from foley.bundle import ENGINES, new_folder, record_files, write_manifest
from foley.errors import UsageError, VerificationError
from foley.manifest import SCHEMA_VERSION, Graph, Manifest, Precision, Source, Tensor
from foley.verify import GraphReport
from foley_engines import Array
from foley_engines.plans.carry import carry_over
from foley_export.calibration import Rehearsal
from foley_export.checkpoint import Checkpoint
from foley_export.defaults import DefaultKnobs
from foley_export.digests import Digests
from foley_export.golden import Recording, record, write_recording
from foley_export.half_weights import narrow, round_to_half
from foley_export.lora import Lora
from foley_export.model import Axes, GraphPlan, Model
from foley_export.parameters import write_parameters
from foley_export.precision.lower import lower
from foley_export.precision.measure import Sample
from foley_export.precision.operators import HalfPrecision
from foley_export.spellings import check_spellings, count_fused, store_spellings
from foley_export.storage import WeightsFile
from foley_export.structure import structure_digest
from foley_export.systems import read_model
from foley_export.trace import trace

GRAPHS: Final = "graphs"
GOLDEN: Final = "golden"
LIBRARIES: Final = ("foley", "torch", "diffusers", "transformers", "onnxruntime", "onnxscript")

EXACT_DB: Final = 300.0
"""What the manifest says of a graph without any error; JSON has no infinity."""

Tell = Callable[[str, str], None]
"""(graph, what is being done to it)"""


@dataclass(frozen=True)
class Options:
    """What the caller of an export may choose.

    Raises:
        UsageError: half graphs with weights stored in another precision than theirs.
    """

    precision: Precision = "fp32"
    weights: Precision | None = None
    """How the graphs of an fp32 bundle store their weights, which "fp16" rounds. None: as they compute."""
    defaults: DefaultKnobs = field(default_factory=DefaultKnobs)
    """What requests get where they say nothing."""
    loras: tuple[Lora, ...] = ()
    replace: bool = False
    """Whether an older bundle at the target gives way."""

    def __post_init__(self) -> None:
        own = self.precision
        if own != "fp32" and self.weights not in (None, own):
            raise UsageError(
                f"graphs of --precision {own} hold their weights in {own}; leave --weights {self.weights} out"
            )

    def stored(self, precision: Precision) -> Precision:
        """Give how a graph of a precision stores its weights."""
        return "fp16" if (self.precision, self.weights) == ("fp32", "fp16") else precision


def export(checkpoint: Checkpoint, target: Path, options: Options, tell: Tell = lambda *_: None) -> Manifest:
    """Export a checkpoint to a bundle at `target`, which appears only when every graph has been checked.

    Raises:
        CheckpointError: the checkpoint is incomplete, damaged or of an unknown layout, or a weight that is to be stored
            in half is beyond its range.
        RequestError: the sampler that is to be the default cannot do the checkpoint's schedule.
        UsageError: the target exists or cannot be written, the disk is full included.
        VerificationError: a graph in ONNX Runtime departs from torch.
    """
    model = read_model(checkpoint, options.loras)
    model = replace(model, defaults=options.defaults.over(model.defaults, model.schedule))
    with new_folder(target, replace=options.replace) as folder, Digests() as digests:
        for file in checkpoint.files():
            digests.begin(file)
        manifest = _write_bundle(model, checkpoint, Workshop(folder, options, digests, tell))
        _keep_plans(target, folder, tell)
        return manifest


def _keep_plans(former: Path, folder: Path, tell: Tell) -> None:
    """Let the plans of an older bundle that take other weights stay: `foley build --refit` needs them."""
    for engine in sorted((former / ENGINES).glob("*/")):
        kept = carry_over(engine, folder / ENGINES / engine.name)
        if kept:
            tell(engine.name, f"keeping {kept} refittable plan{'s' if kept > 1 else ''} of the older bundle")


@dataclass(frozen=True)
class Workshop:
    """Where a bundle grows, and who is told."""

    folder: Path
    options: Options
    digests: Digests
    tell: Tell
    rehearsal: Rehearsal = field(default_factory=Rehearsal)


def _write_bundle(model: Model, checkpoint: Checkpoint, workshop: Workshop) -> Manifest:
    (workshop.folder / GRAPHS).mkdir()
    (workshop.folder / GOLDEN).mkdir()
    for name, write in model.tokenizers.items():
        workshop.tell("tokenizer", name)
        write(workshop.folder / name)
    wanted = workshop.options.precision
    graphs = {plan.name: _export_graph(plan, model.precision(plan, wanted), workshop) for plan in model.graphs}
    workshop.tell("bundle", "digesting files")
    manifest = _manifest(model, checkpoint, workshop, graphs)
    write_manifest(workshop.folder, manifest)
    return manifest


def _export_graph(plan: GraphPlan, precision: Precision, workshop: Workshop) -> Graph:
    stored = workshop.options.stored(precision)
    traced, recording = _traced(plan, precision, stored, workshop)
    samples = workshop.rehearsal.samples(plan, recording)
    workshop.rehearsal.learn(plan, recording)
    if precision != "fp32":
        with _set_aside(traced, workshop.folder / GRAPHS / f"{plan.name}.float32"):
            half = _half_graph(plan, precision, traced.clone(), recording, samples, workshop)
            if half is not None:
                return half
            ir.external_data.load_to_model(traced)
        precision, stored = "fp32", workshop.options.stored("fp32")
    graph, report = _finished(plan, (precision, stored), traced, recording, workshop)
    if not report.passed:
        raise VerificationError(f"{plan.name}: {_below(report)}; no bundle was written")
    return graph


def _below(report: GraphReport) -> str:
    return (
        f"ONNX Runtime gives {report.snr_db:.1f} dB against torch, the floor of {report.precision} is "
        f"{report.floor_db:g} dB"
    )


@contextmanager
def _set_aside(traced: ir.Model, path: Path) -> Iterator[None]:
    """Keep a graph's float32 weights in a file, and out of memory, while half is tried."""
    with WeightsFile(path) as weights:
        weights.store(traced)
    try:
        yield
    finally:
        path.unlink()


def _half_graph(
    plan: GraphPlan,
    precision: HalfPrecision,
    traced: ir.Model,
    recording: Recording,
    samples: Sequence[Sample],
    workshop: Workshop,
) -> Graph | None:
    """Convert a graph and finish it; None, and why is told, where it has to stay float32 as a whole."""
    workshop.tell(plan.name, "measuring activations")
    lowered = lower(traced, precision, samples, workshop.folder / GRAPHS)
    workshop.tell(plan.name, str(lowered))
    if not lowered.lowered:
        return None
    ir.external_data.load_to_model(traced)
    graph, report = _finished(plan, (precision, precision), traced, recording, workshop)
    if report.passed:
        return msgspec.structs.replace(graph, float32_nodes=tuple(lowered.measured))
    workshop.tell(plan.name, f"stays float32 as a whole: {_below(report)}")
    for file in (workshop.folder / GRAPHS).glob(f"{plan.name}.*onnx"):
        file.unlink()
    return None


def _finished(
    plan: GraphPlan,
    precisions: tuple[Precision, Precision],
    traced: ir.Model,
    recording: Recording,
    workshop: Workshop,
) -> tuple[Graph, GraphReport]:
    """Store a graph that computes in the first precision and stores its weights in the second, and check it."""
    workshop.tell(plan.name, "storing")
    engines = store_spellings(traced, precisions[0], workshop.folder / GRAPHS / plan.name)
    gc.collect()
    graph = _graph(plan, precisions, {engine: f"{GRAPHS}/{file}" for engine, file in engines.items()}, recording)
    structures, fused = _structures(graph, workshop.folder), count_fused(graph, workshop.folder)
    graph = msgspec.structs.replace(graph, structures=structures, fused=fused)
    if plan.lora_prefixes:
        graph = msgspec.structs.replace(graph, parameters=f"{GRAPHS}/{plan.name}.parameters.json")
        write_parameters(traced, plan.lora_prefixes, workshop.folder / str(graph.parameters))
    workshop.tell(plan.name, "checking against torch")
    report = check_spellings(plan.name, graph, workshop.folder, recording)
    if report.passed:
        workshop.digests.begin(workshop.folder / graph.weights)
    return _with_snr(graph, report.snr_db), report


def _traced(plan: GraphPlan, precision: Precision, stored: Precision, workshop: Workshop) -> tuple[ir.Model, Recording]:
    """Build a graph's module, record its output and trace it; the module is gone afterwards."""
    workshop.tell(plan.name, "reading weights")
    module = plan.build()
    if stored != precision:
        round_to_half(plan.name, module)  # before the recording, which is what the bundle has to compute
    workshop.tell(plan.name, "recording torch's output")
    recording = record(plan, module)
    write_recording(recording, workshop.folder / GOLDEN / f"{plan.name}.npz")
    workshop.tell(plan.name, "tracing")
    traced = trace(plan, module)
    if stored != precision:
        narrow(traced)
    return traced, recording


def _graph(
    plan: GraphPlan,
    precisions: tuple[Precision, Precision],
    engines: dict[str, str],
    recording: Recording,
) -> Graph:
    """Record a graph that computes in the first precision and stores its weights in the second."""

    def tensors(axes: dict[str, Axes]) -> tuple[Tensor, ...]:
        return tuple(Tensor(name=name, dtype=_dtype(recording[name]), shape=axes[name]) for name in axes)

    return Graph(
        file=f"{GRAPHS}/{plan.name}.onnx",
        weights=f"{GRAPHS}/{plan.name}.weights",
        engines=engines,
        precision=precisions[0],
        weights_precision=precisions[1],
        inputs=tensors(plan.inputs),
        outputs=tensors(plan.outputs),
        golden=f"{GOLDEN}/{plan.name}.npz",
        snr_db=0.0,
    )


def _structures(graph: Graph, folder: Path) -> dict[str, str]:
    """Digest each spelling without its weights' values."""
    return {file: structure_digest(ir.load(folder / file)) for file in (graph.file, *graph.engines.values())}


def _dtype(array: Array) -> Literal["float32", "int64"]:
    return "int64" if array.dtype == np.int64 else "float32"


def _with_snr(graph: Graph, snr_db: float) -> Graph:
    return msgspec.structs.replace(graph, snr_db=round(min(snr_db, EXACT_DB), 2))


def _manifest(model: Model, checkpoint: Checkpoint, workshop: Workshop, graphs: dict[str, Graph]) -> Manifest:
    digest = checkpoint.digest(workshop.digests)
    return Manifest(
        schema_version=SCHEMA_VERSION,
        system=model.system,
        precision=workshop.options.precision,
        source=Source(name=checkpoint.name, revision=checkpoint.revision, sha256=digest, loras=model.loras),
        created_by={name: _version(name) for name in LIBRARIES},
        audio=model.audio,
        latents=model.latents,
        conditioning=model.conditioning,
        schedule=model.schedule,
        defaults=model.defaults,
        graphs=graphs,
        files=record_files(workshop.folder, workshop.digests),
    )


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"
