"""Builder, configuration, optimisation profiles and timing caches of the fake TensorRT."""

import sys
from dataclasses import dataclass, field
from typing import Any

from support.nvidia import plan_file
from support.nvidia.machine import current
from support.nvidia.onnx_network import OnnxNetwork
from support.nvidia.plan_file import Header, Plan, Ranges
from support.nvidia.pybind import NULL, module_of, tell
from support.nvidia.trt_behaviours import BEHAVIOURS, fail, names_in, sizes_of
from support.nvidia.trt_network import NetworkState, layer_name
from support.nvidia.trt_timing import time_layers
from support.nvidia.trt_types import host_memory

does, sets = BEHAVIOURS.does, BEHAVIOURS.sets
PHASES = ("Building Engine from Network", "Computing profile costs")


@dataclass
class ConfigState:
    """A configuration, beside the properties that are only kept."""

    logger: Any
    flags: int
    pools: dict[str, int] = field(default_factory=dict)
    profiles: list[Ranges] = field(default_factory=list)
    timing_cache: Any = None


# The builder


@does("Builder.__init__", required=True)
def make_builder(builder: Any, logger: Any) -> None:
    need_device(logger)
    object.__setattr__(builder, "_fake_state", logger)


def need_device(logger: Any) -> None:
    """Fail as the real constructors do where there is no device.

    Raises:
        TypeError: there is none.
    """
    if not current().driver or not current().devices:
        tell(logger, "ERROR", "CUDA initialization failure with error: 35. Please check your CUDA installation")
        raise TypeError(NULL)


does("Builder.logger", required=True)(lambda builder: builder._fake_state)
BEHAVIOURS.keeps("Builder", max_threads=1, error_recorder=None, gpu_allocator=None)
BEHAVIOURS.gives("Builder", platform_has_tf32=True, platform_has_fast_fp16=True, platform_has_fast_int8=True)
BEHAVIOURS.gives("Builder", num_DLA_cores=0)


@does("Builder.create_network", required=True)
def create_network(builder: Any, flags: int = 0) -> Any:
    known = module_of(builder)._classes["NetworkDefinitionCreationFlag"]._members.values()
    if int(flags) & ~sum(1 << int(flag) for flag in known):
        return fail(builder._fake_state, f"Unknown network creation flags {int(flags):b}")
    return module_of(builder).make("INetworkDefinition", NetworkState(builder._fake_state, int(flags)))


@does("Builder.create_builder_config", required=True)
def create_builder_config(builder: Any) -> Any:
    module = module_of(builder)
    config = module.make(
        "IBuilderConfig", ConfigState(builder._fake_state, 1 << int(module.enum("BuilderFlag", "TF32")))
    )
    config._fake_state.pools["WORKSPACE"] = current().device.memory_bytes
    return config


@does("Builder.create_optimization_profile", required=True)
def create_optimization_profile(builder: Any) -> Any:
    return module_of(builder).make("IOptimizationProfile", {})


@does("Builder.build_serialized_network", required=True)
def build_serialized_network(builder: Any, network: Any, config: Any) -> Any:
    """Build a plan, or log why not and give None."""
    state: ConfigState = config._fake_state
    problem = _problem(network, config)
    if problem:
        return fail(builder._fake_state, problem)
    if not _report(config.progress_monitor, len(network._fake_state.model.proto.graph.node)):
        return fail(builder._fake_state, "Build was cancelled by the progress monitor")
    current().counts["build"] += 1
    layers = {f"{name}/{state.profiles}" for name in _layers(network._fake_state.model)}
    time_layers(module_of(builder), state.timing_cache, layers)
    plan = Plan(_header(config, network._fake_state.model), network._fake_state.model.copy())
    if plan.header.stripped:
        plan.network.strip()
    return host_memory(builder, plan_file.write(plan))


def _layers(network: OnnxNetwork) -> list[str]:
    return [f"{layer_name(node)}/{node.op_type}" for node in network.proto.graph.node]


def _header(config: Any, network: OnnxNetwork) -> Header:
    module, state, device = module_of(config), config._fake_state, current().device
    flags = names_in(module, "BuilderFlag", state.flags)
    stripped = "STRIP_PLAN" in flags
    if stripped and "REFIT" not in flags and "REFIT_IDENTICAL" not in flags:
        flags = (*flags, "REFIT_IDENTICAL")
    return Header(
        version=module.__version__,
        gpu=device.name,
        compute_capability=device.compute_capability,
        flags=flags,
        compatibility=config.hardware_compatibility_level.name,
        verbosity=config.profiling_verbosity.name,
        profiles=tuple(state.profiles),
        weights=network.digest(),
        stripped=stripped,
        options={name: value for name, value in config._fake_kept.items() if isinstance(value, int | str)},
    )


def _problem(network: Any, config: Any) -> str:
    """Say why a network cannot be built, or nothing."""
    model, profiles = network._fake_state.model, config._fake_state.profiles
    if model is None:
        return "Network must have at least one output"
    if config.hardware_compatibility_level.name == "AMPERE_PLUS" and current().device.compute_capability < (8, 0):
        return "Hardware compatibility AMPERE_PLUS needs an Ampere GPU or a later one"
    dynamic = {each.name: each.shape for each in model.inputs if -1 in each.shape}
    if dynamic and not profiles:
        return "Network has dynamic or shape inputs, but no optimization profile has been defined."
    shapes = {each.name: each.shape for each in model.inputs}
    return next((words for profile in profiles if (words := _misfit(profile, shapes, dynamic))), "")


def _misfit(profile: Ranges, shapes: dict[str, tuple[int, ...]], dynamic: dict[str, tuple[int, ...]]) -> str:
    missing = [name for name in dynamic if name not in profile]
    if missing:
        return f"{missing[0]}: dynamic input is missing dimensions in a profile."
    for name, ranges in profile.items():
        if name not in shapes:
            return f"a profile has dimensions for {name}, which is no input"
        if not all(_matches(shapes[name], each) for each in ranges):
            return f"{name}: the dimensions of a profile do not match the network's {shapes[name]}"
    return ""


def _matches(declared: tuple[int, ...], sizes: tuple[int, ...]) -> bool:
    return len(declared) == len(sizes) and all(old in (-1, new) for old, new in zip(declared, sizes, strict=True))


def _report(monitor: Any, layers: int) -> bool:
    """Report two phases, one inside the other, to a monitor; gives whether to go on."""
    if monitor is None:
        return True
    outer, inner = PHASES
    _tell(monitor.phase_start, outer, None, 2)
    _tell(monitor.phase_start, inner, outer, layers)
    going = all(_tell(monitor.step_complete, inner, step) for step in range(layers))
    _tell(monitor.phase_finish, inner)
    going = going and all(_tell(monitor.step_complete, outer, step) for step in range(2))
    _tell(monitor.phase_finish, outer)
    return going


def _tell(callback: Any, *arguments: Any) -> bool:
    """Call a user's callback; what it raises is printed and cancels, as with the real one."""
    try:
        return bool(callback(*arguments))
    except Exception as error:  # the bindings catch what a callback throws
        print(f"[ERROR] Exception caught in {callback.__name__}(): {error}", file=sys.stderr)  # noqa: T201
        return False


# The configuration


BEHAVIOURS.keeps(
    "IBuilderConfig",
    builder_optimization_level=3,
    max_aux_streams=-1,
    progress_monitor=None,
    avg_timing_iterations=1,
    max_num_tactics=-1,
    l2_limit_for_tiling=-1,
    profile_stream=0,
    tiling_optimization_level=lambda module: module.enum("TilingOptimizationLevel", "NONE"),
    profiling_verbosity=lambda module: module.enum("ProfilingVerbosity", "LAYER_NAMES_ONLY"),
    hardware_compatibility_level=lambda module: module.enum("HardwareCompatibilityLevel", "NONE"),
    engine_capability=lambda module: module.enum("EngineCapability", "STANDARD"),
)


@does("IBuilderConfig.set_flag", required=True)
def set_flag(config: Any, flag: Any) -> None:
    config._fake_state.flags |= 1 << int(flag)


@does("IBuilderConfig.clear_flag", required=True)
def clear_flag(config: Any, flag: Any) -> None:
    config._fake_state.flags &= ~(1 << int(flag))


@does("IBuilderConfig.get_flag", required=True)
def get_flag(config: Any, flag: Any) -> bool:
    return bool(config._fake_state.flags >> int(flag) & 1)


does("IBuilderConfig.flags", required=True)(lambda config: config._fake_state.flags)


@sets("IBuilderConfig.flags")
def set_flags(config: Any, value: int) -> None:
    config._fake_state.flags = value


@does("IBuilderConfig.set_memory_pool_limit", required=True)
def set_memory_pool_limit(config: Any, pool: Any, pool_size: int) -> None:
    config._fake_state.pools[pool.name] = int(pool_size)


@does("IBuilderConfig.get_memory_pool_limit", required=True)
def get_memory_pool_limit(config: Any, pool: Any) -> int:
    return int(config._fake_state.pools.get(pool.name, 0))


@does("IBuilderConfig.set_preview_feature", required=True)
def set_preview_feature(config: Any, feature: Any, enable: bool) -> None:
    config._fake_kept[feature.name] = enable


@does("IBuilderConfig.get_preview_feature", required=True)
def get_preview_feature(config: Any, feature: Any) -> bool:
    return bool(config._fake_kept.get(feature.name, False))


does("IBuilderConfig.num_optimization_profiles", required=True)(lambda config: len(config._fake_state.profiles))


@does("IBuilderConfig.add_optimization_profile", required=True)
def add_optimization_profile(config: Any, profile: Any) -> int:
    if not bool(profile):
        return int(fail(config._fake_state.logger, "The optimization profile is invalid or incomplete", -1))
    config._fake_state.profiles.append(dict(profile._fake_state))
    return len(config._fake_state.profiles) - 1


# Profiles


@does("IOptimizationProfile.set_shape", required=True)
def set_profile_shape(profile: Any, input: str, min: Any, opt: Any, max: Any) -> None:  # noqa: A002
    low, best, high = sizes_of(min), sizes_of(opt), sizes_of(max)
    for name, lower, upper in (("opt", low, best), ("max", best, high)):
        if len(lower) != len(upper) or any(a > b or a < 0 for a, b in zip(lower, upper, strict=True)):
            raise RuntimeError(f"Shape provided for {name} is inconsistent with other shapes.")
    profile._fake_state[input] = (low, best, high)


@does("IOptimizationProfile.get_shape", required=True)
def get_profile_shape(profile: Any, input: str) -> list[Any]:  # noqa: A002
    return [module_of(profile).make("Dims", list(each)) for each in profile._fake_state.get(input, ())]


@does("IOptimizationProfile.__bool__", required=True)
def profile_is_valid(profile: Any) -> bool:
    return bool(profile._fake_state)


BEHAVIOURS.keeps("IOptimizationProfile", extra_memory_target=1.0)
