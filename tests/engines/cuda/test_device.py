"""One device and its stream: found or refused in words, the calling thread's while it is used, freed when closed."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from support.nvidia import cuda_registry
from support.nvidia.install import Fakes, installed
from support.nvidia.machine import fake_device
from support.sum_graph import SHAPES, SUM, sum_graph, write_inputs, write_sum_graph

from foley_engines import TensorRtSetup, TensorSpec, open_host
from foley_engines.cuda.device import Device
from foley_engines.cuda.driver import call, explain, find_device
from foley_engines.cuda.graphs import Captures
from foley_engines.cuda.memory import MIB, TURNS, CudaBuffer, Pinned, Turns, allocate
from foley_engines.cuda.scratch import Scratch
from foley_engines.cuda.tensors import DeviceTensors
from foley_engines.errors import EngineError, EngineUnavailableError

SPEC = TensorSpec("x", "float32", ("B", 4))


@pytest.fixture(params=["12", "13"])
def fakes(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    made = installed(monkeypatch, tensorrt=None, cuda=request.param)
    yield made
    made.machine.check()


@pytest.fixture
def device(fakes: Fakes):
    with Device() as opened:
        yield opened


# The device


def test_facts_are_the_devices(fakes: Fakes):
    fake_device("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30)
    facts = find_device(0)
    assert (facts.name, facts.compute_capability, facts.memory_bytes) == ("NVIDIA GeForce RTX 4090", (8, 9), 24 << 30)
    assert (facts.number, facts.multiprocessors) == (0, 132)


@pytest.mark.parametrize("number", [1, 7, -1])
def test_a_number_without_a_device_says_how_many_there_are(fakes: Fakes, number: int):
    with pytest.raises(EngineUnavailableError, match=f"there is no CUDA device {number}: this machine has 1"):
        Device(number)


def test_a_device_that_is_taken_is_one_line(fakes: Fakes):
    fakes.machine.failures["cudaSetDevice"] = "cudaErrorDevicesUnavailable"
    with pytest.raises(EngineUnavailableError, match="CUDA device 0 cannot be used: cudaErrorDevicesUnavailable"):
        Device()


def test_a_failed_call_has_cudas_own_words(device: Device, fakes: Fakes):
    fakes.machine.failures["cudaStreamSynchronize"] = "cudaErrorLaunchFailure"
    with pytest.raises(EngineError, match=r"^CUDA: cudaStreamSynchronize failed: cudaErrorLaunchFailure \(words for"):
        device.wait()
    fakes.machine.failures.clear()


def test_a_call_gives_nothing_a_value_or_several(device: Device):
    cudart = device.cudart
    assert call(cudart.cudaStreamSynchronize, device.stream) is None
    assert call(cudart.cudaGetDeviceCount) == 1
    assert len(call(cudart.cudaMemGetInfo)) == 2
    assert "out of memory" in explain(cudart.cudaError_t.cudaErrorMemoryAllocation)


def test_a_device_closes_once(fakes: Fakes):
    device = Device()
    device.close()
    device.close()
    assert fakes.machine.live() == []


def test_whoever_uses_a_device_makes_it_its_threads_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """CUDA's current device belongs to the thread: in a new one it is device 0."""
    fakes = installed(monkeypatch, tensorrt="10.16", cuda="12")
    fakes.machine.devices = 2
    current: dict[int, int] = {}
    wrong = watch(monkeypatch, current)
    with open_host(TensorRtSetup(device=1, plans=tmp_path / "plans")) as host:
        graph = sum_graph(write_sum_graph(tmp_path))
        results: list[np.ndarray] = []

        def work() -> None:
            session = host.open(graph).bind(**SHAPES)
            write_inputs(session)
            session.run()
            session["y"].take(session["x"])
            results.append(session["flat"].read())
            session.close()

        for _ in range(2):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join(30)
        current.clear()  # as if another library had chosen a device in this thread
    assert [np.array_equal(result, SUM) for result in results] == [True, True]
    assert wrong == []


def watch(monkeypatch: pytest.MonkeyPatch, current: dict[int, int]) -> list[str]:
    """Note every use of device 0 by a thread that has chosen none, or that one."""
    wrong: list[str] = []
    watched = ("cudaMalloc", "cudaFree", "cudaMemcpyAsync", "cudaMemsetAsync", "cudaGraphLaunch", "cudaMallocHost",
               "cudaStreamCreateWithFlags", "cudaEventCreateWithFlags", "cudaMemGetInfo")  # fmt: skip

    def select(surface, number: int) -> tuple[()]:
        current[threading.get_ident()] = number
        return ()

    def noted(name: str, inner: Callable) -> Callable:
        def behave(surface, *arguments):
            if current.get(threading.get_ident(), 0) != 1:
                wrong.append(name)
            return inner(surface, *arguments)

        return behave

    monkeypatch.setitem(cuda_registry.BEHAVIOURS, "cudaSetDevice", select)
    for name in watched:
        monkeypatch.setitem(cuda_registry.BEHAVIOURS, name, noted(name, cuda_registry.BEHAVIOURS[name]))
    return wrong


# Memory


def test_memory_that_is_not_there_is_told_in_mib(device: Device, fakes: Fakes):
    taken = fakes.machine.memory.reserve(79 << 30)
    with pytest.raises(EngineError) as caught:
        allocate(device, 2 << 30, "denoise_step: activations")
    assert str(caught.value) == (
        "denoise_step: activations takes 2048 MiB of device memory, 1024 MiB of NVIDIA H100 80GB HBM3 are free; "
        "use fewer slots or seconds, or end what else runs there"
    )
    fakes.machine.memory.unreserve(taken)
    assert MIB == 1 << 20


def test_another_failure_of_an_allocation_is_cudas(device: Device, fakes: Fakes):
    fakes.machine.failures["cudaMalloc"] = "cudaErrorInvalidValue"
    with pytest.raises(EngineError, match=r"^CUDA: cudaMalloc failed: cudaErrorInvalidValue"):
        allocate(device, 1, "any")


def test_pinned_memory_is_an_array(device: Device):
    pinned = Pinned(device, (2, 3), np.float32)
    pinned.array[...] = 7
    assert (pinned.array.shape, pinned.array.dtype, pinned.array.sum()) == ((2, 3), np.float32, 42)
    pinned.close()


@pytest.mark.parametrize("failing", ["cudaEventCreateWithFlags", "cudaMemsetAsync", "cudaMalloc"])
def test_tensors_that_cannot_be_made_leave_nothing(device: Device, fakes: Fakes, failing: str):
    live = fakes.machine.live()
    fakes.machine.failures[failing] = "cudaErrorInvalidValue"
    with pytest.raises(EngineError, match="cudaErrorInvalidValue"):
        DeviceTensors(device, "sum.onnx", {"x": SPEC, "y": SPEC}, {"x": (2, 4), "y": (2, 4)})
    fakes.machine.failures.clear()
    assert fakes.machine.live() == live


@pytest.mark.parametrize("late", [False, True], ids=["at once", "late"])
def test_the_second_of_two_tensors_that_does_not_fit_frees_the_first(device: Device, fakes: Fakes, late: bool):
    fakes.machine.lazy = late
    live = fakes.machine.live()
    with pytest.raises(EngineError, match="device memory"):
        DeviceTensors(device, "sum.onnx", {"x": SPEC, "y": SPEC}, {"x": (2, 4), "y": (1 << 33, 4)})
    device.wait()
    assert fakes.machine.live() == live


def test_scratch_grows_and_tells_it(device: Device):
    scratch = Scratch(device)
    scratch.grow(100, "any")
    address, generation = scratch.address, scratch.generation
    scratch.grow(50, "any")
    assert (scratch.address, scratch.bytes, scratch.generation) == (address, 100, generation)
    scratch.grow(101, "any")
    assert (scratch.bytes, scratch.generation) == (101, generation + 1)
    scratch.close()
    scratch.close()
    assert (scratch.address, scratch.bytes) == (0, 0)


def test_scratch_that_cannot_grow_can_be_asked_again(device: Device):
    scratch = Scratch(device)
    scratch.grow(100, "any")
    with pytest.raises(EngineError, match="sum: activations takes 92160 MiB"):
        scratch.grow(90 << 30, "sum: activations")
    scratch.grow(200, "any")
    assert scratch.bytes == 200
    scratch.close()


# Turns


def test_turns_wait_for_the_run_whose_slot_they_take(device: Device, fakes: Fakes):
    fakes.machine.lazy = True
    turns, done = Turns(device), []
    stream = fakes.machine.timeline.streams[device.handle]
    for number in range(5):
        assert turns.slot == number % TURNS
        fakes.machine.timeline.submit(stream, lambda number=number: done.append(number))
        turns.end()
        assert len(done) >= number + 2 - TURNS
    assert len(done) < 5  # and no longer than that
    device.wait()
    turns.close()


def test_writing_again_and_again_keeps_the_last(device: Device, fakes: Fakes):
    fakes.machine.lazy = True
    turns = Turns(device)
    buffer = CudaBuffer(device, turns, SPEC, (1, 4))
    for value in range(7):
        buffer.write(np.full((1, 4), value, np.float32))
        if value % 3 == 0:
            turns.end()
    assert buffer.read().tolist() == [[6, 6, 6, 6]]
    buffer.close()
    turns.close()


# Captures


def filling(device: Device, buffer: CudaBuffer, value: int) -> Callable[[], None]:
    cudart = device.cudart
    return lambda: call(cudart.cudaMemsetAsync, buffer.address, value, buffer.bytes, device.stream)


@pytest.fixture
def buffer(device: Device):
    turns = Turns(device)
    made = CudaBuffer(device, turns, SPEC, (1, 4))
    yield made
    made.close()
    turns.close()


def test_work_is_plain_then_captured_then_replayed(device: Device, fakes: Fakes, buffer: CudaBuffer):
    captures, asked = Captures(device), []

    def work() -> None:
        asked.append(1)
        filling(device, buffer, 1)()

    for launches in (0, 1, 2, 3):
        captures.run("key", work)
        assert fakes.machine.counts["launch"] == launches
    assert (len(asked), len(captures), fakes.machine.counts["capture"]) == (2, 1, 1)
    captures.run("other", work)
    assert len(asked) == 3
    captures.clear()
    assert (len(captures), fakes.machine.executables, fakes.machine.graphs) == (0, {}, {})
    captures.run("key", work)
    assert (len(asked), fakes.machine.counts["launch"]) == (4, 3)


def test_nothing_is_captured_where_that_is_not_wanted(device: Device, fakes: Fakes, buffer: CudaBuffer):
    captures = Captures(device, enabled=False)
    for _ in range(4):
        captures.run("key", filling(device, buffer, 1))
    assert (fakes.machine.counts["capture"], len(captures)) == (0, 0)


@pytest.mark.parametrize("breaks", [True, False], ids=["broken capture", "own error"])
@pytest.mark.parametrize("error", [EngineError("mine"), KeyboardInterrupt()], ids=["error", "interrupt"])
def test_an_error_inside_a_capture_ends_it_and_is_the_one_told(
    device: Device, fakes: Fakes, buffer: CudaBuffer, error: BaseException, breaks: bool
):
    captures = Captures(device)

    def fail() -> None:
        filling(device, buffer, 1)()
        if breaks:
            device.cudart.cudaStreamSynchronize(device.stream)  # not allowed in a capture
        raise error

    captures.run("key", filling(device, buffer, 1))
    with pytest.raises(type(error)) as caught:
        captures.run("key", fail)
    assert caught.value is error
    assert fakes.machine.graphs == {}
    device.wait()  # the stream captures no more
    for _ in range(3):
        captures.run("key", filling(device, buffer, 2))
    assert buffer.read().tobytes() == bytes([2] * 16)
    captures.clear()


def test_a_graph_that_cannot_be_instantiated_leaves_nothing(device: Device, fakes: Fakes, buffer: CudaBuffer):
    captures = Captures(device)
    captures.run("key", filling(device, buffer, 1))
    fakes.machine.failures["cudaGraphInstantiate"] = "cudaErrorMemoryAllocation"
    with pytest.raises(EngineError, match="cudaGraphInstantiate failed"):
        captures.run("key", filling(device, buffer, 1))
    fakes.machine.failures.clear()
    assert (fakes.machine.graphs, len(captures)) == ({}, 0)


def test_a_capture_is_not_joined_by_another_thread(device: Device, fakes: Fakes, buffer: CudaBuffer):
    """What the other asks for comes after it, and is not replayed with it."""
    turns = Turns(device)
    other = CudaBuffer(device, turns, SPEC, (1, 4))
    captures, inside, asked = Captures(device), threading.Event(), threading.Event()

    def write() -> None:
        inside.wait(20)
        asked.set()
        other.write(np.full((1, 4), 5, np.float32))

    def work() -> None:
        filling(device, buffer, 1)()
        inside.set()
        asked.wait(20)
        threading.Event().wait(0.05)

    captures.run("key", filling(device, buffer, 1))
    thread = threading.Thread(target=write)
    thread.start()
    with device.used():
        captures.run("key", work)
    thread.join(20)
    assert other.read().tolist() == [[5, 5, 5, 5]]
    assert [len(work) for work in fakes.machine.executables.values()] == [1]
    captures.clear()
    other.close()
    turns.close()
