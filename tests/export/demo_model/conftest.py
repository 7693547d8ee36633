"""A vocabulary and a folder of sounds that nobody changes."""

from pathlib import Path

import pytest

from foley_export.demo_model.corpus import Sounds, open_sounds
from foley_export.demo_model.progress import Progress
from foley_export.demo_model.vocabulary import write_vocabulary


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(folder)
    return folder


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    return open_sounds(tmp_path_factory.mktemp("sounds"), 4, Progress("sounds"))
