"""What a measuring process is told, as one JSON text."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from foley.cli.engine import Given, make_setup
from foley_bench.build import Workload
from foley_bench.regression.clip import Turns
from foley_engines import Setup


@dataclass(frozen=True)
class Order:
    """What to make, with what, and how often."""

    bundle: Path
    engine: dict[str, Any]
    """The options of the command line that make the setup."""
    workload: Workload
    yardstick: Path
    """What `yardstick_file` wrote."""
    turns: Turns
    clips: int

    def text(self) -> str:
        """Give the order for a process's command line."""
        return json.dumps(asdict(self), default=str)


def read_order(text: str) -> Order:
    """Read what `Order.text` gave."""
    told = json.loads(text)
    paths = {name: Path(told[name]) for name in ("bundle", "yardstick")}
    made = {"workload": Workload(**told["workload"]), "turns": Turns(**told["turns"])}
    return Order(**{**told, **paths, **made})


def setup_from(options: Mapping[str, Any]) -> Setup:
    """Make the setup of an engine from options as JSON has them.

    Raises:
        EngineUnavailableError: there is no such engine.
        UsageError: an option is of another engine.
    """
    plans = options["plans"]
    return make_setup(cast("Given", {**options, "plans": None if plans is None else Path(plans)}))
