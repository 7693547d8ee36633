"""Digests of large files, taken by a second core while the first one traces."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from foley.bundle import sha256


class Digests:
    """The sha256 of files that do not change any more."""

    def __init__(self) -> None:
        self._worker = ThreadPoolExecutor(max_workers=1)
        self._begun: dict[Path, Future[str]] = {}

    def begin(self, path: Path) -> None:
        """Digest a file in the background."""
        if path not in self._begun:
            self._begun[path] = self._worker.submit(sha256, path)

    def __call__(self, path: Path) -> str:
        """Give a file's digest, waiting for it where it is not done."""
        self.begin(path)
        return self._begun[path].result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._worker.shutdown(cancel_futures=True)
