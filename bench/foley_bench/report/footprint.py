"""A row of footprint as a table: Foley, and a peer where one was measured beside it."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from foley_bench.report.cells import least_db, markdown, number
from foley_bench.report.kept import Row

Figures = Mapping[str, Any]
LINES: Final[dict[str, Callable[[Figures], str]]] = {
    "installed, MB": lambda figures: number(figures["installed_mb"]),
    "bytecode besides, MB": lambda figures: number(figures["bytecode_mb"]),
    "bundle or checkpoint, MB": lambda figures: number(figures.get("bundle_mb", figures.get("checkpoint_mb"))),
    "import, s": lambda figures: number(figures["import_s"]["median"], 3),
    "new process: loaded after, s": lambda figures: number(figures["cold_start"]["loaded_s"], 2),
    "first result after, s": lambda figures: number(figures["cold_start"]["first_clip_s"], 2),
    "memory until loaded, MiB": lambda figures: number(figures["cold_start"]["loaded_mib"], 0),
    "memory at most, MiB": lambda figures: number(figures["cold_start"]["peak_mib"], 0),
}
"""Line → what a contestant's figures show in it."""


def footprint_lines(rows: Sequence[Row]) -> str:
    """Render one row; other extras are told below."""
    row = rows[0]
    figures, extra = row["figures"], row["configuration"]["extra"]
    columns = {f"foley[{extra}]": {**figures, **figures["extras"][extra]}}
    columns |= {"diffusers": figures["diffusers"]} if "diffusers" in figures else {}
    table = markdown(["", *columns], [[name, *map(show, columns.values())] for name, show in LINES.items()])
    others = ", ".join(f"foley[{name}] {number(each['installed_mb'])} MB" for name, each in figures["extras"].items())
    notes = [f"Installed: {others}. Least dB to torch: {least_db(row['fidelity'])}."]
    notes += ["The first result of diffusers is latents, Foley's a waveform."] if "diffusers" in figures else []
    return f"{table}\n\n{' '.join(notes)}"
