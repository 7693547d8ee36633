"""Which form of the denoising graph is fastest on this CPU: attention, normalisation and layout, side by side.

    python -m foley_bench.forms BUNDLE --results bench/results/cpu.jsonl

Each form is a rewrite of the bundle's graph over the same weights. Every form runs beside the form that bundles ship
(MultiHeadAttention, InstanceNormalization, full optimisation), two in one process and in turn, on one guided step.
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click
import numpy as np
import onnx_ir as ir
import onnxruntime

from foley.bundle import Bundle, load_bundle
from foley.contract import DENOISE_STEP, NEXT_STATE, REPAINT, ROW_SLOT, TIMESTEP
from foley.verify import snr_db
from foley_bench.rows import append, row
from foley_export.dialect import attention_nodes, to_standard_onnx
from foley_export.storage import save_graph

Rewrite = Callable[[ir.Model], int]
"""Rewrites a graph in place; gives the number of places that changed."""


def as_shipped(model: ir.Model) -> int:
    """Leave the graph as bundles ship it for the CPU."""
    return len(attention_nodes(model))


def with_onnx_attention(model: ir.Model) -> int:
    """Spell attention as ONNX's own `Attention` (opset 23), which also takes [B,L,heads·D]."""
    nodes = attention_nodes(model)
    for node in nodes:
        heads = node.attributes["num_heads"].as_int()
        scale = node.attributes["scale"].as_float()
        attributes = {"q_num_heads": heads, "kv_num_heads": heads, "scale": scale}
        attention = ir.node("Attention", node.inputs[:3], attributes, name=node.name)
        _put(model.graph, node, attention)
    model.opset_imports[""] = 23
    return len(nodes)


def with_group_normalization(model: ir.Model) -> int:
    """Fold the five nodes around each InstanceNormalization to ONNX's `GroupNormalization` (opset 21)."""
    nodes = [node for node in model.graph if node.op_type == "InstanceNormalization"]
    for node in nodes:
        _fold_group_norm(model.graph, node)
    model.opset_imports[""] = 21
    return len(nodes)


def _fold_group_norm(graph: ir.Graph, norm: ir.Node) -> None:
    """Fold Reshape → InstanceNormalization → Reshape → Mul → Add; the tracer writes exactly these."""
    flat = _producer(norm.inputs[0])
    multiply = _consumer(_consumer(norm).outputs[0].producer())
    add = _consumer(multiply)
    groups = _constant(norm.inputs[1]).size
    scale, bias = (_vector(graph, value) for value in (multiply.inputs[1], add.inputs[1]))
    attributes = {"num_groups": groups, "epsilon": norm.attributes["epsilon"].as_float()}
    whole = ir.node("GroupNormalization", [flat.inputs[0], scale, bias], attributes, name=f"{norm.name}/folded")
    _put(graph, add, whole)


def _put(graph: ir.Graph, old: ir.Node, new: ir.Node) -> None:
    new.outputs[0].name = f"{new.name}/whole"
    graph.insert_before(old, new)
    ir.convenience.replace_all_uses_with(old.outputs[0], new.outputs[0])
    graph.remove(old, safe=True)


def _producer(value: ir.Value | None) -> ir.Node:
    node = value.producer() if value is not None else None
    if node is None:
        raise ValueError("a graph input stands where the tracer puts a node")
    return node


def _consumer(node: ir.Node | None) -> ir.Node:
    uses = list(node.outputs[0].uses()) if node is not None else []
    if len(uses) != 1:
        raise ValueError(f"expected one reader of {node}, got {len(uses)}")
    return uses[0].node


def _constant(value: ir.Value | None) -> np.ndarray[Any, np.dtype[Any]]:
    if value is None or value.const_value is None:
        raise ValueError(f"{value} is no constant")
    return value.const_value.numpy()


def _vector(graph: ir.Graph, value: ir.Value | None) -> ir.Value:
    """Give a [C,1,1] constant again as [C]."""
    array = _constant(value).reshape(-1).copy()
    tensor = ir.tensor(array, name=f"{value.name if value else ''}/vector")
    shape, kind = ir.Shape(array.shape), ir.TensorType(tensor.dtype)
    again = ir.Value(name=tensor.name, shape=shape, type=kind, const_value=tensor)
    graph.register_initializer(again)
    return again


FORMS: Final[dict[str, tuple[Rewrite, bool]]] = {
    "MultiHeadAttention, InstanceNormalization, blocked layout": (as_shipped, True),
    "decomposed attention": (to_standard_onnx, True),
    "Attention (opset 23)": (with_onnx_attention, True),
    "GroupNormalization (opset 21)": (with_group_normalization, True),
    "plain NCHW layout": (as_shipped, False),
}
"""Name → rewrite, and whether ONNX Runtime may lay out weights anew."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--columns", type=int, default=128, show_default=True, help="Latent columns, 80 ms each.")
@click.option("--only", multiple=True, type=click.Choice(list(FORMS)[1:]), help="Forms to compare; all by default.")
@click.option("--rounds", type=int, default=4, show_default=True)
@click.option("--threads", type=int, default=0, help="Cores for one operator; all by default.")
@click.option("--results", type=click.Path(path_type=Path), help="File of JSON lines that the rows are added to.")
def main(bundle: Path, columns: int, only: tuple[str, ...], rounds: int, threads: int, results: Path | None) -> None:
    """Compare the forms of BUNDLE's denoising graph."""
    loaded = load_bundle(bundle, verify_files=False)
    feed = guided_step(loaded, columns)
    shipped, *others = FORMS
    for name in only or others:
        measured = _compare(loaded, shipped, name, feed, rounds, threads)
        measured["columns"], measured["rounds"] = columns, rounds
        click.echo(f"{name:<32} {measured['ratio']:.3f} of the shipped form's time, {measured['snr_db']:.0f} dB")
        if results:
            append(results, row("cpu graph form", {"bundle": loaded.manifest.source.name, "form": name}, measured))


def guided_step(bundle: Bundle, columns: int) -> dict[str, Any]:
    """Make inputs of one guided step of one clip: two rows."""
    generator = np.random.default_rng(0)
    sizes = {"S": 1, "R": 2, f"{bundle.manifest.latents.column_multiple}*n": columns}
    feed: dict[str, Any] = {}
    for tensor in bundle.graph(DENOISE_STEP).inputs:
        shape = [axis if isinstance(axis, int) else sizes[axis] for axis in tensor.shape]
        feed[tensor.name] = generator.standard_normal(shape).astype(np.float32)
    feed[ROW_SLOT] = np.zeros(2, np.int64)
    feed[TIMESTEP] = np.array([981.0], np.float32)
    feed[REPAINT] = np.ones_like(feed[REPAINT])
    return feed


def _compare(
    bundle: Bundle, shipped: str, other: str, feed: dict[str, Any], rounds: int, threads: int
) -> dict[str, Any]:
    """Run two forms in turn, each order as often, and give the ratio of their best times."""
    sessions = {name: _session(bundle, *FORMS[name], threads) for name in (shipped, other)}
    seconds: dict[str, list[float]] = {shipped: [], other: []}
    outputs = {}
    for index in range(rounds):
        for name in (shipped, other) if index % 2 == 0 else (other, shipped):
            begin = time.perf_counter()
            outputs[name] = sessions[name].run([NEXT_STATE], feed)[0]
            seconds[name].append(round(time.perf_counter() - begin, 3))
    ratios = sorted(b / a for a, b in zip(seconds[shipped], seconds[other], strict=True))
    return {
        "ratio": round(min(seconds[other]) / min(seconds[shipped]), 4),
        "median_ratio": round(ratios[len(ratios) // 2], 4),
        "shipped_s": seconds[shipped],
        "other_s": seconds[other],
        "snr_db": round(snr_db(outputs[shipped], outputs[other]), 1),
    }


def _session(bundle: Bundle, rewrite: Rewrite, layout: bool, threads: int) -> Any:  # noqa: ANN401
    """Load one form; the rewritten graph lies beside the weights only while it loads."""
    file = bundle.graph_file(DENOISE_STEP, "cpu")
    model = ir.load(file)
    if not rewrite(model):
        raise click.ClickException(f"{file.name} has nothing that {rewrite.__name__} could rewrite")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    levels = onnxruntime.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if layout else levels.ORT_ENABLE_EXTENDED
    with tempfile.NamedTemporaryFile(dir=file.parent, suffix=".onnx") as rewritten:
        save_graph(model, Path(rewritten.name))
        return onnxruntime.InferenceSession(rewritten.name, options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
