"""Every name of NVIDIA's bindings that the GPU engines use is in the releases that Foley runs on."""

from pathlib import Path

import pytest
from support.nvidia.conformance import Findings, check_guards, read
from support.nvidia.source_reader import RECEIVERS
from support.nvidia.surface import TENSORRT, load

PACKAGE = Path(__file__).parents[2] / "engines" / "foley_engines"
FOLDERS = ("cuda", "tensorrt")
GUARDED: dict[str, tuple[str, ...]] = {
    "IBuilderConfig.tiling_optimization_level": ("10.16", "11.4"),
    "TilingOptimizationLevel": ("10.16", "11.4"),
}
"""Names that some releases lack, and those that have them: the code asks before it uses them."""


@pytest.fixture(scope="module")
def findings() -> Findings:
    files = sorted(file for folder in FOLDERS for file in (PACKAGE / folder).glob("*.py"))
    if not files:
        pytest.skip("there are no GPU engines yet")
    return read({str(file.relative_to(PACKAGE)): file.read_text(encoding="utf-8") for file in files})


def test_every_release_has_every_name_and_takes_every_call(findings: Findings):
    for name, versions in findings.names().items():
        print(f"{name:60} {' '.join(versions)}")  # noqa: T201 — the list is what one reads before a release is added
    assert findings.problems(GUARDED) == []


def test_guards_are_true_and_needed(findings: Findings):
    assert check_guards(findings, GUARDED) == []


def test_the_names_are_many(findings: Findings):
    names = findings.names()
    assert {"Builder.build_serialized_network", "cudaMemcpyAsync", "cudaMemcpyKind.cudaMemcpyHostToDevice"} <= set(
        names
    )


def problems(code: str, **guarded: tuple[str, ...]) -> list[str]:
    guards = {name.replace("__", "."): versions for name, versions in guarded.items()}
    return read({"file.py": code}).problems(guards)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("trt.BuilderFlag.FP16", "BuilderFlag.FP16 is not in tensorrt 11.4"),
        ("config.int8_calibrator = None", "IBuilderConfig.int8_calibrator is not in tensorrt 11.4"),
        ("trt.BuilderFlag.REFITT", "BuilderFlag.REFITT is not in tensorrt 10.3, 10.16, 11.4"),
        ("trt.Bilder(logger)", "Bilder is not in"),
        ("engine.num_io_tensor", "ICudaEngine.num_io_tensor is not in"),
        ("self._engine.num_io_tensor", "ICudaEngine.num_io_tensor is not in"),
        ("host.runtime.load_runtimes", ""),
        ("builder.create_network(flag=0)", "Builder.create_network of tensorrt-10.3 takes (flags), got 0 positional"),
        ("builder.create_network(0, 1)", "Builder.create_network of tensorrt-10.3 takes (flags), got 2 positional"),
        ("config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)", "takes (pool, pool_size), got 1 positional"),
        ("trt.Builder()", "Builder of tensorrt-10.3 takes (logger), got 0 positional"),
        ("engine.create_execution_context(runtime_config=None)", "of tensorrt-10.3 takes (strategy)"),
        ("network.get_input(0).shapes", "ITensor.shapes is not in"),
        ("tensor = network.get_input(0)\ntensor.dtype.nam", "DataType.nam is not in"),
        ("thing = trt.Builder(logger)\nthing.create_networks()", "Builder.create_networks is not in"),
        ("trt.Logger.Severity.EROR", "Severity.EROR is not in"),
        ("trt.ILogger.__init__(self, 3)", "takes (), got 1 positional"),
        ("mine.build_serialized_network(network, config)", "'mine' has TensorRT's member 'build_serialized_network'"),
        (
            "class M(trt.IProgressMonitor):\n    def phase_start(self, name, steps):\n        pass",
            "IProgressMonitor.phase_start of tensorrt-10.3 takes (phase_name, parent_phase, num_steps), got 2",
        ),
        ("cudart.cudaMallocs(3)", "cudaMallocs is not in cuda 12, 13"),
        ("self._device.cudart.cudaMalloc(3, 4)", "cudaMalloc of cuda-12 takes (size), got 2 positional"),
        ("call(cudart.cudaMalloc, 3, 4)", "cudaMalloc of cuda-12 takes (size), got 2 positional"),
        ("cudart.cudaMemcpyKind.cudaMemcpyToMoon", "cudaMemcpyKind.cudaMemcpyToMoon is not in cuda"),
        ("cudart.cudaMemAdvise_v2(there, 3, advice, location)", "cudaMemAdvise_v2 is not in cuda 13"),
        ("cudart.cudaMemPrefetchAsync(there, 3, 0, stream)", "cudaMemPrefetchAsync of cuda-13 takes"),
    ],
)
def test_the_checker_catches(code: str, words: str):
    found = problems(code)
    assert any(words in each for each in found) if words else found == []


@pytest.mark.parametrize(
    "code",
    [
        "builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))",
        "config.set_timing_cache(timing_cache, ignore_mismatch=False)",
        "engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)",
        "engine.create_execution_context()",
        "profile.set_shape('x', *ranges)",
        "for index in range(network.num_inputs):\n    network.get_input(index).shape = (1, 2)",
        "class Keeping(trt.ILogger):\n    def __init__(self):\n"
        "        trt.ILogger.__init__(self)\n        self.errors = []\n"
        "def reason(logger):\n    return logger.errors",
        "class M(trt.IProgressMonitor):\n    def phase_start(self, name, parent, steps):\n        self.told = name",
        "class L(trt.ILogger):\n    def log(self, *rest):\n        self.tell()\n    def tell(self):\n        pass",
        "def plan(profile: Profile):\n    return profile.symbols",
        "try:\n    pass\nexcept OSError as error:\n    error.strerror",
        "class Host:\n    def __init__(self):\n        self._engines: list[Own] = []\n"
        "    def close(self):\n        for engine in self._engines:\n            engine.shut()",
        "class Session:\n    def __init__(self, context: Own, own: Own):\n"
        "        self._context, self._own = context, own\n"
        "    def settle(self):\n        self._context.settle()",
        "class Own:\n    pass\nengine = Own()\nengine.shut()",
        "host.engine.shut()",
        "call(cudart.cudaStreamSynchronize, self.stream)",
        "cudart.cudaStreamCreateWithFlags(cudart.cudaStreamNonBlocking)",
    ],
)
def test_the_checker_lets_pass(code: str):
    assert problems(code) == []


def test_a_guard_is_for_the_releases_that_have_the_name():
    code = "config.tiling_optimization_level = trt.TilingOptimizationLevel.FAST"
    having = ("10.16", "11.4")
    guards = {
        "IBuilderConfig.tiling_optimization_level": having,
        "TilingOptimizationLevel": having,
        "TilingOptimizationLevel.FAST": having,
    }
    findings = read({"file.py": code})
    assert (findings.problems(guards), check_guards(findings, guards)) == ([], [])
    assert len(findings.problems({})) == 3
    wrong = {**guards, "TilingOptimizationLevel": ("11.4",)}
    assert check_guards(findings, wrong) == [
        "TilingOptimizationLevel is guarded for ['11.4'], but is in ['10.16', '11.4']"
    ]
    assert len(findings.problems(wrong)) == 1
    assert check_guards(findings, {**guards, "OnnxParser": having}) == ["OnnxParser is guarded and not used"]


def test_the_convention_is_of_classes_that_every_release_has():
    for version in TENSORRT:
        assert set(RECEIVERS.values()) <= set(load(f"tensorrt-{version}").classes)
