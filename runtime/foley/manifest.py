"""`bundle.json`: everything about a model that the runtime needs to know, typed and checked on load."""

from typing import Annotated, Literal

import msgspec

from foley.contract import DENOISE_STEP, LATENT_DECODER, VOCODER
from foley.errors import BundleError
from foley.schedule import NoiseSchedule

SCHEMA_VERSION = 1

Precision = Literal["fp32", "fp16", "bf16"]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
RelativePath = Annotated[str, msgspec.Meta(pattern=r"^(?!\.\.?(/|$))[^/\\:]+(/(?!\.\.?(/|$))[^/\\:]+)*$")]


class Facts(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the manifest: immutable, and an unknown key in the file is an error."""


class Source(Facts, frozen=True, kw_only=True):
    """Where the weights come from."""

    name: str
    """The hub id, or the name of the checkpoint's folder."""
    revision: str | None
    """The hub's commit, None for a folder."""
    sha256: Sha256
    """Digest over the names and contents of every checkpoint file that was read."""
    loras: tuple[str, ...] = ()
    """`name@scale` of every LoRA fused into the weights, in order."""


class Audio(Facts, frozen=True, kw_only=True):
    """What comes out of the vocoder."""

    sample_rate_hz: Positive
    hop_samples: Positive
    """Samples a mel frame."""
    mel_bins: Positive


class LatentSpace(Facts, frozen=True, kw_only=True):
    """The latents' shape, and how their columns become time."""

    channels: Positive
    bins: Positive
    """Size of the axis that is not time."""
    time_axis: Literal["height", "width"]
    """Which axis is time: the last in Auffusion, whose latents are pictures; the last but one in AudioLDM and Tango."""
    column_multiple: Positive
    """The U-Net takes a number of columns that is a multiple of this."""
    frames_per_column: Positive
    """Mel frames a latent column."""

    def shape(self, columns: int) -> tuple[int, int, int]:
        """Give the shape [C,H,W] of so many columns, in the order in which the checkpoint's noise is drawn."""
        columns_last = self.time_axis == "width"
        return (self.channels, self.bins, columns) if columns_last else (self.channels, columns, self.bins)


class Tokenizer(Facts, frozen=True, kw_only=True):
    """How a prompt becomes ids for one input of a text encoder."""

    file: RelativePath
    ids: str
    """The graph's input that takes the ids, int64 [B,L]."""
    mask: str | None
    """The graph's input that takes 1 for a token and 0 for padding, float32 [B,L]."""
    max_tokens: Positive
    """Longest sequence that the encoder takes, special tokens included; a longer prompt is cut, its last token kept."""
    pad_to: Positive
    """Ids are padded to at least this length."""
    pad_id: int


class TextEncoder(Facts, frozen=True, kw_only=True):
    """One text encoder: its graph, and a tokenizer for each of its inputs."""

    graph: str
    tokenizers: Annotated[tuple[Tokenizer, ...], msgspec.Meta(min_length=1)]


class Conditioning(Facts, frozen=True, kw_only=True):
    """How prompts become what the U-Net is conditioned on.

    An encoder's outputs feed the denoising step's inputs of the same names; outputs of the same name are joined along
    the token axis, in the encoders' order.
    """

    encoders: Annotated[tuple[TextEncoder, ...], msgspec.Meta(min_length=1)]
    unconditional: Literal["zeros", "empty_prompt"]
    """What stands for no prompt under guidance: zeros, or the encoded empty string."""


class Defaults(Facts, frozen=True, kw_only=True):
    """What a request gets where it says nothing."""

    steps: Positive
    guidance: float
    sampler: str
    seconds: float


class Tensor(Facts, frozen=True, kw_only=True):
    """One input or output of a graph."""

    name: str
    dtype: Literal["float32", "int64"]
    shape: tuple[int | str, ...]


class Graph(Facts, frozen=True, kw_only=True):
    """One ONNX graph."""

    file: RelativePath
    """Standard ONNX operators only."""
    weights: RelativePath
    """External weights; several graphs may share the file."""
    parameters: RelativePath | None = None
    """Where in `weights` the matrices lie that a LoRA may change; None where a bundle does not say."""
    engines: dict[str, RelativePath] = {}
    """Spellings of the same graph for one engine each, over the same weights."""
    precision: Precision
    """What the graph computes in: fp16 and bf16 graphs say of each tensor whether it is half or float32."""
    weights_precision: Precision | None = None
    """How `weights` holds them: "fp16" behind casts in an fp32 graph. None where a bundle does not say: as `precision`.
    """
    structures: dict[RelativePath, Sha256] = {}
    """Digest of each of `file` and `engines` without its weights' values: equal ones may share an engine that is
    refitted."""
    fused: dict[RelativePath, dict[str, Positive]] = {}
    """Fused operators of each spelling that has any, and how many: an engine that runs fewer is refused."""
    float32_nodes: tuple[str, ...] = ()
    """Nodes of a half graph that measuring at export kept in float32; those that always are (export/README.md) are not
    named."""
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    golden: RelativePath
    """Recorded inputs, and outputs computed by torch in float32."""
    snr_db: float
    """Signal-to-noise ratio of the graph against torch at export, in ONNX Runtime on the CPU; the worst output."""


class FileRecord(Facts, frozen=True, kw_only=True):
    """A file's size in bytes and digest."""

    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Sha256


class Manifest(Facts, frozen=True, kw_only=True):
    """The whole of `bundle.json`."""

    schema_version: Positive
    system: str
    """The family of models, for people to read; nothing depends on it."""
    precision: Precision
    source: Source
    created_by: dict[str, str]
    """Versions of the libraries that wrote the bundle."""
    audio: Audio
    latents: LatentSpace
    conditioning: Conditioning
    schedule: NoiseSchedule
    defaults: Defaults
    graphs: dict[str, Graph]
    files: dict[RelativePath, FileRecord]
    """Every file of the bundle but the manifest itself."""


class _Version(msgspec.Struct):
    schema_version: int


def encode(manifest: Manifest) -> bytes:
    """Write a manifest as indented JSON."""
    return msgspec.json.format(msgspec.json.encode(manifest), indent=2) + b"\n"


def decode(text: bytes, place: str) -> Manifest:
    """Read a manifest; `place` names it in messages.

    Raises:
        BundleError: it is not JSON, of a newer schema, or a key is unknown, missing or of the wrong type, and named.
    """
    _check_version(text, place)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{place}: {error}; export the bundle again, or upgrade foley") from error
    _check_references(manifest, place)
    return manifest


def _check_version(text: bytes, place: str) -> None:
    try:
        version = msgspec.json.decode(text, type=_Version).schema_version
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(f"{place} is not a foley manifest: {error}; export the bundle again") from error
    if version > SCHEMA_VERSION:
        raise BundleError(
            f"{place} has schema version {version}, this foley reads up to {SCHEMA_VERSION}; "
            "install a newer Foley: git pull in its clone, and there: pip install ."
        )


def _check_references(manifest: Manifest, place: str) -> None:
    """Every file and graph that one part names must be listed in another, and no stage may be missing."""
    encoders = manifest.conditioning.encoders
    for name in (*(encoder.graph for encoder in encoders), DENOISE_STEP, LATENT_DECODER, VOCODER):
        if name not in manifest.graphs:
            raise BundleError(f"{place}: graphs lacks {name!r}; export the bundle again")
    named = [(name, file) for name, graph in manifest.graphs.items() for file in _files(graph)]
    named += [(encoder.graph, tokenizer.file) for encoder in encoders for tokenizer in encoder.tokenizers]
    for name, file in named:
        if file not in manifest.files:
            raise BundleError(f"{place}: {name} names {file}, which files does not list; export the bundle again")


def _files(graph: Graph) -> tuple[str, ...]:
    own = (graph.file, graph.weights, graph.golden, *graph.engines.values())
    return own if graph.parameters is None else (*own, graph.parameters)
