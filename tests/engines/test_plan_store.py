"""The folder of plans: nobody loads a wrong plan or finds a broken one, whatever stops a builder."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support.commands import ENVIRONMENT

from foley_engines.errors import EngineError, UsageError
from foley_engines.plans.parts import differences, key_of
from foley_engines.plans.record import SCHEMA, Figure, Record, Verified, adopted, decode, encode
from foley_engines.plans.store import LOCK, STRAY_S, PlanStore

GRAPH, CONTENT = "denoise_step", b"a plan " * 100
PARTS = {
    "graph": "a" * 64,
    "weights": "b" * 64,
    "TensorRT": "10.16.0.72",
    "recipe": "1",
    "platform": "linux x86_64",
    "GPU": "NVIDIA H100",
    "compute capability": "9.0",
    "profile": "R=2 S=1 n=16",
    "level": "3",
    "refittable": "no",
}


@pytest.fixture
def store(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "engines" / "tensorrt")


def record_of(
    store: PlanStore, content: bytes = CONTENT, parts: dict[str, str] | None = None, graph: str = GRAPH
) -> Record:
    """Write a plan, and give the record to write of it."""
    name, sha256 = store.write_plan(graph, content)
    verified = Verified(
        against="torch", floor_db=35.0, figures=(Figure(output="next_state", snr_db=64.25, worst_abs=1e-3),)
    )
    return Record(
        schema=SCHEMA, graph=graph, parts=parts or PARTS, profile={"S": (1, 1, 1), "R": (2, 2, 2)}, plan=name,
        sha256=sha256, bytes=len(content), weights_inside="b" * 64, verified=verified, scratch_bytes=1024,
        build_s=1.5, created_by={"TensorRT": "10.16.0.72"},
    )  # fmt: skip


@pytest.fixture
def kept(store: PlanStore) -> Record:
    record = record_of(store)
    store.write_record(record)
    return record


def age(place: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(place, (then, then))


def files(store: PlanStore) -> list[str]:
    return sorted(place.name for place in store.folder.iterdir() if place.name != LOCK)


def record_file(store: PlanStore) -> Path:
    [place] = store.folder.glob("*.json")
    return place


# Found


def test_a_plan_is_found_by_its_parts_and_read_whole(store: PlanStore, kept: Record):
    assert store.find(GRAPH, PARTS) == kept
    assert store.records(GRAPH) == [kept]
    assert store.holds(kept)
    assert store.read_plan(kept) == CONTENT


def test_a_folder_that_is_not_there_holds_nothing(store: PlanStore):
    assert (store.find(GRAPH, PARTS), store.records(GRAPH), store.nearest(GRAPH, PARTS)) == (None, [], None)
    assert not store.folder.exists()


@pytest.mark.parametrize("name", PARTS)
def test_a_part_that_differs_is_another_plan_and_is_told(store: PlanStore, kept: Record, name: str):
    wanted = {**PARTS, name: "another"}
    assert store.find(GRAPH, wanted) is None
    stale = store.nearest(GRAPH, wanted)
    assert stale is not None
    assert stale.record == kept
    [difference] = stale.differences
    assert difference.startswith(f"{name} ")
    assert difference.endswith(" → another")


@pytest.mark.parametrize("name", PARTS)
def test_every_part_is_in_the_key(name: str):
    assert key_of({**PARTS, name: "another"}) != key_of(PARTS)
    assert key_of({part: value for part, value in PARTS.items() if part != name}) != key_of(PARTS)


def test_the_order_of_parts_is_not_in_the_key():
    assert key_of(dict(reversed(PARTS.items()))) == key_of(PARTS)


def test_parts_that_would_read_alike_have_other_keys():
    assert key_of({"a": "b c", "d": "e"}) != key_of({"a": "b", "c d": "e"}) != key_of({"a b": "c", "d": "e"})


def test_digests_are_told_short_and_missing_parts_as_none():
    assert differences({"graph": "a" * 64, "old": "1"}, {"graph": "c" * 64, "new": "2"}) == [
        "graph aaaaaaaa… → cccccccc…",
        "new (none) → 2",
        "old 1 → (none)",
    ]


def test_the_nearest_differs_in_the_fewest_parts(store: PlanStore):
    far, near = {**PARTS, "level": "5", "GPU": "NVIDIA A10"}, {**PARTS, "level": "4"}
    for number, parts in enumerate((far, near)):
        store.write_record(record_of(store, CONTENT + bytes([number]), parts))
    stale = store.nearest(GRAPH, PARTS)
    assert stale is not None
    assert stale.differences == ("level 4 → 3",)


def test_a_graph_does_not_find_the_plans_of_one_whose_name_begins_alike(store: PlanStore):
    store.write_record(record_of(store, graph="text-encoder-2"))
    assert store.find("text-encoder", PARTS) is None
    assert store.records("text-encoder") == []
    assert len(store.records("text-encoder-2")) == 1


def test_a_record_of_another_graph_under_this_ones_name_is_not_taken(store: PlanStore, kept: Record):
    place = record_file(store)
    place.write_bytes(encode(msgspec.structs.replace(kept, graph="vocoder")))
    assert (store.find(GRAPH, PARTS), store.records(GRAPH)) == (None, [])


def test_a_record_of_other_parts_under_this_ones_name_is_not_taken(store: PlanStore, kept: Record):
    record_file(store).write_bytes(encode(msgspec.structs.replace(kept, parts={**PARTS, "GPU": "another"})))
    assert store.find(GRAPH, PARTS) is None


def test_a_plan_may_have_two_records(store: PlanStore, kept: Record):
    """As after a refit: the same file, other weights."""
    parts = {**PARTS, "weights": "c" * 64}
    store.write_record(adopted(kept, parts, kept.verified))
    assert len(files(store)) == 3
    found = store.find(GRAPH, parts)
    assert found is not None
    assert (found.plan, found.weights_inside) == (kept.plan, "b" * 64)
    assert store.find(GRAPH, PARTS) == kept


# Damaged plans

DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "cannot be read: No such file or directory; build it again with: foley build"),
    "empty": (lambda place: place.write_bytes(b""), "has 0 bytes, its record says 700; build it again"),
    "cut short": (lambda place: place.write_bytes(CONTENT[:-1]), "has 699 bytes, its record says 700"),
    "too long": (lambda place: place.write_bytes(CONTENT + b"!"), "has 701 bytes, its record says 700"),
    "one bit flipped": (
        lambda place: place.write_bytes(CONTENT[:350] + bytes([CONTENT[350] ^ 1]) + CONTENT[351:]),
        "is damaged: its sha256 is not its record's; build it again",
    ),
    "a folder": (lambda place: (place.unlink(), place.mkdir()), "cannot be read: Is a directory"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_plan_is_refused_before_anybody_reads_it_as_one(store: PlanStore, kept: Record, damage: str):
    spoil, words = DAMAGE[damage]
    spoil(store.folder / kept.plan)
    assert not store.holds(kept)
    with pytest.raises(EngineError) as caught:
        store.read_plan(kept)
    assert str(caught.value).startswith(str(store.folder / kept.plan))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


# Damaged records


def edited(text: bytes, **changes: object) -> bytes:
    return json.dumps({**json.loads(text), **changes}).encode()


BROKEN: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda _: b"",
    "cut short": lambda text: text[: len(text) // 2],
    "no JSON": lambda _: b"\xff\xfe\x00",
    "another schema": lambda text: edited(text, schema=SCHEMA + 1),
    "an unknown key": lambda text: edited(text, colour="blue"),
    "a key missing": lambda text: json.dumps({k: v for k, v in json.loads(text).items() if k != "sha256"}).encode(),
    "a path up": lambda text: edited(text, plan="../../other.plan"),
    "a path below": lambda text: edited(text, plan="sub/other.plan"),
    "an absolute path": lambda text: edited(text, plan="/etc/passwd"),
    "a Windows path": lambda text: edited(text, plan="C:\\other.plan"),
    "a hidden file": lambda text: edited(text, plan=".other.plan"),
    "a name that goes on": lambda text: edited(text, plan="other.plan\n/etc"),
    "a digest that is none": lambda text: edited(text, sha256="123"),
    "a digest in capitals": lambda text: edited(text, sha256="A" * 64),
    "no bytes": lambda text: edited(text, bytes=0),
    "a number for a text": lambda text: edited(text, parts={"graph": 3}),
    "a list": lambda text: b"[" + text + b"]",
}


@pytest.mark.parametrize("damage", BROKEN)
def test_a_record_that_cannot_be_understood_is_none(store: PlanStore, kept: Record, damage: str):
    place = record_file(store)
    text = BROKEN[damage](place.read_bytes())
    place.write_bytes(text)
    with pytest.raises(ValueError):  # noqa: PT011 — its words are msgspec's
        decode(text)
    assert (store.find(GRAPH, PARTS), store.records(GRAPH), store.nearest(GRAPH, PARTS)) == (None, [], None)


@pytest.mark.parametrize("damage", BROKEN)
def test_a_broken_record_is_replaced_by_the_next_build(store: PlanStore, kept: Record, damage: str):
    place = record_file(store)
    place.write_bytes(BROKEN[damage](place.read_bytes()))
    store.write_record(kept)
    assert store.find(GRAPH, PARTS) == kept


def test_a_record_reads_back_as_it_was_written(store: PlanStore, kept: Record):
    text = record_file(store).read_bytes()
    assert decode(text) == kept
    assert text.count(b"\n") > 20  # for people to read


# Pruned


def test_a_plan_without_a_record_is_deleted_only_when_it_is_old(store: PlanStore, kept: Record):
    stray = store.folder / store.write_plan(GRAPH, b"nobody's")[0]
    assert store.prune() == []
    age(stray, STRAY_S - 60)
    assert store.prune() == []
    age(stray, STRAY_S + 60)
    age(store.folder / kept.plan, STRAY_S + 60)
    assert store.prune() == [stray]
    assert not stray.exists()
    assert store.read_plan(kept) == CONTENT


def test_what_a_killed_writer_left_is_deleted_when_it_is_old(store: PlanStore, kept: Record):
    part = store.folder / ".denoise_step-0.plan.00.part"
    part.write_bytes(b"half")
    assert store.prune() == []
    age(part, STRAY_S + 60)
    assert store.prune() == [part]


def test_other_files_are_left_alone(store: PlanStore, kept: Record):
    for name in ("notes.txt", "readme.md", "timings-0.cache", ".hidden"):
        (store.folder / name).write_bytes(b"mine")
        age(store.folder / name, 10 * STRAY_S)
    assert store.prune() == []


def test_a_plan_of_a_newer_foleys_record_is_not_deleted(store: PlanStore, kept: Record):
    """Two releases may share a folder: what this one cannot read is still somebody's."""
    place = record_file(store)
    place.write_bytes(edited(place.read_bytes(), schema=SCHEMA + 1, colour="blue"))
    age(store.folder / kept.plan, 10 * STRAY_S)
    assert store.prune() == []
    assert (store.folder / kept.plan).read_bytes() == CONTENT


# Writing


def test_a_plans_name_is_its_content(store: PlanStore):
    one, other = (store.write_plan(GRAPH, content) for content in (CONTENT, CONTENT + b"!"))
    assert one != other
    assert store.write_plan(GRAPH, memoryview(CONTENT)) == one
    assert files(store) == sorted([one[0], other[0]])


def test_nothing_but_whole_files_is_left(store: PlanStore, kept: Record):
    assert [name for name in files(store) if name.startswith(".")] == []


def test_a_builder_that_stops_between_plan_and_record_leaves_nothing_to_load(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
):
    record = record_of(store)
    monkeypatch.setattr(Path, "replace", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.write_record(record)
    assert (store.find(GRAPH, PARTS), store.records(GRAPH)) == (None, [])
    assert files(store) == [record.plan]


def test_a_builder_that_stops_while_it_replaces_a_record_leaves_the_old_one(
    store: PlanStore, kept: Record, monkeypatch: pytest.MonkeyPatch
):
    newer = msgspec.structs.replace(record_of(store, CONTENT + b"!"), build_s=9.0)
    monkeypatch.setattr(Path, "replace", fail_with(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        store.write_record(newer)
    assert store.find(GRAPH, PARTS) == kept
    assert store.read_plan(kept) == CONTENT


def fail_with(error: BaseException) -> Callable[..., None]:
    def fail(*_arguments: object, **_options: object) -> None:
        raise error

    return fail


NO_ROOM = "the disk of {folder} is full; free some room, nothing was kept there"
REFUSED = "{folder} cannot be written: {words}; choose another with --plans"


@pytest.mark.parametrize(
    ("member", "number", "message"),
    [
        ("os.fsync", errno.ENOSPC, NO_ROOM),
        ("os.fsync", errno.EDQUOT, NO_ROOM),
        ("pathlib.Path.open", errno.ENOSPC, NO_ROOM),
        ("pathlib.Path.open", errno.EACCES, REFUSED),
        ("pathlib.Path.open", errno.EROFS, REFUSED),
        ("pathlib.Path.replace", errno.EACCES, REFUSED),
        ("os.fsync", errno.EIO, REFUSED),
    ],
)
def test_what_cannot_be_written_is_one_line_and_leaves_nothing(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch, member: str, number: int, message: str
):
    store.folder.mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setattr(member, fail_with(OSError(number, os.strerror(number))))
        with pytest.raises(UsageError) as caught:
            store.write_plan(GRAPH, CONTENT)
    assert str(caught.value) == message.format(folder=store.folder, words=os.strerror(number))
    assert files(store) == []


def test_a_disk_that_fills_up_while_a_record_is_replaced_keeps_the_old_one(
    store: PlanStore, kept: Record, monkeypatch: pytest.MonkeyPatch
):
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", fail_with(OSError(errno.ENOSPC, "No space left on device")))
        with pytest.raises(UsageError, match="is full"):
            store.write_record(msgspec.structs.replace(kept, build_s=9.0))
    assert store.find(GRAPH, PARTS) == kept
    assert len(files(store)) == 2


@pytest.mark.parametrize("act", [lambda store: store.write_plan(GRAPH, CONTENT), lambda store: enter(store)])
def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path, act: Callable[[PlanStore], object]):
    (tmp_path / "plans").write_bytes(b"mine")
    for folder in (tmp_path / "plans", tmp_path / "plans" / "below"):
        with pytest.raises(UsageError, match=r"cannot be written: .*; choose another with --plans") as caught:
            act(PlanStore(folder))
        assert "\n" not in str(caught.value)
    assert (tmp_path / "plans").read_bytes() == b"mine"


def test_reading_a_folder_that_is_a_file_finds_nothing(tmp_path: Path):
    (tmp_path / "plans").write_bytes(b"mine")
    store = PlanStore(tmp_path / "plans")
    assert (store.find(GRAPH, PARTS), store.records(GRAPH), store.timings("any")) == (None, [], b"")


# Locked


def enter(store: PlanStore) -> None:
    with store.building():
        pass


def test_a_file_system_without_locks_is_one_line(store: PlanStore, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("filelock.FileLock.acquire", fail_with(NotImplementedError("FileSystem does not appear to")))
    with pytest.raises(UsageError, match="is on a file system without locks; choose another with --plans"):
        enter(store)


def test_a_builders_own_error_is_not_taken_for_the_folders(store: PlanStore):
    with pytest.raises(OSError, match="mine"), store.building():
        raise OSError("mine")
    enter(store)  # released


def test_builders_in_threads_wait_for_one_another(store: PlanStore):
    inside, most = [], []

    def build() -> None:
        with PlanStore(store.folder).building():
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.01)
            inside.pop()

    threads = [threading.Thread(target=build) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1] * 6


HOLD = """
import sys
from pathlib import Path
from foley_engines.plans.store import PlanStore
with PlanStore(Path(sys.argv[1])).building():
    print("inside", flush=True)
    sys.stdin.read()
"""
WRITE = """
import os, sys, time
from pathlib import Path
from foley_engines.plans.store import PlanStore
def stop(_):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = stop
store = PlanStore(Path(sys.argv[1]))
with store.building():
    store.write_plan("denoise_step", b"half a plan" * 1000)
"""


def child(code: str, store: PlanStore) -> subprocess.Popen[bytes]:
    """Start a process, and wait for the line that it prints in the midst of its work."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(store.folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    )
    assert process.stdout is not None
    assert process.stdout.readline().strip() in (b"inside", b"writing")
    return process


def test_a_builder_waits_for_one_in_another_process(store: PlanStore):
    process, entered = child(HOLD, store), threading.Event()
    waiting = threading.Thread(target=lambda: (enter(store), entered.set()))
    waiting.start()
    assert not entered.wait(0.2)
    process.communicate(b"", timeout=20)
    assert entered.wait(20)
    waiting.join()


def test_a_killed_builder_leaves_no_lock_and_nothing_to_load(store: PlanStore, kept: Record):
    """SIGKILL in the middle of a write: no clean-up of the process's own has run."""
    process = child(WRITE, store)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=20)
    enter(store)
    assert store.find(GRAPH, PARTS) == kept
    assert store.read_plan(kept) == CONTENT
    [part] = [name for name in files(store) if name not in (kept.plan, record_file(store).name)]
    assert part.startswith(".denoise_step-")
    assert part.endswith(".part")
    age(store.folder / part, STRAY_S + 1)
    assert store.prune() == [store.folder / part]


def test_a_reader_during_replacements_always_finds_a_whole_record(store: PlanStore, kept: Record):
    done = threading.Event()

    def replace() -> None:
        for number in range(100):
            store.write_record(msgspec.structs.replace(kept, build_s=float(number)))
        done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    found = []
    while not done.is_set():
        found.append(store.find(GRAPH, PARTS))
        assert found[-1] is not None
        assert store.read_plan(found[-1]) == CONTENT
    writer.join()
    assert found


# Timings


def test_timings_are_kept_by_name_and_replaced(store: PlanStore):
    assert store.timings("10.16 H100") == b""
    store.keep_timings("10.16 H100", b"one")
    store.keep_timings("11.4 H100", b"other")
    store.keep_timings("10.16 H100", b"two")
    assert (store.timings("10.16 H100"), store.timings("11.4 H100")) == (b"two", b"other")
    assert len(files(store)) == 2


def test_timings_are_no_plans(store: PlanStore, kept: Record):
    store.keep_timings("any", b"timings")
    for place in store.folder.iterdir():
        age(place, 10 * STRAY_S)
    assert store.prune() == []
    assert store.records(GRAPH) == [kept]
