"""A pair after another: prepared, run, and what came of it."""

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from foley.errors import EngineError, EngineUnavailableError, VerificationError
from foley_bench.compare.child import prepare
from foley_bench.compare.contestants import Contestant
from foley_bench.compare.figures import Scope, pair_figures
from foley_bench.compare.turns import Course, HomeDisagreesError, run_pair

Status = Literal["timed", "disagrees", "absent", "failed"]


@dataclass(frozen=True)
class Outcome:
    """What became of a peer."""

    name: str
    status: Status
    why: str | None = None
    """One line; None where it was timed."""
    figures: dict[str, Any] = field(default_factory=dict)
    """Empty where it was not: the time of a wrong output is none."""


def compare(
    foley: Contestant,
    peers: Sequence[Contestant],
    course: Course,
    scope: Scope,
    cache: Path,
    tell: Callable[[str], None],
) -> list[Outcome]:
    """Run Foley with each peer in turn; one that fails does not keep the others from running.

    Raises:
        VerificationError: Foley's own output is not the reference's.
    """
    found = []
    for peer in peers:
        tell(peer.name)
        found.append(_outcome(foley, peer, course, scope, cache))
    return found


def _outcome(foley: Contestant, peer: Contestant, course: Course, scope: Scope, cache: Path) -> Outcome:
    try:
        ready, seconds = prepared(peer, course.threads, cache)
        figures = pair_figures(run_pair(foley, ready, course), scope)
    except HomeDisagreesError:
        raise
    except EngineUnavailableError as error:
        return Outcome(peer.name, "absent", str(error))
    except VerificationError as error:
        return Outcome(peer.name, "disagrees", str(error))
    except EngineError as error:
        return Outcome(peer.name, "failed", str(error))
    return Outcome(peer.name, "timed", None, {**figures, "prepare_s": seconds})


def prepared(peer: Contestant, threads: int, cache: Path) -> tuple[Contestant, float | None]:
    """Let a peer convert the checkpoint, where the cache has it not yet; give it with its folder, and the seconds.

    Raises:
        EngineUnavailableError: a library is missing.
        EngineError: it failed; nothing is left.
    """
    if not peer.prepared:
        return peer, None
    place = cache / f"{peer.file.stem}-{_digest(peer)}"
    seconds = None if place.exists() else _prepare(peer, threads, place)
    return replace(peer, settings={**peer.settings, "prepared": str(place)}), seconds


def _prepare(peer: Contestant, threads: int, place: Path) -> float:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, ignore_cleanup_errors=True) as folder:
        answer = prepare(peer, threads, Path(folder))
        Path(folder).rename(place)
    return round(float(answer["seconds"]), 1)


def _digest(peer: Contestant) -> str:
    """Name the checkpoint's state, without reading gigabytes, and the interpreter that converts it."""
    root = Path(peer.settings["checkpoint"])
    files = sorted(path for path in root.rglob("*") if path.is_file())
    states = [(str(file.relative_to(root)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(repr((peer.python, states)).encode()).hexdigest()[:12]
