"""A row of latency for people to read."""

from collections.abc import Mapping
from typing import Any, Final

from foley_bench.sentences import against_torch, disturbance, title

NAMES: Final = {
    "text_encoder": "text encoder", "denoising": "denoising", "denoise_step": "  one step",
    "latent_decoder": "latent decoder", "vocoder": "vocoder", "audio_write": "audio write", "host": "host overhead",
    "whole": "whole clip",
}  # fmt: skip


def latency_table(measured: Mapping[str, Any]) -> str:
    """Lay a row out: configuration, a line a stage in milliseconds, cold start, fidelity."""
    figures = measured["figures"]
    lines = [title(measured["configuration"]), f"{'stage, ms':<16}{'median':>10}{'least':>10}{'p5':>10}{'p95':>10}"]
    lines += [_line(name, figures[stage]) for stage, name in NAMES.items()]
    lines.append(f"{figures['whole']['repeats']} repeats; {figures['real_time_factor']:g} s for each second of sound")
    lines += _cold(figures.get("cold_start"))
    lines.append(against_torch(measured["fidelity"]))
    share = figures["share"]
    return "\n".join([*lines, *disturbance(share["busy"], share["cores"], measured["configuration"])])


def _line(name: str, figures: Mapping[str, float | None]) -> str:
    numbers = (figures[part] for part in ("median", "least", "p5", "p95"))
    return f"{name:<16}" + "".join(f"{'–' if number is None else f'{number:.2f}':>10}" for number in numbers)


def _cold(figures: Mapping[str, float] | None) -> list[str]:
    if figures is None:
        return []
    return [
        f"a new process: imported after {figures['imported_s']:.2f} s, loaded after {figures['loaded_s']:.2f} s, "
        f"first clip after {figures['first_clip_s']:.2f} s; memory at most {figures['peak_mib']:.0f} MiB"
    ]
