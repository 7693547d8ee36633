"""Timing caches of the fake TensorRT."""

import json
from dataclasses import dataclass, field
from typing import Any

from support.nvidia.machine import current
from support.nvidia.pybind import FakeModule, module_of
from support.nvidia.trt_behaviours import BEHAVIOURS, fail
from support.nvidia.trt_types import host_memory

does = BEHAVIOURS.does


@dataclass
class TimingState:
    """A timing cache: what was timed, by which release on which device."""

    version: str
    gpu: str
    timed: set[str] = field(default_factory=set)


@does("IBuilderConfig.create_timing_cache", required=True)
def create_timing_cache(config: Any, serialized_timing_cache: Any) -> Any:
    content = bytes(memoryview(serialized_timing_cache))
    try:
        state = _read_timings(content) if content else _timings(module_of(config))
    except (ValueError, KeyError):
        return fail(config._fake_state.logger, "The timing cache is corrupt")
    return module_of(config).make("ITimingCache", state)


@does("IBuilderConfig.set_timing_cache", required=True)
def set_timing_cache(config: Any, cache: Any, ignore_mismatch: bool) -> bool:
    here = _timings(module_of(config))
    if cache._fake_state.version != here.version or (cache._fake_state.gpu != here.gpu and not ignore_mismatch):
        return bool(fail(config._fake_state.logger, "The timing cache is of another device or version", False))
    config._fake_state.timing_cache = cache
    return True


does("IBuilderConfig.get_timing_cache", required=True)(lambda config: config._fake_state.timing_cache)


@does("ITimingCache.serialize", required=True)
def serialize_timings(cache: Any) -> Any:
    state: TimingState = cache._fake_state
    facts = {"version": state.version, "gpu": state.gpu, "timed": sorted(state.timed)}
    return host_memory(cache, json.dumps(facts).encode())


@does("ITimingCache.combine", required=True)
def combine_timings(cache: Any, input_cache: Any, ignore_mismatch: bool) -> bool:
    ours, theirs = cache._fake_state, input_cache._fake_state
    if ours.version != theirs.version or (ours.gpu != theirs.gpu and not ignore_mismatch):
        return False
    ours.timed |= theirs.timed
    return True


@does("ITimingCache.reset", required=True)
def reset_timings(cache: Any) -> bool:
    cache._fake_state.timed.clear()
    return True


def _timings(module: FakeModule) -> TimingState:
    return TimingState(module.__version__, current().device.name)


def _read_timings(content: bytes) -> TimingState:
    facts = json.loads(content)
    return TimingState(facts["version"], facts["gpu"], set(facts["timed"]))


def time_layers(module: FakeModule, timing_cache: Any, layers: set[str]) -> None:
    """Time the layers that a cache, or none, does not know; counted in the machine's `timed`."""
    cache = timing_cache._fake_state if timing_cache is not None else _timings(module)
    current().counts["timed"] += len(layers - cache.timed)
    cache.timed |= layers
