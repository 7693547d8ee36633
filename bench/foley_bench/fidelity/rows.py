"""A row a build."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foley_bench import build as builds
from foley_bench.fidelity.asks import Ask
from foley_bench.fidelity.measures import Departure, departure_figures
from foley_bench.fidelity.runs import Made, Runner
from foley_bench.rows import row
from foley_bench.timing import Spread, spread


@dataclass(frozen=True, eq=False)
class Compared:
    """A build beside the first one."""

    runner: Runner
    snr_db: dict[str, float]
    """Its graphs against torch."""
    made: Made
    departure: Departure
    ratios: list[float]
    """Latency of each clip over that of the first build's, which was made right before."""

    @property
    def name(self) -> str:
        """The build's name."""
        return self.runner.build.name

    @property
    def ratio(self) -> Spread:
        """How the ratios lie."""
        return spread(self.ratios)


def fidelity_row(found: Compared, first: Compared, asks: Sequence[Ask], measure: str, *, front: bool) -> dict[str, Any]:
    """Put a build's figures beside what it is and what it was compared with."""
    figures = {
        **departure_figures(found.departure),
        "latency_ms": spread(found.made.latency_ms).rounded(),
        "latency_ratio": found.ratio.rounded(4),
        "clips": len(asks),
        "measure": measure,
        "front": front,
    }
    what = _configuration(found, asks[0]) | {"compared_with": _configuration(first, asks[0])}
    return row("fidelity", what, figures, fidelity=found.snr_db, method=_method(found, asks))


def _configuration(found: Compared, ask: Ask) -> dict[str, Any]:
    runner = found.runner
    request = runner.request(ask)
    described = builds.configuration(runner.bundle, runner.build.setup, request)
    return {"name": found.name, **described, "guidance_stop": request.guidance_stop, "batch": 1}


def _method(found: Compared, asks: Sequence[Ask]) -> dict[str, Any]:
    prompts = list(dict.fromkeys(ask.prompt for ask in asks))
    digest = hashlib.sha256("\n".join(prompts).encode()).hexdigest()
    told = {"prompts": len(prompts), "prompts_sha256": digest, "seed": asks[0].seed}
    return builds.method(found.runner.bundle, found.runner.build.setup) | told
