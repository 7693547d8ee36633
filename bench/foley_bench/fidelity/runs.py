"""Builds that take turns: each clip is made by one after the other, A B A B, and clocked."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foley.bundle import Bundle, load_bundle
from foley.errors import UsageError
from foley.pipeline import Pipeline
from foley.request import Knobs, Request
from foley.samplers import sampler_table
from foley_bench.fidelity.asks import Ask
from foley_bench.fidelity.builds import Build

Samples = NDArray[np.float32]
OTHER_PROMPT = "something else"
"""Encoded before each clip, outside the clock: a pipeline remembers the last prompt and would not encode it again."""


@dataclass(frozen=True, eq=False)
class Made:
    """A build's clips, one entry a clip in the order of the asks."""

    samples: list[Samples]
    latency_ms: list[float]
    """From the request to the samples."""


@dataclass(frozen=True, eq=False)
class Runner:
    """A build that is loaded."""

    build: Build
    pipeline: Pipeline
    knobs: Knobs
    """What is in the request beside prompt and seed."""

    @property
    def bundle(self) -> Bundle:
        """The build's bundle."""
        return self.pipeline.bundle

    def request(self, ask: Ask) -> Request:
        """Fill and check an ask's request.

        Raises:
            RequestError: a knob is out of range.
        """
        own: Knobs = {**self.knobs, "seed": ask.seed}
        return self.pipeline.request(ask.prompt, **own)

    def make(self, ask: Ask) -> tuple[Samples, float]:
        """Make a clip; give its samples and milliseconds."""
        self.pipeline.prompts.encode([OTHER_PROMPT])
        begin = time.perf_counter()
        generation = self.pipeline.start(self.request(ask))
        for _ in generation:
            pass
        samples = generation.clips()[0].samples
        return samples, (time.perf_counter() - begin) * 1e3


@contextmanager
def loaded(builds: Sequence[Build], seconds: float | None) -> Iterator[list[Runner]]:
    """Load builds, those of one bundle and engine into one pipeline, and free them when the block ends.

    `seconds` is the length of all clips; None: that of the first build's bundle.

    Raises:
        FoleyError: a bundle cannot be loaded, a knob is out of range, or sample rates differ.
    """
    with ExitStack() as stack:
        pipelines: dict[object, Pipeline] = {}
        for build in builds:
            key = (build.folder.resolve(), build.engine)
            if key not in pipelines:
                pipelines[key] = stack.enter_context(Pipeline(load_bundle(build.folder), engine=build.setup))
        found = [pipelines[build.folder.resolve(), build.engine] for build in builds]
        length = found[0].bundle.manifest.defaults.seconds if seconds is None else seconds
        runners = [
            Runner(build, pipeline, {**build.request_knobs(), "seconds": length})
            for build, pipeline in zip(builds, found, strict=True)
        ]
        check_runners(runners)
        yield runners


def check_runners(runners: Sequence[Runner]) -> None:
    """Refuse before all work what would be refused in the middle of it.

    Raises:
        RequestError: a knob is out of range, or a sampler cannot do a bundle's schedule in so many steps.
        UsageError: the bundles' sample rates differ.
    """
    for runner in runners:
        request = runner.request(Ask(OTHER_PROMPT, 0, None))
        sampler_table(request.sampler, runner.bundle.manifest.schedule, request.steps)
    rates = {runner.build.name: runner.bundle.manifest.audio.sample_rate_hz for runner in runners}
    if len(set(rates.values())) > 1:
        told = ", ".join(f"{name} {rate} Hz" for name, rate in rates.items())
        raise UsageError(f"the builds' sample rates differ: {told}; compare builds of one model")


def make_clips(runners: Sequence[Runner], asks: Sequence[Ask], tell: Callable[[int], None]) -> Mapping[str, Made]:
    """Make every ask's clip with every build in turn, after one of each that does not count; give them by build."""
    found = {runner.build.name: Made([], []) for runner in runners}
    for runner in runners:
        runner.make(asks[0])
    for number, ask in enumerate(asks):
        tell(number)
        for runner in runners:
            samples, latency_ms = runner.make(ask)
            found[runner.build.name].samples.append(samples)
            found[runner.build.name].latency_ms.append(latency_ms)
    return found
