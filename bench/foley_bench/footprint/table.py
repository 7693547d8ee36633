"""A row of footprint for people to read."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from foley_bench.sentences import against_torch, title

GOALS: Final = {"installed_mb": 150.0, "import_s": 0.3, "first_s": 3.0}
LINES: Final = {
    "installed_mb": "installed, MB",
    "bytecode_mb": "  and its bytecode",
    "model_mb": "bundle or checkpoint, MB",
    "import_s": "import, s",
    "loaded_s": "new process: loaded after, s",
    "first_s": "  first result after, s",
    "loaded_mib": "  memory until loaded, MiB",
    "peak_mib": "  memory at most, MiB",
}


def footprint_table(measured: Mapping[str, Any]) -> str:
    """Lay a row out: a column for Foley, its goals, and one for a peer; then what weighs, and fidelity."""
    figures, what = measured["figures"], measured["configuration"]
    columns = {f"foley[{what['extra']}]": _column({**figures, **figures["extras"][what["extra"]]}), "goal": GOALS}
    if "diffusers" in figures:
        columns["diffusers"] = _column(figures["diffusers"])
    lines = [title(what), f"{'':<30}" + "".join(f"{name:>14}" for name in columns)]
    lines += [_line(words, [column.get(key) for column in columns.values()]) for key, words in LINES.items()]
    lines += [f"{name}: {_weights(each)}" for name, each in _installed(figures)]
    lines += ["diffusers' result is latents, Foley's a waveform"] if "diffusers" in figures else []
    return "\n".join([*lines, against_torch(measured["fidelity"])])


def _column(figures: Mapping[str, Any]) -> dict[str, float]:
    cold = figures["cold_start"]
    return {
        "installed_mb": figures["installed_mb"],
        "bytecode_mb": figures["bytecode_mb"],
        "model_mb": figures["bundle_mb"] if "bundle_mb" in figures else figures["checkpoint_mb"],
        "import_s": figures["import_s"]["median"],
        "loaded_s": cold["loaded_s"],
        "first_s": cold["first_clip_s"],
        "loaded_mib": cold["loaded_mib"],
        "peak_mib": cold["peak_mib"],
    }


def _line(words: str, numbers: list[float | None]) -> str:
    return f"{words:<30}" + "".join(f"{'' if number is None else f'{number:.2f}':>14}" for number in numbers)


def _installed(figures: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for extra, each in figures["extras"].items():
        yield f"foley[{extra}]", each
    if "diffusers" in figures:
        yield "diffusers", figures["diffusers"]


def _weights(each: Mapping[str, Any]) -> str:
    largest = ", ".join(f"{name} {size:g}" for name, size in each["largest_mb"].items())
    return f"{each['installed_mb']:g} MB in {each['distributions']} distributions: {largest}"
