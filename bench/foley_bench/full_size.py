"""What a full-size model costs here: export, import, load, generation, memory, and the runtime's own share of a step.

    python -m foley_bench.checkpoints out/full --layout no-adapter --size full
    python -m foley_bench.full_size out/full --bundle out/full-bundle --results bench/results/cpu.jsonl

Every figure comes from a process of its own, so that memory peaks are that work's alone.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from foley.bundle import load_bundle
from foley_bench.rows import append, row

IMPORT_REPEATS: Final = 7
GIB: Final = 2**30


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path, exists=True))
@click.option("--bundle", type=click.Path(path_type=Path), required=True, help="Where the bundle goes.")
@click.option("--steps", type=int, default=3, show_default=True)
@click.option("--seconds", type=float, default=10.0, show_default=True)
@click.option("--results", type=click.Path(path_type=Path), help="File of JSON lines that the rows are added to.")
def main(checkpoint: Path, bundle: Path, steps: int, seconds: float, results: Path | None) -> None:
    """Export CHECKPOINT, generate from the bundle, and print and record what it cost."""
    configuration = {"checkpoint": checkpoint.name, "steps": steps, "seconds": seconds, "sampler": "pndm", "clips": 1}
    shutil.rmtree(bundle, ignore_errors=True)
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "import": measure_import,
        "export": lambda: measure_export(checkpoint, bundle),
        "bare onnxruntime": lambda: child("bare", bundle, steps, seconds),
        "generate": lambda: child("generate", bundle, steps, seconds),
    }
    figures: dict[str, dict[str, Any]] = {}
    for name, measure in measures.items():
        figures[name] = measure()
        click.echo(f"{name}: {json.dumps(figures[name])}")
    ratio = figures["generate"]["peak_gib"] / figures["bare onnxruntime"]["peak_gib"]
    figures["memory"] = {"peak_over_bare": round(ratio, 3), "weights_gib": weights_gib(bundle)}
    click.echo(f"memory: {json.dumps(figures['memory'])}")
    if results:
        append(results, row("full size on cpu", configuration, figures))


def measure_import() -> dict[str, Any]:
    """Time `import foley` in fresh interpreters, the interpreter's own start taken off."""
    code = "import time; t = time.perf_counter(); import foley; print(time.perf_counter() - t)"
    seconds = [float(_run([sys.executable, "-c", code])[0]) for _ in range(IMPORT_REPEATS)]
    return {"best_s": round(min(seconds), 3), "median_s": round(sorted(seconds)[len(seconds) // 2], 3)}


def measure_export(checkpoint: Path, bundle: Path) -> dict[str, Any]:
    """Export in a process of its own."""
    command = [sys.executable, "-m", "foley", "export", str(checkpoint), "-o", str(bundle)]
    begin = time.perf_counter()
    _, peak = _run(command)
    return {"seconds": round(time.perf_counter() - begin, 1), "peak_gib": peak}


def child(kind: str, bundle: Path, steps: int, seconds: float) -> dict[str, Any]:
    """Run one of this file's own measurements in a process of its own."""
    command = [sys.executable, "-m", "foley_bench.full_size_child", kind, str(bundle), str(steps), str(seconds)]
    output, peak = _run(command)
    return {**json.loads(output), "peak_gib": peak}


def weights_gib(bundle: Path) -> float:
    """Give the size of all weights."""
    manifest = load_bundle(bundle, verify_files=False).manifest
    files = {graph.weights for graph in manifest.graphs.values()}
    return round(sum(manifest.files[file].bytes for file in files) / GIB, 3)


def _run(command: list[str]) -> tuple[str, float]:
    """Run a command; give its output and its peak resident memory in GiB."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 — our own modules
    output = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise click.ClickException(f"{' '.join(command[:4])} … ended with {process.returncode}")
    return output, round(usage.ru_maxrss * 1024 / GIB, 3)


if __name__ == "__main__":
    main()
