"""How much memory there is, and how much the next batch will take."""

from collections.abc import Sequence
from pathlib import Path

from foley_engines import CpuSetup, Setup
from foley_engines.errors import EngineError, EngineUnavailableError

MIB = 1 << 20


def free_host_mib(file: Path = Path("/proc/meminfo")) -> float | None:
    """Give the MiB that a new process could take without swapping (Linux's MemAvailable); None elsewhere."""
    try:
        lines = file.read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("MemAvailable:")), None)


def free_device_mib(setup: Setup) -> float | None:
    """Give the MiB that are free on a setup's GPU; None of the CPU's, and where the device does not tell."""
    if isinstance(setup, CpuSetup):
        return None
    from foley_engines.cuda.device import Device  # needs an extra that the CPU's users do not have

    try:
        with Device(setup.device) as device:
            return device.free_bytes() / MIB
    except (EngineUnavailableError, EngineError):
        return None


def predicted_mib(known: Sequence[tuple[int, float]], batch: int) -> float | None:
    """Continue the line through the last two pairs of batch and MiB; None where there are fewer.

    It never falls: less memory for a larger batch was chance.
    """
    if len(known) < 2:
        return None
    (smaller, less), (larger, more) = known[-2:]
    return more + max(more - less, 0.0) / (larger - smaller) * (batch - larger)
