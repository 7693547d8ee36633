"""Prompt to waveform: encode, denoise, decode, vocode, each through a bound graph."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack, cast

import numpy as np
from numpy.typing import NDArray

from foley.bundle import Bundle, load_bundle
from foley.clip import Clip
from foley.contract import LATENT_DECODER, LATENTS, MEL, VOCODER, WAVEFORM
from foley.demo_bundle import demo_bundle
from foley.denoise import Latents, Step
from foley.gate import Gate
from foley.generation import Generation
from foley.graph_files import graph_file
from foley.loras import Lora, Overlay, checked_loras, write_overlay
from foley.prompt import Prompt, PromptEncoder
from foley.request import Knobs, Request, make_request
from foley_engines import Engine, Host, Setup, open_host
from foley_engines.registry import check_engine, engine_of, setup_of
from foley_engines.setups import Tell, tell_nobody

OnStep = Callable[[Step], None]


class Pipeline:
    """A bundle's graphs in one engine. Graphs are loaded when they are first needed, and freed by `close`."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        engine: str | Setup = "cpu",
        threads: int | None = None,
        loras: Sequence[Lora] = (),
    ) -> None:
        """Take a loaded bundle, an engine's name or its setup, and what `use_loras` takes.

        Raises:
            EngineUnavailableError: the engine cannot run here, or not this bundle; the message says what would help.
            UsageError: `threads` is given for another engine than the CPU's, or out of range; or as `use_loras`.
        """
        setup = setup_of(engine, threads)
        bundle.check_engine(engine_of(setup).name)
        self.bundle = bundle
        self._host: Host = open_host(setup)
        self._engines: dict[str, Engine] = {}
        self._loading = threading.Lock()
        self._gate = Gate()
        self._overlay: Overlay | None = None
        self.loras: tuple[Lora, ...] = ()
        """What `use_loras` was given last."""
        with _closed_on_error(self):
            self.use_loras(loras)

    def use_loras(self, loras: Sequence[Lora], *, tell: Tell = tell_nobody) -> None:
        """Generate with these LoRAs in the weights, and no others, from now on; with none, as exported, bit for bit.

        Weights are always computed from the bundle's own and written to a temporary folder, which takes as much room as
        the weights of the graphs that change; `tell` hears of it. Those graphs are loaded again when they are next
        needed. A `Generation` that was started before stops with an error at its next step.

        Raises:
            BundleError: the bundle does not say where its matrices lie.
            UsageError: a LoRA cannot be read or does not fit, or there is no room; the pipeline is as it was then.
        """
        chosen = checked_loras(loras)
        overlay = write_overlay(self.bundle, chosen, tell)
        with self._gate.alone(), self._loading:
            former, self._overlay, self.loras = self._overlay, overlay, chosen
            for each in (former, overlay):
                self._forget(each.graphs(self.bundle) if each is not None else [])
        if former is not None:
            former.close()

    def generate(
        self,
        prompts: Prompt | Sequence[Prompt],
        *,
        latents: NDArray[np.float32] | None = None,
        on_step: OnStep | None = None,
        **knobs: Unpack[Knobs],
    ) -> list[Clip]:
        """Generate clips, `count` for each prompt.

        Args:
            prompts: a text, weighted `Part`s that guide one clip together, or several of either.
            latents: starting noise float32 [clips,C,H,W] of unit variance, in place of the seeds' first draw.
            on_step: called after each graph call.
            knobs: seconds, steps, guidance, sampler, seed, negative, count and more: see `foley.request.Knobs`.

        Raises:
            RequestError: a knob is out of range.
            EngineError: a graph fails.
        """
        generation = self.start(self.request(prompts, **knobs), latents=latents)
        for step in generation:
            if on_step is not None:
                on_step(step)
        return generation.clips()

    def request(self, prompts: Prompt | Sequence[Prompt], **knobs: Unpack[Knobs]) -> Request:
        """Fill and check a request for `start`.

        Raises:
            RequestError: a knob is out of range.
        """
        return make_request(self.bundle.manifest.defaults, prompts, **knobs)

    def start(self, request: Request, *, latents: NDArray[np.float32] | None = None) -> "Generation":
        """Encode a request's prompts and stand ready to denoise, step by step, as the caller iterates.

        Raises:
            RequestError: the sampler, its options, the guidance or the latents do not fit.
        """
        return Generation(self, request, latents)

    def decode(self, latents: Latents) -> NDArray[np.float32]:
        """Decode latents [C,H,W] to log-mel [M,T]; any step's latents will do, for a preview."""
        return self._run_one(LATENT_DECODER, LATENTS, MEL, latents)

    def vocode(self, mel: NDArray[np.float32]) -> NDArray[np.float32]:
        """Turn log-mel [M,T] into a waveform [N] in [-1,1]."""
        return self._run_one(VOCODER, MEL, WAVEFORM, mel)

    def render(self, latents: Latents) -> "Rendering":
        """Decode latents [C,H,W] and vocode the mel, which stays where the engine has it until both are done."""
        begin = time.perf_counter()
        decoder = self.graph(LATENT_DECODER).bind(**{LATENTS: (1, *latents.shape)})
        with closing(decoder):
            decoder[LATENTS].write(np.ascontiguousarray(latents[None]))
            decoder.run()
            decoder.wait()
            decoded = time.perf_counter()
            with closing(self.graph(VOCODER).bind(**{MEL: decoder[MEL].shape})) as vocoder:
                vocoder[MEL].take(decoder[MEL])
                vocoder.run()
                samples = cast("NDArray[np.float32]", vocoder[WAVEFORM].read()[0])
            ended = time.perf_counter()
            mel = cast("NDArray[np.float32]", decoder[MEL].read()[0])
        return Rendering(mel, samples, (decoded - begin) * 1e3, (ended - decoded) * 1e3)

    def graph(self, name: str) -> Engine:
        """Give a graph, loaded."""
        with self._loading:
            if name not in self._engines:
                self._engines[name] = self._host.open(graph_file(self.bundle, name, self._overlay))
            return self._engines[name]

    @contextmanager
    def steady(self) -> Iterator[Overlay | None]:
        """Keep the weights as they are while the block runs; gives what tells them from others.

        `use_loras` waits for it, so the block must not call that.
        """
        with self._gate.passing():
            yield self._overlay

    @cached_property
    def prompts(self) -> PromptEncoder:
        """The text encoders."""
        conditioning = self.bundle.manifest.conditioning
        graphs = {encoder.graph: self.graph(encoder.graph) for encoder in conditioning.encoders}
        return PromptEncoder(conditioning, self.bundle.folder, graphs)

    def close(self) -> None:
        """Free every graph, and the engine's library; the pipeline must not be used any more."""
        self.__dict__.pop("prompts", None)
        self._engines.clear()
        self._host.close()
        if self._overlay is not None:
            self._overlay.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _forget(self, graphs: Sequence[str]) -> None:
        """Close graphs, where they are loaded; and let prompts be encoded anew, where one of them encodes."""
        for name in graphs:
            if name in self._engines:
                self._engines.pop(name).close()
        if any(encoder.graph in graphs for encoder in self.bundle.manifest.conditioning.encoders):
            self.__dict__.pop("prompts", None)

    def _run_one(self, graph: str, given: str, wanted: str, value: NDArray[np.float32]) -> NDArray[np.float32]:
        session = self.graph(graph).bind(**{given: (1, *value.shape)})
        try:
            session[given].write(np.ascontiguousarray(value[None]))
            session.run()
            return cast("NDArray[np.float32]", session[wanted].read()[0])
        finally:
            session.close()


@dataclass(frozen=True, eq=False)
class Rendering:
    """What latents sound like."""

    mel: NDArray[np.float32]
    """Log-mel [M,T]."""
    samples: NDArray[np.float32]
    """Waveform [N] in [-1,1], the latents' whole length."""
    decode_ms: float
    vocode_ms: float


def load(
    bundle: str | Path | None = None,
    *,
    engine: str | Setup = "cpu",
    threads: int | None = None,
    loras: Sequence[Lora] = (),
    verify_files: bool = True,
) -> Pipeline:
    """Load a bundle for an engine; without one, the demo bundle.

    `engine` is "cpu", "cuda", "tensorrt", or a setup of one that says more, such as `foley_engines.TensorRtSetup`.
    `threads` is the number of cores for one operator on the CPU (None: all); `loras` are put into the weights, as by
    `Pipeline.use_loras`; `verify_files=False` skips the digests of the files.

    Raises:
        BundleError: the bundle is missing, damaged or newer than this foley.
        EngineUnavailableError: the engine cannot run here; the message says what to install.
        UsageError: `threads` is given for another engine than the CPU's, or out of range; or a LoRA does not fit.
    """
    check_engine(engine)
    folder = demo_bundle() if bundle is None else bundle
    return Pipeline(load_bundle(folder, verify_files=verify_files), engine=engine, threads=threads, loras=loras)


@contextmanager
def _closed_on_error(pipeline: Pipeline) -> Iterator[None]:
    """Close a pipeline where the block fails: nobody gets it then."""
    try:
        yield
    except BaseException:
        pipeline.close()
        raise
