"""Fixtures of every test folder: the generated bundle, a copy to damage, and the command line."""

import gc
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.commands import Command
from support.mini_bundle import write_mini_bundle

import foley


@pytest.fixture(scope="module", autouse=True)
def _settled() -> None:
    """Keep what is loaded out of the collections that an export makes: half a second each with torch in them."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def mini_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle that all tests read and none writes."""
    return write_mini_bundle(tmp_path_factory.mktemp("mini") / "bundle")


@pytest.fixture
def bundle_copy(mini_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(mini_bundle, tmp_path / "bundle")


@pytest.fixture(scope="session")
def pipeline(mini_bundle: Path) -> Iterator[foley.Pipeline]:
    with foley.load(mini_bundle, threads=1) as loaded:
        yield loaded


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Command:
    return Command(capsys, monkeypatch)
