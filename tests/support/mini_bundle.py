"""A whole bundle of a few nodes a graph, written in milliseconds: no torch, no checkpoint."""

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper, parser
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from foley.bundle import record_files, write_manifest
from foley.manifest import (
    SCHEMA_VERSION,
    Audio,
    Conditioning,
    Defaults,
    Graph,
    LatentSpace,
    Manifest,
    Source,
    Tensor,
    TextEncoder,
)
from foley.manifest import Tokenizer as PromptTokenizer
from foley.schedule import NoiseSchedule
from support import mini_model as model

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
GRAPHS = {
    "text_encoder": """
text_encoder (int64[B,L] input_ids, float[B,L] token_mask) => (float[B,8,6] context) {
    embedded = Gather (embedding, input_ids)
    last = Constant <value_ints = [2]> ()
    mask = Unsqueeze (token_mask, last)
    masked = Mul (embedded, mask)
    begin = Constant <value_ints = [0]> ()
    end = Constant <value_ints = [8]> ()
    axis = Constant <value_ints = [1]> ()
    context = Slice (masked, begin, end, axis)
}""",
    "denoise_step": """
denoise_step (
    float[S,4,3,4,W] state, float[S,4,6] step_matrix, float[S] timestep, float[S,3,4,W] noise, int64[R] row_slot,
    float[S,R] row_mix, float[R,8,6] context, float[S,2,3,4,W] known, float[S,2] known_mix, float[S,1,4,W] repaint
) => (float[S,4,3,4,W] next_state) {
    zero = Constant <value_int = 0> ()
    sample = Gather <axis = 1> (state, zero)
    rows = Gather (sample, row_slot)
    column = Constant <value_ints = [-1, 1, 1, 1]> ()
    time = Gather (timestep, row_slot)
    times = Reshape (time, column)
    scaled_time = Mul (times, time_scale)
    mean = ReduceMean <axes = [1], keepdims = 0> (context)
    heard = MatMul (mean, projection)
    picture_axes = Constant <value_ints = [2, 3]> ()
    heard_everywhere = Unsqueeze (heard, picture_axes)
    gained = Mul (rows, gain)
    conditioned = Add (gained, heard_everywhere)
    timed = Add (conditioned, scaled_time)
    output = Tanh (timed)
    two_axes = Constant <value_ints = [0, -1]> ()
    flat_output = Reshape (output, two_axes)
    guided = MatMul (row_mix, flat_output)
    one = Constant <value_ints = [1]> ()
    guided_term = Unsqueeze (guided, one)
    three_axes = Constant <value_ints = [0, 0, -1]> ()
    flat_state = Reshape (state, three_axes)
    flat_noise = Reshape (noise, two_axes)
    noise_term = Unsqueeze (flat_noise, one)
    terms = Concat <axis = 1> (flat_state, guided_term, noise_term)
    flat_next = MatMul (step_matrix, terms)
    shape = Shape (state)
    stepped = Reshape (flat_next, shape)
    new_sample = Gather <axis = 1> (stepped, zero)
    mix_shape = Constant <value_ints = [0, 2, 1, 1, 1]> ()
    mix = Reshape (known_mix, mix_shape)
    mixed = Mul (known, mix)
    known_now = ReduceSum <keepdims = 0> (mixed, one)
    painted = Mul (repaint, new_sample)
    unit = Constant <value_float = 1.0> ()
    kept = Sub (unit, repaint)
    kept_known = Mul (kept, known_now)
    final = Add (painted, kept_known)
    final_slot = Unsqueeze (final, one)
    four = Constant <value_ints = [4]> ()
    history = Slice (stepped, one, four, one)
    next_state = Concat <axis = 1> (final_slot, history)
}""",
    "latent_decoder": """
latent_decoder (float[B,3,4,W] latents) => (float[B,8,T] mel) {
    mean = ReduceMean <axes = [1], keepdims = 0> (latents)
    axes = Constant <value_ints = [2, 4]> ()
    spread = Unsqueeze (mean, axes)
    scaled = Mul (spread, pattern)
    floor = Constant <value_float = -2.0> ()
    shifted = Add (scaled, floor)
    shape = Constant <value_ints = [0, 8, -1]> ()
    mel = Reshape (shifted, shape)
}""",
    "vocoder": """
vocoder (float[B,8,T] mel) => (float[B,N] waveform) {
    mean = ReduceMean <axes = [1], keepdims = 0> (mel)
    last = Constant <value_ints = [2]> ()
    frames = Unsqueeze (mean, last)
    modulated = Mul (frames, carrier)
    shape = Constant <value_ints = [0, -1]> ()
    flat = Reshape (modulated, shape)
    waveform = Tanh (flat)
}""",
}
TYPES = {onnx.TensorProto.FLOAT: "float32", onnx.TensorProto.INT64: "int64"}


def write_mini_bundle(folder: Path) -> Path:
    """Write the bundle and return its folder."""
    for name in ("graphs", "golden", "tokenizer"):
        (folder / name).mkdir(parents=True)
    _write_tokenizer(folder / "tokenizer/tokenizer.json")
    graphs = {name: _write_graph(folder, name) for name in GRAPHS}
    write_manifest(folder, _manifest(folder, graphs))
    return folder


def save_graph(text: str, weights: dict[str, np.ndarray], file: Path) -> onnx.ModelProto:
    """Write a graph in ONNX's text form as a binary file, its weights beside it."""
    built = parser.parse_model(HEAD + text)
    built.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in weights.items())
    onnx.checker.check_model(built, full_check=True)
    stored = onnx.ModelProto.FromString(built.SerializeToString())
    location = file.with_suffix(".weights").name
    onnx.save_model(stored, file, save_as_external_data=bool(weights), location=location, size_threshold=0)
    return built


def _write_graph(folder: Path, name: str) -> Graph:
    built = save_graph(GRAPHS[name], model.WEIGHTS[name], folder / f"graphs/{name}.onnx").graph
    np.savez_compressed(folder / f"golden/{name}.npz", allow_pickle=False, **RECORDINGS[name]())
    return Graph(
        file=f"graphs/{name}.onnx",
        weights=f"graphs/{name}.weights",
        precision="fp32",
        inputs=tuple(_tensor(value) for value in built.input),
        outputs=tuple(_tensor(value) for value in built.output),
        golden=f"golden/{name}.npz",
        snr_db=120.0,
    )


def _tensor(value: onnx.ValueInfoProto) -> Tensor:
    kind = value.type.tensor_type
    return Tensor(
        name=value.name,
        dtype=TYPES[kind.elem_type],
        shape=tuple(axis.dim_param or axis.dim_value for axis in kind.shape.dim),
    )


def _write_tokenizer(file: Path) -> None:
    ids = {word: index for index, word in enumerate(model.VOCABULARY)}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))  # noqa: S106
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    ends = [(word, ids[word]) for word in ("[BOS]", "[EOS]")]
    tokenizer.post_processor = processors.TemplateProcessing(single="[BOS] $A [EOS]", special_tokens=ends)
    tokenizer.save(str(file))


def _manifest(folder: Path, graphs: dict[str, Graph]) -> Manifest:
    return Manifest(
        schema_version=SCHEMA_VERSION,
        system="mini",
        precision="fp32",
        source=Source(name="generated/mini", revision=None, sha256="0" * 64),
        created_by={"onnx": onnx.__version__},
        audio=Audio(sample_rate_hz=model.RATE, hop_samples=model.HOP, mel_bins=model.MEL_BINS),
        latents=LatentSpace(
            channels=model.CHANNELS,
            bins=model.HEIGHT,
            time_axis="width",
            column_multiple=4,
            frames_per_column=model.FRAMES_PER_COLUMN,
        ),
        conditioning=Conditioning(
            encoders=(
                TextEncoder(
                    graph="text_encoder",
                    tokenizers=(
                        PromptTokenizer(
                            file="tokenizer/tokenizer.json",
                            ids="input_ids",
                            mask="token_mask",
                            max_tokens=12,
                            pad_to=model.CONTEXT_LENGTH,
                            pad_id=0,
                        ),
                    ),
                ),
            ),
            unconditional="zeros",
        ),
        schedule=NoiseSchedule(steps_offset=1, set_alpha_to_one=False, timestep_spacing="leading"),
        defaults=Defaults(steps=4, guidance=3.0, sampler="ddim", seconds=0.5),
        graphs=graphs,
        files=record_files(folder),
    )


def _record_text_encoder() -> dict[str, np.ndarray]:
    ids = np.array([[1, 4, 5, 6, 2, 0, 0, 0, 0], [1, 4, 10, 7, 8, 9, 13, 14, 2]], np.int64)
    mask = (ids > 0).astype(np.float32)
    return {"input_ids": ids, "token_mask": mask, "context": model.text_encoder(ids, mask).astype(np.float32)}


def _record_denoise_step() -> dict[str, np.ndarray]:
    """Two clips of two rows and one row; the second is half repainted."""
    random = np.random.default_rng(1)
    shapes = {
        "state": (2, 4, 3, 4, 8), "step_matrix": (2, 4, 6), "noise": (2, 3, 4, 8), "context": (3, 8, 6),
        "known": (2, 2, 3, 4, 8), "known_mix": (2, 2),
    }  # fmt: skip
    given = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    given["timestep"] = np.array([981, 21], np.float32)
    given["row_slot"] = np.array([0, 0, 1], np.int64)
    given["row_mix"] = np.array([[-2, 3, 0], [0, 0, 1]], np.float32)
    given["repaint"] = np.ones((2, 1, 4, 8), np.float32)
    given["repaint"][1, ..., :4] = 0
    return {**given, "next_state": np.stack([_next_state(given, clip) for clip in (0, 1)]).astype(np.float32)}


def _next_state(given: dict[str, np.ndarray], clip: int) -> np.ndarray:
    state, mix = given["state"][clip], given["row_mix"][clip]
    outputs = [model.unet(state[0], given["timestep"][clip], context) for context in given["context"]]
    guided = sum(weight * output for weight, output in zip(mix, outputs, strict=True))
    terms = np.concatenate([state, guided[None], given["noise"][clip][None]])
    stepped = np.einsum("kj,jchw->kchw", given["step_matrix"][clip].astype(np.float64), terms)
    known = np.einsum("j,jchw->chw", given["known_mix"][clip].astype(np.float64), given["known"][clip])
    paint = given["repaint"][clip]
    stepped[0] = paint * stepped[0] + (1 - paint) * known
    return stepped


def _record_latent_decoder() -> dict[str, np.ndarray]:
    latents = np.random.default_rng(2).standard_normal((1, 3, 4, 8)).astype(np.float32)
    return {"latents": latents, "mel": model.latent_decoder(latents).astype(np.float32)}


def _record_vocoder() -> dict[str, np.ndarray]:
    mel = np.random.default_rng(3).standard_normal((1, 8, 16)).astype(np.float32)
    return {"mel": mel, "waveform": model.vocoder(mel).astype(np.float32)}


RECORDINGS = {
    "text_encoder": _record_text_encoder,
    "denoise_step": _record_denoise_step,
    "latent_decoder": _record_latent_decoder,
    "vocoder": _record_vocoder,
}
