"""Runs the parts one after another within a time, and keeps what is known after each of them."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

from foley.files import new_file
from foley_bench.gpu_suite.plan import Part
from foley_bench.rows import row

State = Literal["done", "failed", "ended", "skipped"]
TAIL: Final = 12
"""Lines of a part's words that are kept."""


@dataclass(frozen=True)
class Outcome:
    """What became of a part."""

    part: str
    state: State
    seconds: float
    why: str = ""
    """Of one that was skipped or ended."""
    said: tuple[str, ...] = ()
    """Its last lines."""


Tell = Callable[[Outcome], None]


def run_parts(parts: Sequence[Part], target: Path, rows: Path, limit_s: float, tell: Tell) -> list[Outcome]:
    """Run parts within `limit_s` seconds, and write what is known to `target` after each of them."""
    begin = time.monotonic()
    outcomes: list[Outcome] = []
    for part in parts:
        left_s = limit_s - (time.monotonic() - begin)
        why = _obstacle(part, outcomes, left_s)
        outcome = Outcome(part.name, "skipped", 0.0, why) if why else _run(part, min(part.most_s, left_s))
        outcomes.append(outcome)
        write_suite(target, outcomes, rows, limit_s)
        tell(outcome)
    return outcomes


def write_suite(target: Path, outcomes: Sequence[Outcome], rows: Path, limit_s: float) -> None:
    """Write outcomes and the rows that parts added as one JSON file, whole or not at all."""
    lines = rows.read_text(encoding="utf-8").splitlines() if rows.exists() else []
    figures: dict[str, Any] = {"parts": [asdict(outcome) for outcome in outcomes]}
    figures["rows"] = [json.loads(line) for line in lines]
    with new_file(target) as working:
        working.write_text(json.dumps(row("gpu suite", {"limit_s": limit_s}, figures), indent=1), encoding="utf-8")


def _obstacle(part: Part, outcomes: Sequence[Outcome], left_s: float) -> str:
    """Say why a part cannot run; nothing where it can."""
    if part.missing:
        return part.missing
    done = {outcome.part for outcome in outcomes if outcome.state == "done"}
    lacking = [name for name in part.needs if name not in done]
    if lacking:
        return f"it needs {' and '.join(lacking)}"
    return "no time was left" if left_s <= 0 else ""


def _run(part: Part, most_s: float) -> Outcome:
    begin = time.monotonic()
    child = subprocess.Popen(  # noqa: S603 — commands of the plan, without a shell
        part.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        said, _ = child.communicate(timeout=most_s)
        outcome = Outcome(part.name, "done" if child.returncode == 0 else "failed", 0.0)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        said, _ = child.communicate()
        outcome = Outcome(part.name, "ended", 0.0, f"it took more than {most_s:.0f} s")
    return replace(outcome, seconds=round(time.monotonic() - begin, 1), said=tuple(said.splitlines()[-TAIL:]))
