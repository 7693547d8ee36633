"""A vocabulary and a folder of sounds that nobody changes; the tasks of all stages."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from foley_export.demo_model import autoencoder, denoising, grain, reading, vocoding
from foley_export.demo_model.autoencoder import AutoencoderTask, new_autoencoder
from foley_export.demo_model.corpus import Sounds, open_sounds
from foley_export.demo_model.denoising import DenoisingTask
from foley_export.demo_model.grain import GrainTask
from foley_export.demo_model.latents import Latents
from foley_export.demo_model.progress import Progress
from foley_export.demo_model.reading import ReadingTask, new_text_encoder
from foley_export.demo_model.vocabulary import write_vocabulary
from foley_export.demo_model.vocoding import AmplitudeTask, GateTask


@pytest.fixture(scope="session")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    write_vocabulary(folder)
    return folder


@pytest.fixture(scope="session")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Sounds:
    return open_sounds(tmp_path_factory.mktemp("sounds"), 4, Progress("sounds"))


def autoencoder_task(sounds, _, device):
    return AutoencoderTask(sounds, 2, device)


def amplitude_task(sounds, _, device):
    return AmplitudeTask(sounds, sounds.mels, 2, device)


def grain_task(sounds, _, device):
    torch.manual_seed(1)
    return GrainTask(sounds, new_autoencoder(), 2, device)


def gate_task(sounds, _, device):
    return GateTask(sounds, sounds.mels, 2, device)


def reading_task(_, vocabulary, device):
    return ReadingTask(vocabulary, 2, device)


def denoising_task(_, vocabulary, device):
    torch.manual_seed(1)
    values = np.random.default_rng(0).standard_normal((4, 4, 32, 32)).astype(np.float16)
    return DenoisingTask(Latents(values, 1.0), new_text_encoder(vocabulary), vocabulary, 2, device)


@pytest.fixture(params=[autoencoder_task, grain_task, amplitude_task, gate_task, reading_task, denoising_task])
def new_task(request, sounds, vocabulary):
    """Give what makes a stage's task of two steps, for a device."""
    return partial(request.param, sounds, vocabulary)


@pytest.fixture
def small_batches(monkeypatch):
    for module, name, count in (
        (autoencoder, "CROPS", 4),
        (grain, "CROPS", 2),
        (vocoding, "CROPS", 2),
        (reading, "BATCH", 4),
        (denoising, "BATCH", 2),
    ):
        monkeypatch.setattr(module, name, count)
