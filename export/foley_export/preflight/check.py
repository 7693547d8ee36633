"""A bundle against a target: every graph in the spelling that the engine would take, under every rule."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import inliner

from foley.build_profiles import Wish, profile
from foley.bundle import MANIFEST, Bundle, load_bundle
from foley.errors import BundleError
from foley.manifest import decode
from foley_export.preflight.findings import Figures, Finding, GraphReport
from foley_export.preflight.rules import RULES
from foley_export.preflight.rules.attributes import unchecked
from foley_export.preflight.rules.strong_types import PRODUCTS, is_float32
from foley_export.preflight.rules.weights import weight_bytes
from foley_export.preflight.subject import Node, Subject
from foley_export.preflight.target import ENGINE, SPELLING_FROM, Target


@dataclass(frozen=True)
class Preflight:
    """What was found of a bundle."""

    target: Target
    wishes: tuple[Wish, ...]
    graphs: tuple[GraphReport, ...]

    @property
    def passed(self) -> bool:
        """Whether no rule found an error."""
        return not any(report.of("error") for report in self.graphs)

    @property
    def memory_bytes(self) -> int:
        """All weights, and the largest working set of a single node: graphs run one after another."""
        activations = max((report.figures.activation_bytes for report in self.graphs), default=0)
        return sum(report.figures.weight_bytes for report in self.graphs) + activations


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's manifest, whatever of its other files is there.

    Raises:
        BundleError: there is no manifest, or it cannot be read.
    """
    place = folder / MANIFEST
    if not place.is_file():
        return load_bundle(folder)  # which says what is missing
    try:
        return Bundle(folder, decode(place.read_bytes(), str(place)))
    except OSError as error:
        raise BundleError(f"{place} cannot be read: {error.strerror}") from error


def check_bundle(bundle: Bundle, target: Target, wishes: Sequence[Wish]) -> Preflight:
    """Check every graph of a bundle.

    Raises:
        BundleError: a graph's file is missing or no ONNX.
    """
    reports = tuple(check_graph(bundle, name, target, wishes) for name in bundle.manifest.graphs)
    return Preflight(target, tuple(wishes), reports)


def check_graph(bundle: Bundle, name: str, target: Target, wishes: Sequence[Wish]) -> GraphReport:
    """Check one graph for every wish.

    Raises:
        BundleError: its file is missing or no ONNX.
    """
    record = bundle.manifest.graphs[name]
    file = record.engines.get(ENGINE, record.file) if target.version >= SPELLING_FROM else record.file
    model = read_model(bundle.folder / file)
    findings: dict[Finding, None] = {}
    subjects = []
    for wish in wishes:
        sizes, problems = profile(bundle.manifest, name, record, wish)
        subject = Subject(name, bundle.folder / file, model, record, target, sizes)
        findings |= dict.fromkeys(subject.finding(problem.tensor, "profile", problem.message) for problem in problems)
        findings |= dict.fromkeys(finding for rule in RULES for finding in rule(subject))
        subjects.append(subject)
    return GraphReport(name, file, tuple(findings), _figures(subjects))


def read_model(file: Path) -> onnx.ModelProto:
    """Read a graph without its weights, model-local functions written out.

    Raises:
        BundleError: the file is missing or no ONNX.
    """
    try:
        model = onnx.load(file, load_external_data=False)
    except OSError as error:
        raise BundleError(f"{file} cannot be read: {error.strerror}; copy the bundle again") from error
    except DecodeError as error:
        raise BundleError(f"{file} is no ONNX file; copy the bundle again, or export it again") from error
    return inliner.inline_local_functions(model) if model.functions else model


def _figures(subjects: Sequence[Subject]) -> Figures:
    first = subjects[0]
    nodes = list(first.all_nodes())
    products = [node for node in first.nodes() if node.operator in PRODUCTS]
    return Figures(
        nodes=len(nodes),
        operators=len({(node.proto.domain, node.operator) for node in nodes}),
        opset=first.opset,
        unchecked_operators=unchecked(first),
        untyped_tensors=sum(not value.dtype or value.shape is None for value in first.values.values()),
        products=len(products),
        float32_products=sum(map(is_float32, products)),
        weight_bytes=weight_bytes(first.model),
        activation_bytes=max((_working_set(node) for subject in subjects for node in subject.nodes()), default=0),
    )


def _working_set(node: Node) -> int:
    """Sum what a node reads and writes, what is known before it runs apart."""
    read = sum(value.bytes for value in node.inputs if value is not None and value.origin == "data")
    return read + sum(value.bytes for value in node.outputs if value is not None)
