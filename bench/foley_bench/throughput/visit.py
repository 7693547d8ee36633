"""One measurement of one batch, in a process of its own."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from foley.guidance import Row, guide
from foley.request import Request
from foley_bench.build import Workload
from foley_bench.latency.cold import SHELL, engine_options_of
from foley_engines import Setup
from foley_engines.errors import EngineError

VISIT_S: Final = 1.0
"""Seconds after which a visit begins no further call: short ones are repeated, a long one is made once."""
SIGNALLED: Final = 128
"""What a shell adds to the number of the signal that ended a process."""


@dataclass(frozen=True)
class Visit:
    """What a process measured of a batch; times are means over its calls."""

    batch: int
    """Clips a call."""
    calls: int
    latency_s: float
    """A whole call: text encoder, denoising, and each clip decoded, vocoded and written."""
    denoise_s: float
    """Of it, the denoising steps."""
    evaluations: int
    """U-Net evaluations of a clip."""
    rows: int
    """U-Net rows of a clip, those of guidance counted."""
    peak_mib: float
    """Most memory that the process held at once."""
    device_mib: float | None
    """GPU memory that it took; None on the CPU, and where the device does not tell."""
    device_free_mib: float | None
    """GPU memory that was free before."""
    busy: float
    """Share of its cores that it had; see `timing.Share`."""

    @property
    def clips_per_minute(self) -> float:
        """Whole clips."""
        return 60 * self.batch / self.latency_s

    @property
    def steps_per_s(self) -> float:
        """Denoising steps of single clips, while denoising."""
        return self.batch * self.evaluations / self.denoise_s

    @property
    def rows_per_s(self) -> float:
        """U-Net rows, while denoising."""
        return self.batch * self.rows / self.denoise_s


def visit_batch(bundle: Path, setup: Setup, workload: Workload) -> Visit:
    """Start a process that measures a workload's batch.

    Raises:
        EngineError: it failed; its last line says why.
    """
    child = [*SHELL, sys.executable, "-m", "foley_bench.throughput.child", str(bundle)]
    done = subprocess.run(  # noqa: S603 — this Python, a module of ours
        [*child, json.dumps(engine_options_of(setup)), json.dumps(asdict(workload))],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise EngineError(_why(done.returncode, done.stderr))
    return Visit(**json.loads(done.stdout.splitlines()[-1]))


def _why(code: int, stderr: str) -> str:
    if code > SIGNALLED:
        return f"its process was ended by signal {code - SIGNALLED}, as a system does that runs out of memory"
    return (stderr.strip().splitlines() or ["its process failed without a word"])[-1]


def rows_of_clip(request: Request, evaluations: int) -> int:
    """Count the U-Net rows of a clip: two an evaluation while it is guided, one where it is not."""
    guidance = guide([Row({}, 1.0)], {}, scale=request.guidance, stop=request.guidance_stop)
    return sum(len(guidance.rows(step, evaluations)) for step in range(evaluations))
