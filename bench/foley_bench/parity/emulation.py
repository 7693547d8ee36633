"""A bf16 bundle as one that CPUs run: float32 arithmetic that rounds where bfloat16 would."""

import shutil
from pathlib import Path

import msgspec

from foley.bundle import load_bundle, record_files, write_manifest
from foley.manifest import Graph
from foley_export.precision.emulate import emulated


def emulate_bundle(folder: Path, place: Path) -> Path:
    """Copy a bundle to `place` with emulations for its bf16 graphs; its manifest calls them fp32, as they compute."""
    shutil.copytree(folder, place)
    manifest = load_bundle(place).manifest
    graphs = {name: _emulated_graph(place, graph) for name, graph in manifest.graphs.items()}
    renamed = msgspec.structs.replace(manifest, precision="fp32", graphs=graphs, files=record_files(place))
    write_manifest(place, renamed)
    return place


def _emulated_graph(place: Path, graph: Graph) -> Graph:
    if graph.precision != "bf16":
        return graph
    with emulated(place / graph.file) as made:
        shutil.copyfile(made, place / graph.file)
    return msgspec.structs.replace(graph, precision="fp32", engines={}, float32_nodes=())
