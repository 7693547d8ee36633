"""Rows of fidelity for people to read."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from foley_bench.fidelity.measures import EXACT

HEAD: Final = ("SNR dB", "least", "log-mel dB", "Fréchet", "score", "ms a clip", "× first", "range")
WIDTH: Final = 12


def fidelity_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Lay rows out: a line a build, the Pareto front marked; then how, and each build's graphs against torch."""
    names = [row["configuration"]["name"] for row in rows]
    wide = max(map(len, ("build", *names))) + 2
    lines = [f"{'build':<{wide}}" + "".join(f"{head:>{WIDTH}}" for head in HEAD)]
    lines += [f"{name:<{wide}}{_line(row['figures'])}" for name, row in zip(names, rows, strict=True)]
    lines.append(_how(rows[0]))
    lines += [f"{name} against torch: {_graphs(row['fidelity'])}" for name, row in zip(names, rows, strict=True)]
    return "\n".join(lines)


def _line(figures: Mapping[str, Any]) -> str:
    score, ratio = figures["score"], figures["latency_ratio"]
    cells = (
        _number(figures["snr_db"]["median"], 1),
        _number(figures["snr_db"]["least"], 1),
        _number(figures["log_mel_db"]["median"], 3),
        _number(figures["frechet"], 3),
        "–" if score is None else f"{score['passed']} of {score['total']}",
        _number(figures["latency_ms"]["median"], 1),
        _number(ratio["median"], 2),
        f"{ratio['least']:.2f}–{ratio['most']:.2f}",
    )
    return "".join(f"{cell:>{WIDTH}}" for cell in cells) + ("  ← front" if figures["front"] else "")


def _number(value: float | str | None, digits: int) -> str:
    if value is None:
        return "–"
    return value if isinstance(value, str) else f"{value:.{digits}f}"


def _how(row: Mapping[str, Any]) -> str:
    figures, how = row["figures"], row["method"]
    return (
        f"{figures['clips']} clips a build, {how['prompts']} prompts, seeds from {how['seed']}; medians; compared with "
        f"{row['configuration']['name']}; front: by {figures['measure']} and latency; {EXACT}: no sample differs"
    )


def _graphs(snr_db: Mapping[str, float]) -> str:
    return ", ".join(f"{graph} {db:g} dB" for graph, db in snr_db.items())
