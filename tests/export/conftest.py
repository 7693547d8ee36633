"""Checkpoints, each variation written once; bundles, each exported once; stand-ins that export in a second."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from support.traces import TRACES
from torch import Tensor, nn

import foley
from foley_bench.checkpoints import write_checkpoint
from foley_bench.parity.bundles import Bundles
from foley_bench.parity.figures import load_quietly
from foley_bench.parity.reference import Reference
from foley_export import export as export_module
from foley_export.checkpoint import Checkpoint, open_checkpoint
from foley_export.model import Model
from foley_export.systems import read_model

MakeCheckpoint = Callable[..., Path]


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Bundles:
    """Give the exports that these tests share with tests/parity."""
    return Bundles(tmp_path_factory.getbasetemp() / "bundles")


@pytest.fixture(scope="session", autouse=True)
def _trace_once() -> Iterator[None]:
    """Let exports of a checkpoint in several precisions share what they have in common."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(export_module, "trace", TRACES)
        yield


@pytest.fixture(scope="session")
def plain(bundles: Bundles) -> Iterator[foley.Pipeline]:
    with foley.load(bundles.bundle("no-adapter", "fp32"), threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="session")
def adapted(bundles: Bundles) -> Iterator[foley.Pipeline]:
    with foley.load(bundles.bundle("adapter", "fp32"), threads=1) as pipeline:
        yield pipeline


@pytest.fixture(scope="session")
def references(bundles: Bundles) -> dict[str, Reference]:
    return {layout: load_quietly(bundles.checkpoint(layout)) for layout in ("adapter", "no-adapter")}


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> MakeCheckpoint:
    """Return a factory of tiny checkpoints that nobody changes."""
    made: dict[tuple[tuple[str, Any], ...], Path] = {}

    def make(**options: Any) -> Path:
        key = tuple(sorted(options.items()))
        if key not in made:
            made[key] = write_checkpoint(tmp_path_factory.mktemp("checkpoint") / "tiny", **options)
        return made[key]

    return make


@pytest.fixture
def own(checkpoint: MakeCheckpoint, tmp_path: Path) -> MakeCheckpoint:
    """Return a factory of tiny checkpoints for the test to change."""
    return lambda **options: shutil.copytree(checkpoint(**options), tmp_path / "checkpoint")


@pytest.fixture
def read() -> Callable[[Path], Model]:
    return lambda folder: read_model(open_checkpoint(str(folder)))


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """On models this small, a second thread only waits."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def quick_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `export` read the checkpoint as always, but build stand-ins of an operator or two."""

    def quick(checkpoint: Checkpoint, loras: Any = ()) -> Model:
        model = read_model(checkpoint, loras)
        return replace(model, graphs=tuple(replace(plan, build=STAND_INS[plan.name]) for plan in model.graphs))

    monkeypatch.setattr(export_module, "read_model", quick)


class StandIn(nn.Module):
    """A module of the right shapes with one large weight, so that a weights file is written."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.linspace(-1, 1, 1024 * 32).reshape(1024, 32), requires_grad=False)


class TextStandIn(StandIn):
    def forward(self, input_ids: Tensor) -> Tensor:
        return self.table[input_ids]


class StepStandIn(StandIn):
    def forward(self, state, step_matrix, timestep, noise, row_slot, row_mix, context, known, known_mix, repaint):
        rows = nn.functional.conv2d(state[:, 0].index_select(0, row_slot), self.table[:4, :4, None, None])
        guided = (row_mix @ (rows + context.mean()).flatten(1)).view_as(noise)
        terms = torch.cat([state, guided[:, None], noise[:, None] * self.table[3, 4]], dim=1)
        stepped = (step_matrix @ terms.flatten(2)).view_as(state) + timestep[:, None, None, None, None]
        mixed = (known_mix[:, :, None, None, None] * known).sum(1)
        return stepped * repaint[:, None] + mixed[:, None]


class DecoderStandIn(StandIn):
    def forward(self, latents: Tensor) -> Tensor:
        rows = latents.mean(1).transpose(1, 2) @ self.table[:256].T
        return rows.transpose(1, 2)[..., None].expand(-1, -1, -1, 8).flatten(2)


class VocoderStandIn(StandIn):
    def forward(self, mel: Tensor) -> Tensor:
        heard = mel.transpose(1, 2) @ self.table[512:768] @ self.table[:32, :1]
        return (heard / 1e4).expand(-1, -1, 160).flatten(1).tanh()


STAND_INS: dict[str, Callable[[], nn.Module]] = {
    "text_encoder": TextStandIn,
    "denoise_step": StepStandIn,
    "latent_decoder": DecoderStandIn,
    "vocoder": VocoderStandIn,
}
