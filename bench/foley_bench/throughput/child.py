"""The process that measures one batch, which `visit.py` starts and reads: so memory is that of this batch alone."""

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path

import foley
from foley.cli.engine import make_setup
from foley.errors import FoleyError
from foley.request import Request
from foley_bench.build import Workload, cores_of
from foley_bench.latency.cold_child import peak_kib
from foley_bench.latency.stages import ClipTimes, clock_clip
from foley_bench.throughput.memory import free_device_mib
from foley_bench.throughput.visit import VISIT_S, Visit, rows_of_clip
from foley_bench.timing import WARM_UP, ShareClock
from foley_engines import Setup


def main(bundle: str, engine: str, workload: str) -> None:
    """Load a bundle that was checked before, warm up, measure a batch, and print the visit."""
    options = json.loads(engine)
    options["plans"] = None if options["plans"] is None else Path(options["plans"])
    print(json.dumps(asdict(measure(bundle, make_setup(options), Workload(**json.loads(workload))))))


def measure(bundle: str, setup: Setup, workload: Workload) -> Visit:
    """Generate a workload's batch as often as `VISIT_S` has room for, at least once.

    Raises:
        FoleyError: the engine cannot run it.
    """
    free_mib = free_device_mib(setup)
    with foley.load(bundle, engine=setup, verify_files=False) as pipeline:
        warm_up(pipeline, workload.request(pipeline, -1))
        clock = ShareClock(cores_of(setup))
        times = _calls(pipeline, workload)
        busy = clock.read().busy
        left_mib = free_device_mib(setup)
        evaluations = len(times[0].steps)
        rows = rows_of_clip(workload.request(pipeline, 0), evaluations)
    return Visit(
        batch=workload.batch,
        calls=len(times),
        latency_s=_mean_s([each.whole for each in times]),
        denoise_s=_mean_s([each.denoising for each in times]),
        evaluations=evaluations,
        rows=rows,
        peak_mib=peak_kib() / 1024,
        device_mib=None if free_mib is None or left_mib is None else free_mib - left_mib,
        device_free_mib=free_mib,
        busy=busy,
    )


def warm_up(pipeline: foley.Pipeline, request: Request) -> None:
    """Run a few steps of a request and render one clip of it, so that libraries set themselves up."""
    for step in pipeline.start(request):
        if step.number == min(WARM_UP, step.total):
            pipeline.render(step.latents()[0])
            return


def _calls(pipeline: foley.Pipeline, workload: Workload) -> list[ClipTimes]:
    begin, times = time.perf_counter(), list[ClipTimes]()
    while not times or time.perf_counter() - begin < VISIT_S:
        times.append(clock_clip(pipeline, workload.request(pipeline, len(times))))
    return times


def _mean_s(times_ms: list[float]) -> float:
    return sum(times_ms) / len(times_ms) / 1e3


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except FoleyError as error:
        sys.exit(str(error))
