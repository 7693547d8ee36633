"""Options of a build reach TensorRT's configuration and the record, in every release."""

from pathlib import Path

import pytest
from support.engine_hosts import installed_tensorrt
from support.nvidia.machine import fake_device
from support.plan_bench import make_bench
from support.sum_graph import SUM

from foley_engines import BuildOptions, GraphFile, Spelling
from foley_engines.errors import UsageError
from foley_engines.profiles import fixed
from foley_engines.tensorrt.builder import _configure
from foley_engines.tensorrt.network import _flags
from foley_engines.tensorrt.progress import make_monitor

TWO = {"B": fixed(2)}

FLAGS = [
    (BuildOptions(), set()),
    (BuildOptions(tf32=True), {"TF32"}),
    (BuildOptions(version_compatible=True), {"VERSION_COMPATIBLE"}),
    (BuildOptions(refittable=True), {"REFIT"}),
    (BuildOptions(stripped=True), {"STRIP_PLAN", "REFIT_IDENTICAL"}),
    (BuildOptions(stripped=True, refittable=True), {"STRIP_PLAN", "REFIT"}),
]


@pytest.mark.parametrize(("options", "flags"), FLAGS, ids=lambda value: str(value)[:60])
def test_flags_are_set(any_bench, options: BuildOptions, flags: set[str]):
    """float32 products are not rounded to TF32, which TensorRT's default would do."""
    any_bench.keeper(options=options, host_code=options.version_compatible).build(TWO)
    [header] = any_bench.headers()
    assert set(header.flags) - {"WEIGHTLESS"} == flags  # another name of STRIP_PLAN


def test_kernels_can_be_told_from_the_plan(any_bench):
    any_bench.keeper().build(TWO)
    assert [header.verbosity for header in any_bench.headers()] == ["DETAILED"]


@pytest.mark.parametrize(
    ("options", "name", "value"),
    [
        (BuildOptions(level=5), "builder_optimization_level", 5),
        (BuildOptions(), "builder_optimization_level", 3),
        (BuildOptions(aux_streams=0), "max_aux_streams", 0),
    ],
    ids=str,
)
def test_numbers_are_set(any_bench, options: BuildOptions, name: str, value: int):
    any_bench.keeper(options=options).build(TWO)
    [header] = any_bench.headers()
    assert header.options[name] == value


def configured(bench, options: BuildOptions):
    host = bench.host()
    config = host.trt.Builder(host.logger).create_builder_config()
    _configure(host.trt, config, options)
    return host.trt, config


def test_scratch_memory_is_limited_only_where_that_is_asked_for(any_bench):
    trt, config = configured(any_bench, BuildOptions(workspace_mib=256))
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 256 << 20
    _, config = configured(any_bench, BuildOptions())
    assert config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE) == 80 << 30


@pytest.mark.parametrize(("level", "name"), [("fast", "FAST"), ("moderate", "MODERATE"), ("full", "FULL")])
def test_tiling_is_searched_where_tensorrt_can(bench, level, name: str):
    trt, config = configured(bench, BuildOptions(tiling=level))
    assert config.tiling_optimization_level == getattr(trt.TilingOptimizationLevel, name)


def test_tiling_is_refused_in_one_line_where_tensorrt_cannot(tmp_path, monkeypatch: pytest.MonkeyPatch):
    bench = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.3"))
    with pytest.raises(UsageError, match=r"^tiling is 'full', but TensorRT 10\.3\.0 has none; leave it out$"):
        bench.run(options=BuildOptions(tiling="full"))
    assert bench.records() == []
    bench.close()


def test_portable_plans_are_for_ampere_and_later(any_bench):
    any_bench.keeper(options=BuildOptions(portable="ampere+")).build(TWO)
    assert [header.compatibility for header in any_bench.headers()] == ["AMPERE_PLUS"]


def test_plans_for_one_compute_capability_are_made_or_refused(any_bench):
    has = hasattr(any_bench.fakes.tensorrt.HardwareCompatibilityLevel, "SAME_COMPUTE_CAPABILITY")
    keeper = any_bench.keeper(options=BuildOptions(portable="same-compute-capability"))
    if has:
        keeper.build(TWO)
        assert [header.compatibility for header in any_bench.headers()] == ["SAME_COMPUTE_CAPABILITY"]
        return
    with pytest.raises(UsageError, match=r"^TensorRT 10\.3\.0 has no plans for the same-compute-capability GPUs"):
        keeper.build(TWO)


@pytest.mark.parametrize(
    ("part", "options", "words"),
    [
        ("level", BuildOptions(level=1), "1"),
        ("workspace", BuildOptions(workspace_mib=64), "64 MiB"),
        ("workspace", BuildOptions(), "all"),
        ("tiling", BuildOptions(tiling="fast"), "fast"),
        ("portable", BuildOptions(portable="ampere+"), "ampere+"),
        ("version-compatible", BuildOptions(version_compatible=True), "yes"),
        ("refittable", BuildOptions(refittable=True), "yes"),
        ("stripped", BuildOptions(stripped=True), "yes"),
        ("TF32", BuildOptions(tf32=True), "yes"),
        ("auxiliary streams", BuildOptions(aux_streams=2), "2"),
        ("auxiliary streams", BuildOptions(), "any"),
    ],
    ids=str,
)
def test_every_option_is_a_part_of_the_record(bench, part: str, options: BuildOptions, words: str):
    parts = bench.keeper(options=options).parts(TWO)
    assert parts[part] == words
    others = bench.keeper(options=BuildOptions()).parts(TWO)
    assert {name for name in parts if parts[name] != others[name]} == ({part} if options != BuildOptions() else set())


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"level": 6}, "builder level is 6, expected 0"),
        ({"level": -1}, "builder level is -1"),
        ({"level": True}, "builder level is True"),
        ({"workspace_mib": 0}, "workspace is 0 MiB, expected 1 or more"),
        ({"aux_streams": -1}, "auxiliary streams are -1, expected 0 or more"),
    ],
)
def test_options_out_of_range_are_refused(wrong: dict, words: str):
    with pytest.raises(UsageError, match=words):
        BuildOptions(**wrong)


def test_networks_are_strongly_typed(any_bench):
    """From 11 on there are no others; before, the flag says so, or TensorRT would choose types by itself."""
    host = any_bench.host()
    flag = 1 << int(host.trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    assert _flags(host.trt) == (0 if host.trt.__version__.startswith("11.") else flag)


def test_the_spelling_with_attention_is_for_releases_that_read_it(any_bench):
    standard, other = Spelling(Path("standard.onnx")), Spelling(Path("other.onnx"))
    host = any_bench.host()
    chosen = host.spelling(GraphFile("any", standard, {"tensorrt": other, "cpu": standard}))
    assert chosen is (standard if host.trt.__version__.startswith("10.3.") else other)
    assert host.spelling(GraphFile("any", standard, {"cpu": other})) is standard


# Plans that travel


def test_a_portable_plan_runs_on_another_gpu_once_it_is_verified_there(bench):
    bench.keeper(options=BuildOptions(portable="ampere+")).build(TWO)
    fake_device("NVIDIA A10", (8, 6), 24 << 30)
    assert (bench.run() == SUM).all()
    assert bench.counts["build"] == 1
    assert [record.parts["GPU"] for record in bench.records()].count("NVIDIA A10") == 1
    assert len({record.plan for record in bench.records()}) == 1
    bench.run(build=False)


def test_a_portable_plan_does_not_go_before_ampere(bench):
    bench.keeper(options=BuildOptions(portable="ampere+")).build(TWO)
    fake_device("NVIDIA T4", (7, 5), 16 << 30)
    bench.run()
    assert bench.counts["build"] == 2
    assert not any(words.startswith("trying") for words in bench.told)


def test_a_plan_that_is_not_portable_is_built_again_elsewhere(bench):
    bench.run()
    fake_device("NVIDIA A10", (8, 6))
    bench.run()
    assert bench.counts["build"] == 2


@pytest.mark.parametrize(("capability", "builds"), [((9, 0), 1), ((9, 1), 2)])
def test_a_plan_for_one_compute_capability_runs_on_its_gpus(bench, capability: tuple[int, int], builds: int):
    bench.keeper(options=BuildOptions(portable="same-compute-capability")).build(TWO)
    fake_device("NVIDIA GH200", capability)
    assert (bench.run() == SUM).all()
    assert bench.counts["build"] == builds


@pytest.mark.parametrize(("host_code", "builds"), [(True, 0), (False, 1)])
def test_a_version_compatible_plan_runs_in_a_later_release_where_host_code_may(
    tmp_path, monkeypatch: pytest.MonkeyPatch, host_code: bool, builds: int
):
    old = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.3"))
    old.keeper(options=BuildOptions(version_compatible=True), host_code=True).build(TWO)
    old.close()
    new = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.16"))
    assert (new.run(host_code=host_code) == SUM).all()
    assert new.counts["build"] == builds
    new.close()


def test_a_version_compatible_plan_does_not_go_back(tmp_path, monkeypatch: pytest.MonkeyPatch):
    new = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.16"))
    new.keeper(options=BuildOptions(version_compatible=True), host_code=True).build(TWO)
    new.close()
    old = make_bench(tmp_path / "bundle", installed_tensorrt(monkeypatch, "10.3"))
    old.run(host_code=True)
    assert old.counts["build"] == 1
    old.close()


def test_a_travelled_plan_below_its_floor_is_built_again(bench, spoil):
    bench.keeper(options=BuildOptions(portable="ampere+")).build(TWO)
    fake_device("NVIDIA A10", (8, 6))
    right = []
    spoil("flat", lambda value: value if right else 0 * value)
    deserialize = bench.fakes.machine.counts["deserialize"]

    def tell(_graph: str, what: str, _fraction: float) -> None:
        if "dB at flat" in what:
            right.append(what)

    bench._tell = tell
    assert (bench.run() == SUM).all()
    assert (bench.counts["build"], len(right)) == (2, 1)
    assert bench.counts["deserialize"] == deserialize + 3


# Progress


def test_a_monitor_keeps_the_first_error_and_stops_telling(bench):
    told = []

    def tell(phase: str, fraction: float) -> None:
        told.append((phase, fraction))
        raise ValueError(len(told))

    monitor = make_monitor(bench.fakes.tensorrt, tell)
    monitor.phase_start("outer", None, 2)
    assert monitor.step_complete("outer", 0) is False
    assert monitor.step_complete("outer", 1) is False
    monitor.phase_finish("outer")
    assert told == [("outer", 0.5)]
    assert str(monitor.raised) == "1"


def test_phases_inside_others_count_as_parts_of_a_step(bench):
    told = []
    monitor = make_monitor(bench.fakes.tensorrt, lambda phase, fraction: told.append((phase, round(fraction, 3))))
    monitor.phase_start("outer", None, 2)
    monitor.phase_start("inner", "outer", 4)
    monitor.step_complete("inner", 0)
    monitor.step_complete("inner", 3)
    monitor.phase_finish("inner")
    monitor.step_complete("outer", 0)
    monitor.step_complete("unheard of", 3)
    monitor.step_complete("outer", 1)
    assert told == [("outer", 0.125), ("outer", 0.5), ("outer", 0.5), ("outer", 0.5), ("outer", 1.0)]
