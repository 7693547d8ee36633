"""Score and Fréchet distance over steps and guidance, a curve a sampler, as Auffusion's table 5 has them."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from foley.bundle import Bundle
from foley.errors import UsageError
from foley_bench.fidelity.frechet import distance, fit
from foley_bench.quality.asks import Setting, draw_asks
from foley_bench.quality.identity import bundle_digest, yardstick
from foley_bench.quality.listening import Heard, by_events, listen
from foley_bench.quality.progress import Progress
from foley_bench.quality.real_sounds import real_features
from foley_bench.quality.score import tally_figures
from foley_bench.quality.sources import BundleSource, RealSounds
from foley_bench.rows import append, row

NAME: Final = "quality curve"
"""Name of the rows."""
SAMPLERS: Final = ("pndm", "ddim", "dpmpp-2m", "unipc")
STEPS: Final = (5, 10, 25, 50, 100)
GUIDANCES: Final = (1.0, 2.0, 5.0, 7.5, 10.0)

Row = dict[str, Any]


@dataclass(frozen=True)
class Yard:
    """What cells must share to stand in one table: the bundle, and how they are measured."""

    bundle: str
    """`identity.bundle_digest`."""
    yardstick: str
    """`identity.yardstick`."""
    captions: int
    seeds: int
    real: int
    """Real sounds that the Fréchet distance is to."""


def yard_of(bundle: Bundle, captions: int, seeds: int, real: int) -> Yard:
    """Give what cells of this bundle share."""
    return Yard(bundle_digest(bundle), yardstick(), captions, seeds, real)


def grid(
    samplers: Sequence[str], steps: Sequence[int], guidances: Sequence[float], base: Setting, *, full: bool
) -> list[Setting]:
    """List the settings: a sweep of steps at the base's guidance and one of guidance at its steps, or all pairs."""
    pairs = [(count, guidance) for count in steps for guidance in guidances]
    if not full:
        pairs = [(count, base.guidance) for count in steps] + [(base.steps, guidance) for guidance in guidances]
    return [Setting(sampler, *pair) for sampler in samplers for pair in dict.fromkeys(pairs)]


def run_curve(
    source: BundleSource, settings: Sequence[Setting], yard: Yard, results: Path, work: Path, batch: int
) -> None:
    """Measure the settings that the results lack, and append a row as each is done."""
    done = {setting_of(found) for found in rows_of(results, yard)}
    missing = [setting for setting in settings if setting not in done]
    if not missing:
        return
    measure = Measure(yard, work, batch)
    progress = Progress(sum(len(measure.asks) * cost(setting) for setting in missing))
    for setting in missing:
        progress.what = str(setting)
        figures = measure(source, setting, partial(_advance, progress, cost(setting)))
        append(results, row(NAME, {**asdict(yard), **asdict(setting)}, figures))


def _advance(progress: Progress, work: float, clips: int) -> None:
    progress.advance(work * clips)


def cost(setting: Setting) -> float:
    """Estimate a clip's work in U-Net rows; decoding and vocoding are counted as two."""
    return setting.steps * (2 if setting.guidance > 1 else 1) + 2


class Measure:
    """Measures settings against the same real sounds."""

    def __init__(self, yard: Yard, work: Path, batch: int) -> None:
        """Draw the asks, and render real sounds or find them in `work`."""
        self.asks, self._batch = draw_asks(yard.captions, yard.seeds), batch
        self._real = real_features(yard.real, work)
        self._goal = fit(self._real, self._real)
        any_setting = Setting(SAMPLERS[0], 1, 1.0)
        self._ceiling = self._figures(listen(RealSounds(), self.asks, any_setting, batch))

    def __call__(self, source: BundleSource, setting: Setting, tell: Callable[[int], None]) -> dict[str, Any]:
        """Give a cell's figures, and beside them those of real sounds on the same captions."""
        return {**self._figures(listen(source, self.asks, setting, self._batch, tell)), "real": self._ceiling}

    def _figures(self, heard: Heard) -> dict[str, Any]:
        one, two = by_events(heard.summary)
        away = distance(fit(heard.features, self._real), self._goal)
        tallies = {"overall": one + two, "one": one, "two": two}
        return {**{name: tally_figures(tally) for name, tally in tallies.items()}, "frechet": round(away, 3)}


def rows_of(results: Path, yard: Yard) -> list[Row]:
    """Read the cells of one yard, the last row where one was measured again."""
    cells = {setting_of(found): found for found in read_rows(results, NAME) if yard_in(found) == yard}
    return list(cells.values())


def latest(results: Path) -> list[Row]:
    """Read the cells that share the yard of the last cell measured."""
    rows = list(read_rows(results, NAME))
    return rows_of(results, yard_in(rows[-1])) if rows else []


def read_rows(results: Path, name: str) -> Iterator[Row]:
    """Read the rows of a name; a file that is not there has none.

    Raises:
        UsageError: a line is cut short.
    """
    if not results.exists():
        return
    for number, line in enumerate(results.read_text(encoding="utf-8").splitlines(), 1):
        try:
            found: Row = json.loads(line)
        except json.JSONDecodeError as error:
            raise UsageError(f"line {number} of {results} is no row: {error}; delete that line") from error
        if found["name"] == name:
            yield found


def yard_in(found: Row) -> Yard:
    """Give what a cell's row shares with its table."""
    return Yard(**{name: found["configuration"][name] for name in Yard.__dataclass_fields__})


def setting_of(found: Row) -> Setting:
    """Give a cell's setting."""
    return Setting(**{name: found["configuration"][name] for name in Setting.__dataclass_fields__})
