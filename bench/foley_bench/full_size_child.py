"""The measured processes of `full_size`: generation through Foley, and the same graphs in bare ONNX Runtime."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

import foley
from foley.bundle import Bundle, load_bundle
from foley_engines.onnxruntime_cpu_session import CpuSession


def generate(bundle: Path, steps: int, seconds: float) -> dict[str, Any]:
    """Generate one clip and split a step's time into the engine's and the runtime's own."""
    engine_s = _timed_runs()
    begin = time.perf_counter()
    with foley.load(bundle, verify_files=False) as pipeline:
        request = pipeline.request("a dog barking in the rain", steps=steps, seconds=seconds)
        generation = pipeline.start(request)
        pipeline.graph("denoise_step")
        loaded_s = time.perf_counter() - begin
        engine_s.clear()
        for _ in generation:
            pass
        inside_s = sum(engine_s)
        clip = generation.clips()[0]
    total_s = clip.timings.denoise_ms / 1e3
    return {
        "load_s": round(loaded_s, 2),
        "step_s": round(total_s / clip.timings.steps, 3),
        "own_share_of_step": round((total_s - inside_s) / total_s, 6),
        "own_us_per_step": round((total_s - inside_s) / clip.timings.steps * 1e6, 1),
        "latent_decoder_s": round(clip.timings.latent_decoder_ms / 1e3, 2),
        "vocoder_s": round(clip.timings.vocoder_ms / 1e3, 2),
        "samples": len(clip.samples),
        "rms": round(float(np.sqrt(np.mean(clip.samples**2))), 4),
    }


def bare(bundle: Path, _: int, seconds: float) -> dict[str, Any]:
    """Load the same graphs with ONNX Runtime alone and run each once at the same shapes: weights and one run."""
    import onnxruntime

    loaded = load_bundle(bundle, verify_files=False)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    sessions = {
        name: onnxruntime.InferenceSession(str(loaded.graph_file(name, "cpu")), options, ["CPUExecutionProvider"])
        for name in loaded.manifest.graphs
    }
    for name, session in sessions.items():
        session.run(None, _feed(loaded, name, seconds))
    return {"graphs": len(sessions)}


def _feed(bundle: Bundle, graph: str, seconds: float) -> dict[str, Any]:
    latents, audio = bundle.manifest.latents, bundle.manifest.audio
    multiple = latents.column_multiple
    columns = -(-round(seconds * audio.sample_rate_hz) // (audio.hop_samples * latents.frames_per_column))
    columns = -(-columns // multiple) * multiple
    frames = columns * latents.frames_per_column
    sizes = {"S": 1, "R": 2, "B": 1, "L": 77, "W": columns, f"{multiple}*n": columns, "T": frames}
    types = {"float32": np.float32, "int64": np.int64}
    return {
        tensor.name: np.zeros([sizes.get(str(axis), axis) for axis in tensor.shape], types[tensor.dtype])
        for tensor in bundle.graph(graph).inputs
    }


def _timed_runs() -> list[float]:
    """Make every engine run leave its seconds in a list."""
    seconds: list[float] = []
    run = CpuSession.run

    def timed(self: CpuSession) -> None:
        begin = time.perf_counter()
        run(self)
        seconds.append(time.perf_counter() - begin)

    CpuSession.run = timed  # type: ignore[method-assign]
    return seconds


if __name__ == "__main__":
    kind, folder, steps_text, seconds_text = sys.argv[1:]
    measure = {"generate": generate, "bare": bare}[kind]
    sys.stdout.write(json.dumps(measure(Path(folder), int(steps_text), float(seconds_text))))
