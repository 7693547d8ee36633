"""A folder of plans: records point to plan files, which are named by their content and never change.

A record is the only file that is ever replaced, and it appears after its plan is whole on disk. So whatever stops a
builder, a reader finds the old plan, the new one or none; and nobody needs a lock to read.
"""

import contextlib
import errno
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from foley_engines.errors import EngineError, UsageError
from foley_engines.plans.parts import Parts, differences, key_of
from foley_engines.plans.record import Record, decode, encode, plan_named_by

RECORD: Final = ".json"
PLAN: Final = ".plan"
LOCK: Final = "building.lock"
TIMINGS: Final = "timings-*.cache"
DISK_FULL: Final = (errno.ENOSPC, errno.EDQUOT)
STRAY_S: Final = 3600.0
"""Age from which a file that no record points to is garbage: a builder writes its record right after its plan."""


@dataclass(frozen=True)
class Stale:
    """The nearest record that is not the wanted one."""

    record: Record
    differences: tuple[str, ...]


class PlanStore:
    """The plans of one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def find(self, graph: str, parts: Parts) -> Record | None:
        """Give the record of exactly these parts, if there is one that can be read."""
        record = self._read(self._place(graph, parts))
        return record if record is not None and record.graph == graph and dict(record.parts) == dict(parts) else None

    def records(self, graph: str) -> list[Record]:
        """List a graph's readable records."""
        found = (self._read(place) for place in sorted(self.folder.glob(f"{graph}-*{RECORD}")))
        return [record for record in found if record is not None and record.graph == graph]

    def nearest(self, graph: str, parts: Parts) -> Stale | None:
        """Give the record that differs in the fewest parts, and how."""
        stale = [Stale(record, tuple(differences(record.parts, parts))) for record in self.records(graph)]
        return min(stale, key=lambda each: len(each.differences), default=None)

    def read_plan(self, record: Record) -> bytes:
        """Read a plan, and check that these very bytes are what the record says.

        Raises:
            EngineError: the file is missing, cut short or damaged.
        """
        place = self.folder / record.plan
        try:
            content = place.read_bytes()
        except OSError as error:
            raise EngineError(f"{place} cannot be read: {error.strerror}; build it again with: foley build") from error
        if len(content) != record.bytes:
            raise EngineError(f"{place} has {len(content)} bytes, its record says {record.bytes}; build it again")
        if hashlib.sha256(content).hexdigest() != record.sha256:
            raise EngineError(f"{place} is damaged: its sha256 is not its record's; build it again")
        return content

    def holds(self, record: Record) -> bool:
        """Say whether a record's plan is there and whole."""
        try:
            self.read_plan(record)
        except EngineError:
            return False
        return True

    def write_plan(self, graph: str, content: bytes | memoryview) -> tuple[str, str]:
        """Write a plan under its digest; give its file's name and sha256. Without a record nobody loads it.

        Raises:
            UsageError: the folder cannot be written, or its disk is full.
        """
        sha256 = hashlib.sha256(content).hexdigest()
        name = f"{graph}-{sha256[:16]}{PLAN}"
        self._write(self.folder / name, content)
        return name, sha256

    def write_record(self, record: Record) -> Path:
        """Write or replace the record of a plan that is there and was verified.

        Raises:
            UsageError: the folder cannot be written, or its disk is full.
        """
        place = self._place(record.graph, record.parts)
        self._write(place, encode(record))
        return place

    @contextlib.contextmanager
    def building(self) -> Iterator[None]:
        """Hold the folder's only build lock: builds side by side would spoil each other's timings.

        Raises:
            UsageError: the folder cannot be written, or its file system has no locks.
        """
        from filelock import FileLock

        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self.folder / LOCK)
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def timings(self, name: str) -> bytes:
        """Read the timings that earlier builds left, or nothing; call it with the lock held."""
        try:
            return self._timings(name).read_bytes()
        except OSError:
            return b""

    def keep_timings(self, name: str, content: bytes) -> None:
        """Replace the timings of a library and device; call it with the lock held.

        Raises:
            UsageError: the folder cannot be written, or its disk is full.
        """
        self._write(self._timings(name), content)

    def prune(self) -> list[Path]:
        """Delete what no record points to and has been there for an hour; call it with the lock held."""
        kept = {plan for place in self.folder.glob(f"*{RECORD}") if (plan := self._plan_named_by(place)) is not None}
        strays = [
            place
            for place in (*self.folder.glob(f"*{PLAN}"), *self.folder.glob(".*.part"))
            if place.name not in kept and time.time() - place.stat().st_mtime > STRAY_S
        ]
        for place in strays:
            place.unlink(missing_ok=True)
        return strays

    def _timings(self, name: str) -> Path:
        return self.folder / TIMINGS.replace("*", key_of({"name": name}))

    def _place(self, graph: str, parts: Parts) -> Path:
        return self.folder / f"{graph}-{key_of(parts)}{RECORD}"

    def _read(self, place: Path) -> Record | None:
        """Read a record; one that is damaged, or of another schema, is none: its plan cannot be loaded."""
        try:
            return decode(place.read_bytes())
        except (OSError, ValueError):
            return None

    def _plan_named_by(self, place: Path) -> str | None:
        """Give the plan that a record points to, though another foley may have written it."""
        try:
            return plan_named_by(place.read_bytes())
        except (OSError, ValueError):
            return None

    def _write(self, place: Path, content: bytes | memoryview) -> None:
        """Write a file whole or not at all, and let it outlast a power cut."""
        part = place.with_name(f".{place.name}.{secrets.token_hex(4)}.part")
        with self._explained():
            self.folder.mkdir(parents=True, exist_ok=True)
            try:
                with part.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(place)
                self._sync_folder()
            finally:
                part.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        if os.name != "posix":
            return
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except NotImplementedError as error:
            raise UsageError(f"{self.folder} is on a file system without locks; choose another with --plans") from error
        except OSError as error:
            if error.errno in DISK_FULL:
                raise UsageError(
                    f"the disk of {self.folder} is full; free some room, nothing was kept there"
                ) from error
            words = error.strerror or str(error)
            raise UsageError(f"{self.folder} cannot be written: {words}; choose another with --plans") from error
