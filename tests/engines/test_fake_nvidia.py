"""The fakes of NVIDIA's bindings: they offer what the recorded surfaces have, and fail where the real ones fail."""

import functools
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.nvidia import fake_cuda, fake_tensorrt, machine
from support.nvidia.behaviours import Behaviours
from support.nvidia.install import Fakes, installed
from support.nvidia.machine import fake_device
from support.nvidia.rig import RANGES, WEIGHT, Bound, Rig, bind, make_logger, write_graph
from support.nvidia.signature_text import overloads
from support.nvidia.surface import CUDA, TENSORRT, load
from support.nvidia.trt_behaviours import BEHAVIOURS

X, Y = np.arange(8, dtype=np.float32).reshape(2, 4), np.full((2, 4), 2, np.float32)
PAIRS = {"10.3": "12", "10.16": "12", "11.4": "13"}
"""Releases of TensorRT and the CUDA bindings that meet."""


@pytest.fixture(params=TENSORRT)
def rig(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Rig:
    fakes = installed(monkeypatch, tensorrt=request.param, cuda=PAIRS[request.param])
    return Rig(fakes, make_logger(fakes.tensorrt))


@pytest.fixture(params=CUDA)
def cuda(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Fakes:
    return installed(monkeypatch, tensorrt=None, cuda=request.param)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    return write_graph(tmp_path / "add.onnx")


def said(rig: Rig) -> str:
    return " | ".join(words for severity, words in rig.logger.said if severity == "ERROR")


# Surfaces


@pytest.mark.parametrize("name", [*(f"tensorrt-{each}" for each in TENSORRT), *(f"cuda-{each}" for each in CUDA)])
def test_a_surface_says_what_it_was_recorded_from(name: str):
    surface = load(name)
    assert surface.version.startswith(name.partition("-")[2])
    assert len(surface.classes) > 90
    assert "/" not in json.dumps(dict(surface.values))


def test_signatures_are_read_out_of_docstrings():
    docstring = (
        "f(*args, **kwargs)\nOverloaded function.\n\n"
        "1. f(self: tensorrt_bindings.tensorrt.A, a: tuple[int, int], b: X = <X.Y: 0>) -> bool\n\n    What f(x) is.\n\n"
        "2. f(self: tensorrt_bindings.tensorrt.A, name: str = 'a,b') -> None\n"
    )
    expected = [["a: tuple[int, int]", "b: X = <X.Y: 0>", "-> bool"], ["name: str = 'a,b'"]]
    assert overloads("f", docstring) == expected


def test_what_changed_between_the_releases_is_in_the_surfaces():
    old, middle, new = (load(f"tensorrt-{version}") for version in TENSORRT)
    assert [each.has("BuilderFlag.FP16") for each in (old, middle, new)] == [True, True, False]
    assert [each.has("IBuilderConfig.tiling_optimization_level") for each in (old, middle, new)] == [False, True, True]
    assert old.member("Logger", "log") == ("Logger", old.classes["Logger"].own["log"])
    assert new.member("IConvolutionLayer", "name") == ("ILayer", new.classes["ILayer"].own["name"])


def test_behaviour_is_registered_for_names_that_are_there_only():
    behaviours = Behaviours(tuple(load(f"tensorrt-{version}") for version in TENSORRT))
    with pytest.raises(LookupError, match=r"Builder\.make_tea"):
        behaviours.does("Builder.make_tea")
    with pytest.raises(LookupError, match=r"is not in 11\.4"):
        behaviours.does("IBuilderConfig.int8_calibrator", required=True)
    behaviours.does("IBuilderConfig.int8_calibrator")


@pytest.mark.parametrize("version", TENSORRT)
def test_a_behaviour_of_a_name_that_a_release_lacks_is_not_offered(version: str):
    trt, surface = fake_tensorrt.fake(version), load(f"tensorrt-{version}")
    absent = [name for name in BEHAVIOURS.names() if "." in name and not surface.has(name)]
    for name in absent:
        owner, _, member = name.rpartition(".")
        assert not hasattr(trt, owner) or not hasattr(getattr(trt, owner), member)
    assert absent or version == "10.16"


# TensorRT: names and arguments


def test_a_name_that_a_release_lacks_is_an_attribute_error(monkeypatch: pytest.MonkeyPatch):
    trt = installed(monkeypatch, tensorrt="11.4", cuda="13").tensorrt
    for get in (
        lambda: trt.Tensor,
        lambda: trt.BuilderFlag.FP16,
        lambda: trt.Builder(trt.Logger()).platform_has_fast_fp16,
        lambda: trt.Builder(trt.Logger()).create_builder_config().int8_calibrator,
    ):
        with pytest.raises(AttributeError):
            get()


def test_what_cannot_be_set_is_an_attribute_error(rig: Rig, graph: Path):
    builder, network = rig.network(graph)
    with pytest.raises(AttributeError, match="has no attribute 'fp16'"):
        builder.create_builder_config().fp16 = True
    for target, name in ((network, "num_layers"), (builder, "logger")):
        with pytest.raises(AttributeError, match="has no setter"):
            setattr(target, name, 1)


def test_arguments_that_no_overload_takes_are_type_errors(rig: Rig):
    trt, builder = rig.trt, rig.trt.Builder(rig.logger)
    config = builder.create_builder_config()
    calls: list[Callable[[], Any]] = [
        lambda: trt.Builder(),
        lambda: trt.Builder(None),
        lambda: builder.create_network(flag=0),
        lambda: builder.create_network(0, 0),
        lambda: config.set_flag(4),
        lambda: config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE),
        lambda: trt.OnnxParser(builder.create_network(), rig.logger).parse_from_file(Path("add.onnx")),
        lambda: setattr(config, "builder_optimization_level", "high"),
        lambda: trt.Dims([1]) == trt.Dims([1]),
        lambda: 1 << trt.BuilderFlag.REFIT,
        lambda: trt.BuilderFlag.REFIT | trt.BuilderFlag.TF32,
    ]
    for call in calls:
        with pytest.raises(TypeError):
            call()


def test_what_cannot_be_made_says_so(rig: Rig):
    with pytest.raises(TypeError, match="No constructor defined"):
        rig.trt.ITimingCache()


def test_a_member_without_behaviour_says_so(rig: Rig, graph: Path):
    _, network = rig.network(graph)
    with pytest.raises(NotImplementedError, match=r"INetworkDefinition\.add_input"):
        network.add_input("z", rig.trt.float32, (1, 2))
    with pytest.raises(NotImplementedError, match=r"ITensor\.location"):
        _ = network.get_input(0).location


def test_what_is_used_is_recorded(rig: Rig, graph: Path):
    rig.engine(graph).create_execution_context(strategy=rig.trt.ExecutionContextAllocationStrategy.STATIC)
    touched = fake_tensorrt.touched(rig.trt)
    assert {
        "Builder.create_network",
        "ICudaEngine.create_execution_context",
        "ICudaEngine.create_execution_context(strategy)",
        "ExecutionContextAllocationStrategy.STATIC",
    } <= touched
    assert "ExecutionContextAllocationStrategy.USER_MANAGED" not in touched
    assert "BuilderFlag.TF32" not in touched


def test_enums_and_values_are_the_real_ones(rig: Rig):
    trt = rig.trt
    assert trt.Logger.Severity is trt.ILogger.Severity
    assert trt.Logger.ERROR is trt.ILogger.Severity.ERROR
    assert trt.float32 is trt.DataType.FLOAT
    assert (trt.nptype(trt.float16), trt.DataType.INT64.itemsize, trt.volume((2, 3))) == (np.float16, 8, 6)
    assert int(trt.BuilderFlag.REFIT) == trt.BuilderFlag.REFIT.value == trt.BuilderFlag.__members__["REFIT"].value
    assert (str(trt.BuilderFlag.REFIT), trt.BuilderFlag.REFIT == 4) == ("BuilderFlag.REFIT", False)
    with pytest.raises(TypeError, match="numpy"):
        trt.nptype(trt.bfloat16)


def test_an_error_code_of_10_3_does_not_tell_its_name(rig: Rig):
    code = rig.trt.ErrorCode.INVALID_NODE
    assert (code.name == "INVALID_NODE") == (rig.trt.__version__ != "10.3.0")
    assert str(code) == "ErrorCode.INVALID_NODE"


def test_a_callback_class_must_begin_its_base(rig: Rig):
    class Forgetful(rig.trt.ILogger):
        def __init__(self) -> None:
            self.said: list[str] = []

    with pytest.raises(TypeError, match="must be called when overriding __init__"):
        Forgetful()


def test_context_managers_are_deprecated(rig: Rig):
    with pytest.warns(DeprecationWarning, match="deprecated"), rig.trt.Builder(rig.logger):
        pass


# TensorRT: networks


def test_a_network_is_the_graph(rig: Rig, graph: Path):
    _, network = rig.network(graph)
    x, result = network.get_input(0), network.get_output(0)
    assert (x.name, tuple(x.shape), x.dtype.name, x.get_dimension_name(0)) == ("x", (-1, 4), "FLOAT", "B")
    assert (result.name, tuple(result.shape), result.get_dimension_name(0)) == ("sum", (-1, 4), None)
    assert [network.get_layer(index).get_output(0).name for index in range(network.num_layers)] == ["scaled", "sum"]
    assert [network.get_layer(index).name for index in range(2)] == ["node_of_scaled", "node_of_sum"]


def test_an_input_of_a_fixed_shape_needs_no_profile(rig: Rig, graph: Path):
    builder, network = rig.network(graph)
    for index in range(2):
        network.get_input(index).shape = (2, 4)
    engine = rig.load(builder.build_serialized_network(network, builder.create_builder_config()))
    assert [tuple(engine.get_tensor_shape(name)) for name in ("x", "sum")] == [(2, 4), (2, 4)]
    assert engine.num_optimization_profiles == 1


def test_external_weights_are_read_beside_the_graph(rig: Rig, tmp_path: Path):
    file = write_graph(tmp_path / "add.onnx", external=True)
    assert (tmp_path / "add.weights").exists()
    assert rig.engine(file).num_layers == 2


def test_a_file_that_is_no_graph_is_an_error_of_the_parser(rig: Rig, tmp_path: Path):
    file = tmp_path / "no.onnx"
    file.write_bytes(b"nothing at all")
    parser = rig.trt.OnnxParser(rig.trt.Builder(rig.logger).create_network(), rig.logger)
    assert not parser.parse_from_file(str(file))
    assert (parser.num_errors, parser.get_error(0).code()) == (1, rig.trt.ErrorCode.MODEL_DESERIALIZE_FAILED)
    parser.clear_errors()
    assert parser.num_errors == 0


def test_a_refused_operator_names_its_node(rig: Rig, graph: Path):
    rig.fakes.machine.refused_operators["Mul"] = "no products today"
    parser = rig.trt.OnnxParser(rig.trt.Builder(rig.logger).create_network(), rig.logger)
    assert not parser.parse_from_file(str(graph))
    error = parser.get_error(0)
    assert (error.node(), error.node_operator(), error.desc()) == (0, "Mul", "no products today")
    assert error.code() == rig.trt.ErrorCode.UNSUPPORTED_NODE


def test_attention_is_taken_from_10_14_on(rig: Rig, tmp_path: Path):
    heads = "q_num_heads = 1, kv_num_heads = 1"
    text = f"a (float[B,2,4] x, float[B,2,4] y) => (float[B,2,4] z) {{ z = Attention <{heads}> (x, y, y) }}"
    file = write_graph(tmp_path / "a.onnx", text)
    if rig.trt.__version__ == "10.3.0":
        with pytest.raises(ValueError, match="Attention is not supported"):
            rig.network(file)
    else:
        rig.network(file)


# TensorRT: builds


def test_a_build_reports_its_phases(rig: Rig, graph: Path):
    heard = []

    class Monitor(rig.trt.IProgressMonitor):
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            heard.append((phase_name, parent_phase, num_steps))

        def step_complete(self, _: str, step: int) -> bool:
            heard.append(step)
            return len(heard) < 100

        def phase_finish(self, phase_name: str) -> None:
            heard.append(phase_name)

    builder, network = rig.network(graph)
    config = rig.config(builder)
    config.progress_monitor = Monitor()
    assert builder.build_serialized_network(network, config) is not None
    outer, inner = heard[0][0], heard[1][0]
    assert heard == [(outer, None, 2), (inner, outer, 2), 0, 1, inner, 0, 1, outer]


@pytest.mark.parametrize("answer", [False, None, KeyError("broken callback")])
def test_a_monitor_that_says_no_or_raises_cancels(
    rig: Rig, graph: Path, answer: object, capsys: pytest.CaptureFixture[str]
):
    class Monitor(rig.trt.IProgressMonitor):
        def phase_start(self, *_: object) -> None: ...

        def step_complete(self, *_: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        def phase_finish(self, *_: object) -> None: ...

    builder, network = rig.network(graph)
    config = rig.config(builder)
    config.progress_monitor = Monitor()
    assert builder.build_serialized_network(network, config) is None
    assert "cancelled" in said(rig)
    assert ("step_complete" in capsys.readouterr().err) == isinstance(answer, Exception)


def test_a_dynamic_network_needs_profiles_that_fit(rig: Rig, graph: Path):
    assert rig.plan(graph, ranges=None) is None
    assert "no optimization profile" in said(rig)
    builder, network = rig.network(graph)
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    assert config.add_optimization_profile(profile) == -1
    profile.set_shape("x", *RANGES)
    assert config.add_optimization_profile(profile) == 0
    assert builder.build_serialized_network(network, config) is None
    assert "y: dynamic input is missing" in said(rig)
    assert rig.plan(graph, ranges=((1, 5), (2, 5), (8, 5))) is None
    assert "do not match" in said(rig)
    with pytest.raises(RuntimeError, match="inconsistent"):
        profile.set_shape("y", (2, 4), (1, 4), (8, 4))


def test_a_timing_cache_saves_work_on_its_device(rig: Rig, graph: Path):
    def build(content: bytes) -> tuple[bytes, bool]:
        builder, network = rig.network(graph)
        config = rig.config(builder)
        cache = config.create_timing_cache(content)
        taken = config.set_timing_cache(cache, ignore_mismatch=False)
        builder.build_serialized_network(network, config)
        return bytes(cache.serialize()), taken

    counts = rig.fakes.machine.counts
    content, taken = build(b"")
    assert (taken, counts["timed"]) == (True, 2)
    assert build(content)[1]
    assert counts["timed"] == 2
    fake_device("NVIDIA A10", (8, 6))
    assert not build(content)[1]
    assert counts["timed"] == 4
    builder, _ = rig.network(graph)
    assert builder.create_builder_config().create_timing_cache(b"junk") is None


def test_host_memory_has_the_buffer_protocol_and_no_length(rig: Rig, graph: Path):
    plan = rig.plan(graph)
    assert isinstance(plan, rig.trt.IHostMemory)
    assert len(bytes(plan)) == plan.nbytes == memoryview(plan).nbytes
    assert hashlib.sha256(plan).digest() == hashlib.sha256(bytes(plan)).digest()
    for use in (len, iter, lambda it: it[0]):
        with pytest.raises(TypeError):
            use(plan)


# TensorRT: plans


@pytest.mark.parametrize("damage", [lambda it: it[:-1], lambda _: b"", lambda it: it[:200] + b"?" + it[201:]])
def test_a_damaged_plan_is_refused(rig: Rig, graph: Path, damage: Callable[[bytes], bytes]):
    assert rig.load(damage(bytes(rig.plan(graph)))) is None
    assert "Magic tag" in said(rig)


@pytest.mark.parametrize(
    ("flags", "allowed", "loads"),
    [((), True, False), (("VERSION_COMPATIBLE",), True, True), (("VERSION_COMPATIBLE",), False, False)],
)
def test_a_plan_of_another_version(
    monkeypatch: pytest.MonkeyPatch, graph: Path, flags: tuple[str, ...], allowed: bool, loads: bool
):
    old = installed(monkeypatch, tensorrt="10.3")
    plan = bytes(Rig(old, make_logger(old.tensorrt)).plan(graph, flags))
    for version in ("10.16", "11.4"):
        new = installed(monkeypatch, tensorrt=version)
        runtime = new.tensorrt.Runtime(make_logger(new.tensorrt))
        runtime.engine_host_code_allowed = allowed
        assert (runtime.deserialize_cuda_engine(plan) is not None) == (loads and version == "10.16")


def test_a_plan_runs_on_its_compute_capability(rig: Rig, graph: Path):
    plan = bytes(rig.plan(graph))
    fake_device("NVIDIA GH200 480GB", (9, 0))
    assert rig.load(plan) is not None
    assert (
        "WARNING",
        "Using an engine plan file across different models of devices is not recommended",
    ) in rig.logger.said
    fake_device("NVIDIA A10", (8, 6))
    assert rig.load(plan) is None
    assert "expecting compute 8.6 got compute 9.0" in said(rig)


def test_a_compatible_plan_runs_on_others(rig: Rig, graph: Path):
    builder, network = rig.network(graph)
    config = rig.config(builder)
    config.hardware_compatibility_level = rig.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    plan = builder.build_serialized_network(network, config)
    fake_device("NVIDIA A10", (8, 6))
    assert rig.load(plan).hardware_compatibility_level == rig.trt.HardwareCompatibilityLevel.AMPERE_PLUS
    fake_device("Tesla T4", (7, 5))
    assert rig.load(plan) is None


def test_an_engine_tells_its_tensors(rig: Rig, graph: Path):
    engine, trt = rig.engine(graph), rig.trt
    names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
    assert names == ["x", "y", "sum"]
    assert [engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT for name in names] == [True, True, False]
    assert (tuple(engine.get_tensor_shape("sum")), engine.get_tensor_dtype("x")) == ((-1, 4), trt.float32)
    assert [tuple(each) for each in engine.get_tensor_profile_shape("x", 0)] == list(RANGES)
    assert engine.device_memory_size_v2 == engine.get_device_memory_size_for_profile_v2(0) > 0
    assert not engine.refittable


def test_the_inspector_tells_as_much_as_the_verbosity_allows(rig: Rig, graph: Path):
    def layers(verbosity: str) -> Any:
        builder, network = rig.network(graph)
        config = rig.config(builder)
        config.profiling_verbosity = getattr(rig.trt.ProfilingVerbosity, verbosity)
        inspector = rig.load(builder.build_serialized_network(network, config)).create_engine_inspector()
        return json.loads(inspector.get_engine_information(rig.trt.LayerInformationFormat.JSON))["Layers"]

    assert layers("NONE") == []
    assert layers("LAYER_NAMES_ONLY") == ["node_of_scaled", "node_of_sum"]
    assert [layer["LayerType"] for layer in layers("DETAILED")] == ["Mul", "Add"]


def test_memory_runs_out(rig: Rig, graph: Path):
    plan = rig.plan(graph)
    engine = rig.load(plan)
    fake_device(memory_bytes=100)
    assert engine.create_execution_context() is None
    assert "could not be allocated" in said(rig)
    assert engine.create_execution_context(rig.trt.ExecutionContextAllocationStrategy.USER_MANAGED) is not None
    fake_device(memory_bytes=10)
    assert rig.load(plan) is None


def test_a_test_can_make_a_member_fail(rig: Rig, graph: Path):
    rig.fakes.machine.failures |= {"Builder.build_serialized_network": None, "Runtime.__init__": None}
    assert rig.plan(graph) is None
    with pytest.raises(TypeError, match="nullptr"):
        rig.trt.Runtime(rig.logger)


def test_engines_and_contexts_hold_memory_while_they_live(rig: Rig, graph: Path):
    def free() -> int:
        return int(rig.fakes.cudart.cudaMemGetInfo()[1])

    all_ = free()
    engine = rig.engine(graph)
    loaded = free()
    context = engine.create_execution_context()
    assert (all_ - loaded, loaded - free()) == (WEIGHT.nbytes, engine.device_memory_size_v2)
    del context
    assert free() == loaded
    del engine
    assert free() == all_


def test_without_a_driver_there_is_no_builder(rig: Rig):
    rig.fakes.machine.driver = False
    for make in (rig.trt.Builder, rig.trt.Runtime):
        with pytest.raises(TypeError, match="factory function returned nullptr"):
            make(rig.logger)


# TensorRT: runs


@pytest.mark.parametrize("strategy", ["STATIC", "USER_MANAGED"])
def test_a_run_computes_the_graph(rig: Rig, graph: Path, strategy: str):
    bound = bind(rig, rig.engine(graph), strategy=strategy)
    bound.write("x", X)
    bound.write("y", Y)
    assert bound.run()
    assert np.array_equal(bound.read(), X + Y * WEIGHT)
    assert rig.fakes.machine.faults == []


def test_shapes_are_checked_and_follow(rig: Rig, graph: Path):
    bound = bind(rig, rig.engine(graph))
    context = bound.context
    assert tuple(context.get_tensor_shape("sum")) == (2, 4)
    assert not context.set_input_shape("x", (9, 4))
    assert "Valid range for profile 0: [1, 4]..[8, 4]" in said(rig)
    assert not context.set_input_shape("sum", (2, 4))
    assert context.infer_shapes() == []
    context.set_input_shape("x", [3, 4])
    with pytest.raises(RuntimeError, match="shape inference failed"):
        context.infer_shapes()
    assert not context.set_optimization_profile_async(1, int(bound.stream))
    assert context.set_optimization_profile_async(0, int(bound.stream))
    assert context.infer_shapes() == ["x", "y"]
    assert tuple(context.get_tensor_shape("sum")) == (-1, 4)


BROKEN = {
    "Input shapes of x, y are not set": lambda bound: bound.context.set_optimization_profile_async(
        0, int(bound.stream)
    ),
    "Address is not set for tensor y": lambda bound: bound.context.set_tensor_address("y", 0),
    "is no stream": lambda bound: bound.cudart.cudaStreamDestroy(bound.stream),
}


@pytest.mark.parametrize("words", BROKEN)
def test_a_run_that_lacks_something_is_refused(rig: Rig, graph: Path, words: str):
    bound = bind(rig, rig.engine(graph))
    BROKEN[words](bound)
    assert not bound.run()
    assert words in said(rig)


def test_a_run_without_its_activation_memory_is_refused(rig: Rig, graph: Path):
    engine = rig.engine(graph)
    bound = bind(rig, engine)
    bare = engine.create_execution_context(rig.trt.ExecutionContextAllocationStrategy.USER_MANAGED)
    for name in ("x", "y"):
        bare.set_input_shape(name, (2, 4))
    for name, address in bound.addresses.items():
        bare.set_tensor_address(name, address)
    bare.set_device_memory(bound.addresses["x"], engine.device_memory_size_v2 - 1)
    bare.set_device_memory(bound.addresses["x"] + 8, engine.device_memory_size_v2)
    assert said(rig).count("aligned to 256 bytes") == 2
    assert not bare.execute_async_v3(int(bound.stream))
    assert "Activation memory was not set" in said(rig)


def test_a_tensor_too_small_or_freed_is_a_fault(rig: Rig, graph: Path):
    bound = bind(rig, rig.engine(graph))
    bound.context.set_tensor_address("sum", bound.addresses["x"] + 16)
    assert not bound.run()
    assert "beyond device memory" in rig.fakes.machine.faults[-1]
    assert bound.cudart.cudaStreamSynchronize(bound.stream)[0].name == "cudaErrorIllegalAddress"


def test_activation_memory_over_a_tensor_spoils_it(rig: Rig, graph: Path):
    engine = rig.engine(graph)
    bound = bind(rig, engine)
    _, place = bound.cudart.cudaMalloc(engine.device_memory_size_v2)
    bound.context.set_device_memory(place, engine.device_memory_size_v2)
    bound.context.set_tensor_address("x", place)
    bound.write("y", Y)
    assert bound.run()
    assert not np.allclose(bound.read(), X + Y * WEIGHT)


def test_more_outputs_can_be_marked(rig: Rig, graph: Path):
    builder, network = rig.network(graph)
    network.mark_output(network.get_layer(0).get_output(0))
    engine = rig.load(builder.build_serialized_network(network, rig.config(builder)))
    assert [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)][2:] == ["sum", "scaled"]
    bound = bind(rig, engine)
    _, address = bound.cudart.cudaMalloc(32)
    bound.addresses["scaled"] = address
    bound.context.set_tensor_address("scaled", address)
    bound.write("x", X)
    bound.write("y", Y)
    assert bound.run()
    assert np.array_equal(bound.read("scaled"), Y * WEIGHT)


# TensorRT: refitting


def refitted(rig: Rig, engine: Any, file: Path) -> bool:
    refitter = rig.trt.Refitter(engine, rig.logger)
    parser_refitter = rig.trt.OnnxParserRefitter(refitter, rig.logger)
    return bool(parser_refitter.refit_from_file(str(file)) and refitter.refit_cuda_engine())


def result(rig: Rig, engine: Any) -> np.ndarray:
    bound = bind(rig, engine)
    bound.write("x", X)
    bound.write("y", Y)
    assert bound.run()
    return bound.read()


def test_a_refittable_engine_takes_new_weights(rig: Rig, graph: Path, tmp_path: Path):
    engine, new = rig.engine(graph, ["REFIT"]), write_graph(tmp_path / "new.onnx", weight=10 * WEIGHT)
    assert engine.refittable
    assert np.array_equal(result(rig, engine), X + Y * WEIGHT)
    assert refitted(rig, engine, new)
    assert np.array_equal(result(rig, engine), X + Y * 10 * WEIGHT)
    assert np.array_equal(result(rig, rig.load(engine.serialize())), X + Y * 10 * WEIGHT)


def test_other_engines_are_not_refitted(rig: Rig, graph: Path):
    with pytest.raises(TypeError, match="factory function returned nullptr"):
        rig.trt.Refitter(rig.engine(graph), rig.logger)
    assert "isRefittable" in said(rig)


def test_a_refitter_takes_what_fits(rig: Rig, graph: Path, tmp_path: Path):
    engine = rig.engine(graph, ["REFIT"])
    refitter = rig.trt.Refitter(engine, rig.logger)
    assert (refitter.get_all_weights(), refitter.get_missing_weights()) == (["weight"], [])
    assert not refitter.set_named_weights("waits", rig.trt.Weights(WEIGHT))
    assert not refitter.set_named_weights("weight", rig.trt.Weights(WEIGHT[:2].copy()))
    assert refitter.set_named_weights("weight", WEIGHT)
    other = write_graph(tmp_path / "other.onnx", weight=np.ones(1, np.float32))
    parser_refitter = rig.trt.OnnxParserRefitter(refitter, rig.logger)
    assert not parser_refitter.refit_from_file(str(other))
    assert parser_refitter.get_error(0).code() == rig.trt.ErrorCode.REFIT_FAILED


def test_a_stripped_plan_runs_when_it_was_refitted(rig: Rig, graph: Path):
    plan = bytes(rig.plan(graph, ["STRIP_PLAN"]))
    assert WEIGHT.tobytes() not in plan
    assert WEIGHT.tobytes() in bytes(rig.plan(graph))
    engine = rig.load(plan)
    assert rig.trt.Refitter(engine, rig.logger).get_missing_weights() == ["weight"]
    bound = bind(rig, engine)
    assert not bound.run()
    assert "not refitted" in said(rig)
    assert refitted(rig, engine, graph)
    assert np.array_equal(result(rig, engine), X + Y * WEIGHT)
    assert rig.fakes.machine.faults == []


def test_a_stripped_engine_is_serialised_with_weights_when_asked(rig: Rig, graph: Path):
    engine = rig.load(rig.plan(graph, ["STRIP_PLAN"]))
    config = engine.create_serialization_config()
    config.clear_flag(rig.trt.SerializationFlag.EXCLUDE_WEIGHTS)
    assert engine.serialize_with_config(config) is None
    refitted(rig, engine, graph)
    whole = rig.load(engine.serialize_with_config(config))
    assert np.array_equal(result(rig, whole), X + Y * WEIGHT)
    assert not whole.refittable
    assert rig.load(engine.serialize()).refittable


def test_identical_weights_must_be_identical(rig: Rig, graph: Path, tmp_path: Path):
    engine = rig.engine(graph, ["STRIP_PLAN"])
    assert refitted(rig, engine, write_graph(tmp_path / "new.onnx", weight=10 * WEIGHT))
    assert "REFIT_IDENTICAL" in rig.fakes.machine.faults[0]


# CUDA


def stream_of(cuda: Fakes) -> Any:
    return cuda.cudart.cudaStreamCreateWithFlags(cuda.cudart.cudaStreamNonBlocking)[1]


def test_names_and_arguments_are_the_surfaces(cuda: Fakes):
    cudart = cuda.cudart
    with pytest.raises(AttributeError):
        _ = cudart.cudaMallocs
    with pytest.raises(AttributeError):
        _ = cudart.cudaMemcpyKind.cudaMemcpyHostToMoon
    for wrong in (lambda: cudart.cudaMalloc(), lambda: cudart.cudaMalloc(bytes=3), lambda: cudart.cudaMalloc("3")):
        with pytest.raises(TypeError):
            wrong()
    with pytest.raises(NotImplementedError, match="cudaMallocManaged"):
        cudart.cudaMallocManaged(3, 1)
    with pytest.raises(AttributeError):
        _ = cudart.cudaGetDeviceProperties(0)[1].colour
    assert {"cudaMalloc", "cudaMemcpyKind"} <= fake_cuda.touched(cudart) | {"cudaMalloc"}


def test_a_number_for_an_enum_is_taken_by_13_only(cuda: Fakes):
    cudart = cuda.cudart
    _, there = cudart.cudaMalloc(8)
    if cudart._surface.version.startswith("12."):
        with pytest.raises(AttributeError, match="'int' object has no attribute 'value'"):
            cudart.cudaMemcpyAsync(there, there, 8, 3, 0)
    else:
        assert cudart.cudaMemcpyAsync(there, there, 8, 3, 0) == (0,)


def test_the_device_is_the_tests(cuda: Fakes):
    fake_device("NVIDIA A10", (8, 6), 1000)
    _, facts = cuda.cudart.cudaGetDeviceProperties(0)
    assert (facts.name, facts.major, facts.minor, facts.totalGlobalMem) == (b"NVIDIA A10", 8, 6, 1000)
    assert cuda.cudart.cudaGetDeviceProperties(1)[0].name == "cudaErrorInvalidDevice"
    assert cuda.cudart.cudaMemGetInfo() == (0, 1000, 1000)
    _, address = cuda.cudart.cudaMalloc(600)
    assert cuda.cudart.cudaMemGetInfo() == (0, 400, 1000)
    error, nothing = cuda.cudart.cudaMalloc(401)
    assert (error.name, nothing) == ("cudaErrorMemoryAllocation", None)
    assert cuda.cudart.cudaFree(address) == (0,)
    assert cuda.cudart.cudaMemGetInfo() == (0, 1000, 1000)


def test_without_a_driver_the_two_differ(cuda: Fakes):
    cuda.machine.driver = False
    if cuda.cudart._surface.version.startswith("12."):
        with pytest.raises(RuntimeError, match="libcuda"):
            cuda.cudart.cudaGetDeviceCount()
    else:
        assert cuda.cudart.cudaGetDeviceCount()[0].name == "cudaErrorInsufficientDriver"
    cuda.machine.driver, cuda.machine.devices = True, 0
    assert cuda.cudart.cudaGetDeviceCount()[0].name == "cudaErrorNoDevice"


def test_a_test_can_make_a_function_fail(cuda: Fakes):
    cuda.machine.failures["cudaStreamSynchronize"] = "cudaErrorLaunchFailure"
    assert cuda.cudart.cudaStreamSynchronize(0)[0].name == "cudaErrorLaunchFailure"


def test_leaks_are_listed(cuda: Fakes):
    cudart = cuda.cudart
    _, address = cudart.cudaMalloc(8)
    _, pinned = cudart.cudaMallocHost(8)
    _, event = cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming)
    stream = stream_of(cuda)
    assert len(cuda.machine.live()) == 4
    with pytest.raises(AssertionError, match="leaked: device memory"):
        cuda.machine.check()
    ends = ((cudart.cudaFree, address), (cudart.cudaFreeHost, pinned), (cudart.cudaEventDestroy, event))
    for function, it in (*ends, (cudart.cudaStreamDestroy, stream)):
        assert function(it) == (0,)
    cuda.machine.check()


def test_memory_is_not_misused_unseen(cuda: Fakes):
    cudart, kinds = cuda.cudart, cuda.cudart.cudaMemcpyKind
    _, address = cudart.cudaMalloc(8)
    _, pinned = cudart.cudaMallocHost(8)
    wrong = [
        cudart.cudaMemcpyAsync(address, pinned, 9, kinds.cudaMemcpyHostToDevice, 0),
        cudart.cudaMemcpyAsync(pinned, pinned, 8, kinds.cudaMemcpyHostToDevice, 0),
        cudart.cudaMemcpyAsync(address, address, 8, kinds.cudaMemcpyHostToDevice, 0),
        cudart.cudaMemsetAsync(address + 1, 0, 8, 0),
        cudart.cudaFree(pinned),
        cudart.cudaFree(address + 4),
    ]
    assert {status[0].name for status in wrong} == {"cudaErrorInvalidValue"}
    assert cudart.cudaFree(address) == (0,)
    assert cudart.cudaFree(address)[0].name == "cudaErrorInvalidValue"
    assert cudart.cudaMemsetAsync(address, 0, 8, 0)[0].name == "cudaErrorInvalidValue"
    assert len(cuda.machine.faults) == 8
    assert cudart.cudaFree(0) == (0,)


def pinned_array(cuda: Fakes, size: int) -> tuple[int, np.ndarray]:
    _, address = cuda.cudart.cudaMallocHost(size)
    return address, cuda.machine.memory.view(address, size)


def test_lazy_streams_show_what_is_read_or_overwritten_too_early(cuda: Fakes):
    cudart, kinds, stream = cuda.cudart, cuda.cudart.cudaMemcpyKind, stream_of(cuda)
    cuda.machine.lazy = True
    _, there = cudart.cudaMalloc(4)
    source, sent = pinned_array(cuda, 4)
    target, received = pinned_array(cuda, 4)
    sent[:] = 1
    cudart.cudaMemcpyAsync(there, source, 4, kinds.cudaMemcpyHostToDevice, stream)
    cudart.cudaMemcpyAsync(target, there, 4, kinds.cudaMemcpyDeviceToHost, stream)
    assert cudart.cudaStreamQuery(stream)[0].name == "cudaErrorNotReady"
    assert not np.any(received == 1)
    sent[:] = 2
    assert cudart.cudaStreamSynchronize(stream) == (0,)
    assert np.all(received == 2)


def test_pageable_memory_is_read_at_the_call(cuda: Fakes):
    cudart, kinds, stream = cuda.cudart, cuda.cudart.cudaMemcpyKind, stream_of(cuda)
    cuda.machine.lazy = True
    _, there = cudart.cudaMalloc(4)
    mine, back = np.full(4, 1, np.uint8), np.zeros(4, np.uint8)
    cudart.cudaMemcpyAsync(there, mine.ctypes.data, 4, kinds.cudaMemcpyHostToDevice, stream)
    mine[:] = 2
    cudart.cudaMemcpyAsync(back.ctypes.data, there, 4, kinds.cudaMemcpyDeviceToHost, stream)
    assert np.all(back == 1)


def test_an_event_is_reached_with_what_lies_before_it(cuda: Fakes):
    cudart, stream = cuda.cudart, stream_of(cuda)
    cuda.machine.lazy = True
    _, there = cudart.cudaMalloc(4)
    content = cuda.machine.memory.view(there, 4)
    _, event = cudart.cudaEventCreateWithFlags(cudart.cudaEventDisableTiming)
    cudart.cudaMemsetAsync(there, 1, 4, stream)
    cudart.cudaEventRecord(event, stream)
    cudart.cudaMemsetAsync(there, 2, 4, stream)
    assert cudart.cudaEventQuery(event)[0].name == "cudaErrorNotReady"
    assert cudart.cudaEventSynchronize(event) == (0,)
    assert np.all(content == 1)
    other = stream_of(cuda)
    cudart.cudaEventRecord(event, stream)
    cudart.cudaStreamWaitEvent(other, event, 0)
    assert cudart.cudaStreamSynchronize(other) == (0,)
    assert np.all(content == 2)


def test_memory_freed_under_queued_work_is_a_fault_that_stays(cuda: Fakes):
    cudart, stream = cuda.cudart, stream_of(cuda)
    cuda.machine.lazy = True
    _, there = cudart.cudaMalloc(4)
    cudart.cudaMemsetAsync(there, 1, 4, stream)
    cudart.cudaFree(there)
    assert cudart.cudaStreamSynchronize(stream)[0].name == "cudaErrorIllegalAddress"
    assert cudart.cudaMalloc(4)[0].name == "cudaErrorIllegalAddress"
    assert "used after it was freed" in cuda.machine.faults[0]


# Capture


def capture(cuda: Fakes, stream: Any, work: Callable[[], Any], mode: str = "ThreadLocal") -> tuple[Any, Any]:
    modes = cuda.cudart.cudaStreamCaptureMode
    assert cuda.cudart.cudaStreamBeginCapture(stream, getattr(modes, f"cudaStreamCaptureMode{mode}")) == (0,)
    work()
    status, graph = cuda.cudart.cudaStreamEndCapture(stream)
    return status, graph


def test_captured_work_runs_when_it_is_launched(cuda: Fakes):
    cudart, stream = cuda.cudart, stream_of(cuda)
    _, there = cudart.cudaMalloc(4)
    content = cuda.machine.memory.view(there, 4)
    content[:] = 0
    status, graph = capture(cuda, stream, lambda: cudart.cudaMemsetAsync(there, 7, 4, stream))
    assert (status, np.any(content)) == (0, False)
    status, executable = cudart.cudaGraphInstantiate(graph, 0)
    assert cudart.cudaGraphDestroy(graph) == (0,)
    for _ in range(2):
        content[:] = 0
        assert cudart.cudaGraphLaunch(executable, stream) == (0,)
        assert np.all(content == 7)
    assert cudart.cudaGraphExecDestroy(executable) == (0,)
    assert cudart.cudaGraphLaunch(executable, stream)[0].name == "cudaErrorInvalidValue"


FORBIDDEN: dict[str, Callable[[Any, Any], Any]] = {
    "cudaStreamSynchronize": lambda cudart, stream: cudart.cudaStreamSynchronize(stream),
    "cudaStreamQuery": lambda cudart, stream: cudart.cudaStreamQuery(stream),
    "cudaMalloc": lambda cudart, _: cudart.cudaMalloc(4),
    "cudaFree": lambda cudart, _: cudart.cudaFree(0),
    "cudaDeviceSynchronize": lambda cudart, _: cudart.cudaDeviceSynchronize(),
}


@pytest.mark.parametrize("name", FORBIDDEN)
def test_what_may_not_be_called_breaks_the_capture(cuda: Fakes, name: str):
    stream, heard = stream_of(cuda), []
    status, graph = capture(cuda, stream, lambda: heard.append(FORBIDDEN[name](cuda.cudart, stream)[0].name))
    assert heard == ["cudaErrorStreamCaptureUnsupported"]
    assert (status.name, graph) == ("cudaErrorStreamCaptureInvalidated", None)
    assert cuda.cudart.cudaStreamSynchronize(stream) == (0,)


def test_a_relaxed_capture_lets_memory_be_taken(cuda: Fakes):
    stream = stream_of(cuda)
    assert capture(cuda, stream, lambda: cuda.cudart.cudaMalloc(4), "Relaxed")[0] == 0


def test_pageable_memory_and_marks_are_not_for_captures(cuda: Fakes):
    cudart, stream = cuda.cudart, stream_of(cuda)
    _, there = cudart.cudaMalloc(4)
    mine, kind = np.zeros(4, np.uint8), cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    status, _ = capture(cuda, stream, lambda: cudart.cudaMemcpyAsync(there, mine.ctypes.data, 4, kind, stream))
    assert status.name == "cudaErrorStreamCaptureInvalidated"
    _, event = cudart.cudaEventCreateWithFlags(0)
    assert capture(cuda, stream, lambda: cudart.cudaEventRecord(event, stream))[0] == 0
    assert cudart.cudaEventSynchronize(event)[0].name == "cudaErrorCapturedEvent"


def captured_run(rig: Rig, bound: Bound) -> str:
    return str(capture(rig.fakes, bound.stream, bound.run)[0].name)


def test_a_run_is_captured_after_a_first_one(rig: Rig, graph: Path):
    bound = bind(rig, rig.engine(graph))
    bound.write("x", X)
    bound.write("y", Y)
    assert captured_run(rig, bound) == "cudaErrorStreamCaptureInvalidated"
    assert "cannot be captured" in said(rig)
    assert bound.run()
    _, captured = capture(rig.fakes, bound.stream, bound.run)
    _, executable = bound.cudart.cudaGraphInstantiate(captured, 0)
    bound.write("x", 2 * X)
    assert bound.cudart.cudaGraphLaunch(executable, bound.stream) == (0,)
    assert np.array_equal(bound.read(), 2 * X + Y * WEIGHT)
    bound.context.set_input_shape("x", (1, 4))
    bound.context.set_input_shape("y", (1, 4))
    assert captured_run(rig, bound) == "cudaErrorStreamCaptureInvalidated"


# Installation


def test_fakes_stand_in_the_places_of_the_real_ones(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        fakes = installed(patch, tensorrt="11.4", cuda="13")
        import tensorrt
        from cuda.bindings import runtime

        assert tensorrt is fakes.tensorrt
        assert runtime is fakes.cudart
        assert machine.current() is fakes.machine
    assert machine.current() is not fakes.machine


def test_what_the_engines_kept_of_a_library_is_forgotten(monkeypatch: pytest.MonkeyPatch):
    module = ModuleType("foley_engines.keeper_of_imports")
    module.import_library = functools.cache(lambda: machine.current())  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    before = module.import_library()
    with monkeypatch.context() as patch:
        fakes = installed(patch)
        assert module.import_library() is fakes.machine is not before
    assert module.import_library() is before


@pytest.mark.parametrize("absent", ["tensorrt", "cuda"])
def test_a_library_can_be_absent(monkeypatch: pytest.MonkeyPatch, absent: str):
    installed(monkeypatch, **{absent: None})
    with pytest.raises(ModuleNotFoundError):
        __import__(absent)
