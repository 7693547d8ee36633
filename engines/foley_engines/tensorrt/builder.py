"""A graph and a profile to a serialised plan."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from foley_engines.base import TensorSpec
from foley_engines.errors import EngineError, UsageError
from foley_engines.profiles import Profile, is_static, span
from foley_engines.setups import BuildOptions
from foley_engines.tensorrt.library import made, reason
from foley_engines.tensorrt.network import inputs_of, outputs_of, parse
from foley_engines.tensorrt.progress import make_monitor

MIB: Final = 1 << 20
TILING: Final = {"none": "NONE", "fast": "FAST", "moderate": "MODERATE", "full": "FULL"}


@dataclass(frozen=True)
class Built:
    """A plan that nobody has checked yet."""

    content: Any
    """Bytes of the plan, by the buffer protocol."""
    timings: bytes
    """The timing cache after the build."""
    seconds: float


def describe_graph(trt: Any, graph: Path, logger: Any) -> tuple[list[TensorSpec], list[TensorSpec]]:  # noqa: ANN401
    """Give a graph's inputs and outputs, as the parser reads them.

    Raises:
        EngineError: the parser refuses the graph.
    """
    builder = made(trt.Builder, logger)
    network, _parser = parse(trt, builder, graph, logger)
    return inputs_of(network), outputs_of(network)


def build_plan(
    trt: Any,  # noqa: ANN401
    logger: Any,  # noqa: ANN401
    graph: Path,
    profile: Profile,
    options: BuildOptions,
    *,
    timings: bytes,
    tell: Callable[[str, float], None],
    outputs: tuple[str, ...] = (),
) -> Built:
    """Build a plan. `timings` is an earlier timing cache, or empty; `outputs` are inner tensors to give out as well.

    Raises:
        UsageError: an option is not in this TensorRT.
        EngineError: the parser refuses the graph, or the builder fails; the message has its reason.
    """
    begin = time.monotonic()
    builder = made(trt.Builder, logger)
    network, _parser = parse(trt, builder, graph, logger)
    _mark(network, outputs, graph)
    config = builder.create_builder_config()
    _configure(trt, config, options)
    _set_sizes(builder, network, config, profile, graph, logger)
    timing_cache = _attach_timings(config, timings, logger)
    monitor = make_monitor(trt, tell)
    config.progress_monitor = monitor
    host_memory = builder.build_serialized_network(network, config)
    if monitor.raised is not None:
        raise monitor.raised
    if host_memory is None:
        raise EngineError(f"TensorRT builds no plan of {graph.name}: {reason(logger)}")
    return Built(host_memory, bytes(timing_cache.serialize()), time.monotonic() - begin)


def _configure(trt: Any, config: Any, options: BuildOptions) -> None:  # noqa: ANN401
    config.builder_optimization_level = options.level
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * MIB)
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams
    if not options.tf32:
        config.clear_flag(trt.BuilderFlag.TF32)
    for flag in _flags(trt, options):
        config.set_flag(flag)
    _configure_tiling(trt, config, options)
    _configure_portability(trt, config, options)


def _flags(trt: Any, options: BuildOptions) -> list[Any]:  # noqa: ANN401
    """Choose flags. Weights left out come back identical, unless the plan is to be refittable with others."""
    flags = []
    if options.version_compatible:
        flags.append(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.refittable:
        flags.append(trt.BuilderFlag.REFIT)
    if options.stripped:
        flags.append(trt.BuilderFlag.STRIP_PLAN)
        if not options.refittable:
            flags.append(trt.BuilderFlag.REFIT_IDENTICAL)
    return flags


def _configure_tiling(trt: Any, config: Any, options: BuildOptions) -> None:  # noqa: ANN401
    if options.tiling == "none":
        return
    if not hasattr(trt, "TilingOptimizationLevel"):
        raise UsageError(f"tiling is {options.tiling!r}, but TensorRT {trt.__version__} has none; leave it out")
    config.tiling_optimization_level = getattr(trt.TilingOptimizationLevel, TILING[options.tiling])


def _configure_portability(trt: Any, config: Any, options: BuildOptions) -> None:  # noqa: ANN401
    if options.portable == "no":
        return
    name = "AMPERE_PLUS" if options.portable == "ampere+" else "SAME_COMPUTE_CAPABILITY"
    if not hasattr(trt.HardwareCompatibilityLevel, name):
        raise UsageError(f"TensorRT {trt.__version__} has no plans for the {options.portable} GPUs; choose ampere+")
    config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, name)


def _set_sizes(builder: Any, network: Any, config: Any, profile: Profile, graph: Path, logger: Any) -> None:  # noqa: ANN401
    """Write sizes that leave no choice into the network; give others as an optimisation profile."""
    specs = inputs_of(network)
    if is_static(profile):
        for index, spec in enumerate(specs):
            network.get_input(index).shape = span(spec, profile)[0]
        return
    sizes = builder.create_optimization_profile()
    for spec in specs:
        if any(isinstance(axis, str) for axis in spec.shape):
            sizes.set_shape(spec.name, *span(spec, profile))
    if config.add_optimization_profile(sizes) < 0:
        raise EngineError(f"TensorRT takes no such sizes for {graph.name}: {reason(logger)}")


def _attach_timings(config: Any, timings: bytes, logger: Any) -> Any:  # noqa: ANN401
    """Let the build start from earlier timings; those of another device or version are refused, and begun anew."""
    timing_cache = config.create_timing_cache(timings)
    if timing_cache is None or not config.set_timing_cache(timing_cache, ignore_mismatch=False):
        reason(logger)  # said of the timings: a later failure has another
        timing_cache = config.create_timing_cache(b"")
        config.set_timing_cache(timing_cache, ignore_mismatch=False)
    return timing_cache


def _mark(network: Any, names: tuple[str, ...], graph: Path) -> None:  # noqa: ANN401
    """Give inner tensors out."""
    if not names:
        return
    layers = (network.get_layer(index) for index in range(network.num_layers))
    found = {
        tensor.name: tensor
        for layer in layers
        for index in range(layer.num_outputs)
        if (tensor := layer.get_output(index)) is not None
    }
    for name in names:
        if name not in found:
            raise EngineError(f"{graph.name}: the network has no tensor {name!r}")
        tensor = found[name]
        if not tensor.is_network_output:
            network.mark_output(tensor)
