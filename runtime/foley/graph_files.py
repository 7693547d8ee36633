"""A bundle's graphs as engines take them: files and digests, and inputs to verify an engine with."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Final, cast

import numpy as np

from foley import contract
from foley.build_profiles import profile_for
from foley.bundle import Bundle
from foley.floors import SNR_FLOOR_DB
from foley.loras import Overlay
from foley.manifest import Graph, Tensor
from foley_engines import Array, GraphFile, Spelling, TensorSpec
from foley_engines.profiles import split_axis

Arrays = Mapping[str, Array]

EXAMPLE_SEED: Final = 20240517


def graph_file(bundle: Bundle, name: str, overlay: Overlay | None = None) -> GraphFile:
    """Describe a graph of a bundle to engines, with LoRAs where an overlay holds its files.

    Raises:
        BundleError: the bundle has no such graph.
    """
    graph = bundle.graph(name)
    plain = _plain_file(bundle, name, graph)
    return plain if overlay is None or not overlay.covers(graph) else _with_loras(plain, bundle, graph, overlay)


def _plain_file(bundle: Bundle, name: str, graph: Graph) -> GraphFile:
    return GraphFile(
        name=name,
        folder=bundle.folder,
        standard=_spelling(bundle, graph, graph.file),
        spellings={engine: _spelling(bundle, graph, file) for engine, file in graph.engines.items()},
        weights=bundle.folder / graph.weights,
        weights_sha256=bundle.manifest.files[graph.weights].sha256,
        tensors=(_specs(graph.inputs), _specs(graph.outputs)),
        floor_db=SNR_FLOOR_DB[graph.precision],
        golden=partial(_golden, bundle, name),
        example=partial(_example, bundle, name),
        profile=partial(profile_for, bundle.manifest, name),
    )


def _with_loras(plain: GraphFile, bundle: Bundle, graph: Graph, overlay: Overlay) -> GraphFile:
    """Point a graph to an overlay's files; plans stay in the bundle, and torch recorded nothing of these weights."""

    def moved(spelling: Spelling) -> Spelling:
        return replace(spelling, path=overlay.folder / spelling.path.relative_to(bundle.folder))

    return replace(
        plain,
        standard=moved(plain.standard),
        spellings={engine: moved(spelling) for engine, spelling in plain.spellings.items()},
        weights=overlay.folder / graph.weights,
        weights_sha256=overlay.weights[graph.weights],
        golden=None,
        refit_only=True,
    )


def _spelling(bundle: Bundle, graph: Graph, file: str) -> Spelling:
    sha256, fused = bundle.manifest.files[file].sha256, graph.fused.get(file, {})
    return Spelling(bundle.folder / file, graph.structures.get(file), sha256, fused)


def _specs(tensors: tuple[Tensor, ...]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(tensor.name, tensor.dtype, tensor.shape) for tensor in tensors)


def _golden(bundle: Bundle, name: str) -> tuple[Arrays, Arrays]:
    """Give a graph's recorded inputs and outputs."""
    graph, recorded = bundle.graph(name), bundle.golden(name)
    return tuple({tensor.name: recorded[tensor.name] for tensor in part} for part in (graph.inputs, graph.outputs))  # type: ignore[return-value]


def _example(bundle: Bundle, name: str, sizes: Mapping[str, int]) -> Arrays:
    """Give inputs of other sizes: the recorded ones laid side by side and cut, so that their range is the model's."""
    graph, recorded = bundle.graph(name), bundle.golden(name)
    arrays = {tensor.name: _laid_out(recorded[tensor.name], _shape(tensor, sizes)) for tensor in graph.inputs}
    return {**arrays, **_rows(sizes)} if name == contract.DENOISE_STEP else arrays


def _shape(tensor: Tensor, sizes: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(axis if isinstance(axis, int) else _size(axis, sizes) for axis in tensor.shape)


def _size(axis: str, sizes: Mapping[str, int]) -> int:
    factor, symbol = split_axis(axis)
    return factor * sizes[symbol]


def _laid_out(array: Array, shape: tuple[int, ...]) -> Array:
    """Repeat an array along every axis and cut it to a shape."""
    for axis, size in enumerate(shape):
        array = np.take(array, np.arange(size) % array.shape[axis], axis=axis)
    return cast("Array", np.ascontiguousarray(array))


def _rows(sizes: Mapping[str, int]) -> Arrays:
    """Spread U-Net rows over clips evenly, each clip a weighted sum of its own."""
    clips, rows = sizes["S"], sizes["R"]
    slots = np.sort(np.arange(rows) % clips).astype(np.int64)
    rng = np.random.default_rng(EXAMPLE_SEED)
    weights = rng.uniform(0.5, 1.5, rows).astype(np.float32)
    mix = np.zeros((clips, rows), np.float32)
    mix[slots, np.arange(rows)] = weights
    return {contract.ROW_SLOT: slots, contract.ROW_MIX: mix}
