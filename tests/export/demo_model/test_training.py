"""The shared loop: interrupted at will, the same weights at the end; rates, averages, states on disk."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from foley.errors import UsageError
from foley_export.demo_model import denoising, training
from foley_export.demo_model.training import adamw, average, descend, learning_rate, train

CPU = torch.device("cpu")
STEPS = 12


class Fake:
    """Two optimisers, the second of two groups, and an average over a linear layer; stops before a step on request."""

    name = "fake"

    def __init__(self, stop: int = STEPS, steps: int = STEPS) -> None:
        torch.manual_seed(0)
        model, mean = nn.Linear(3, 2), nn.Linear(3, 2)
        mean.load_state_dict(model.state_dict())
        self.steps, self.stop = steps, stop
        other = nn.Linear(2, 1)
        self.modules = nn.ModuleDict({"model": model, "mean": mean, "other": other})
        groups = [{"params": [other.weight], "initial_lr": 0.1}, {"params": [other.bias], "initial_lr": 0.02}]
        self.optimisers = [adamw(model, 0.3, decay=0.1), torch.optim.AdamW(groups)]
        self.taken: list[int] = []
        self.rates: list[tuple[float, ...]] = []

    def advance(self, step: int) -> dict[str, float]:
        if step == self.stop:
            raise KeyboardInterrupt
        x = torch.randn(4, 3, generator=torch.Generator().manual_seed(step))
        loss = self.modules["other"](self.modules["model"](x).tanh()).square().mean()
        descend(loss, self.modules, *self.optimisers)
        average(self.modules["mean"], self.modules["model"], step)
        self.taken.append(step)
        self.rates.append(tuple(group["lr"] for optimiser in self.optimisers for group in optimiser.param_groups))
        return {"loss": float(loss.detach())}


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.state_dict().items(), other.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.fixture
def whole(tmp_path):
    task = Fake()
    train(task, tmp_path)
    return task


@pytest.mark.parametrize(("stop", "resumed_from"), [(1, 0), (4, 3), (6, 6), (11, 9)])
def test_an_interrupted_run_ends_like_a_whole_one(tmp_path, monkeypatch, whole, stop, resumed_from):
    monkeypatch.setattr(training, "SAVE_EVERY", 3)
    folder = tmp_path / "interrupted"
    folder.mkdir()
    with pytest.raises(KeyboardInterrupt):
        train(Fake(stop), folder)
    torch.manual_seed(99)  # whatever else has drawn numbers meanwhile
    task = Fake()
    train(task, folder)
    assert task.taken == list(range(resumed_from, STEPS))
    assert task.rates == whole.rates[resumed_from:]
    assert equal(task.modules, whole.modules)


def test_a_run_interrupted_twice_ends_like_a_whole_one(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(training, "SAVE_EVERY", 2)
    folder = tmp_path / "interrupted"
    folder.mkdir()
    for stop in (5, 5, 9):
        with pytest.raises(KeyboardInterrupt):
            train(Fake(stop), folder)
    task = Fake()
    train(task, folder)
    assert equal(task.modules, whole.modules)


def test_a_finished_task_is_only_loaded(tmp_path, whole):
    log = (tmp_path / "losses.jsonl").read_bytes()
    task = Fake()
    train(task, tmp_path)
    assert task.taken == []
    assert equal(task.modules, whole.modules)
    assert (tmp_path / "losses.jsonl").read_bytes() == log


def test_a_failure_while_saving_leaves_the_state_before(tmp_path, monkeypatch, whole):
    monkeypatch.setattr(training, "SAVE_EVERY", 3)
    folder, real = tmp_path / "interrupted", torch.save
    folder.mkdir()

    def failing(state, path):
        if state["done"] == 6:
            path.write_bytes(b"half a file")
            raise OSError("no space left")
        real(state, path)

    monkeypatch.setattr(torch, "save", failing)
    with pytest.raises(OSError, match="no space"):
        train(Fake(), folder)
    assert torch.load(folder / "fake.state", weights_only=True)["done"] == 3
    monkeypatch.setattr(torch, "save", real)
    task = Fake()
    train(task, folder)
    assert equal(task.modules, whole.modules)
    assert list(folder.glob("*.part")) == []


def refusal(folder: Path, task: Fake) -> str:
    """Give the message, after checking that it is one line that names the file, and that the file is still there."""
    state = (folder / "fake.state").read_bytes()
    with pytest.raises(UsageError) as refused:
        train(task, folder)
    assert task.taken == []
    assert (folder / "fake.state").read_bytes() == state
    message = str(refused.value)
    assert message.startswith(f"{folder / 'fake.state'} ")
    assert "\n" not in message
    return message


@pytest.mark.parametrize("kept", [0, 1, 11, 2000, -1])
def test_a_truncated_state_is_refused(tmp_path, whole, kept):
    state = tmp_path / "fake.state"
    state.write_bytes(state.read_bytes()[:kept])
    assert refusal(tmp_path, Fake()).endswith("is damaged; remove the file to train this stage again")


def test_a_file_that_is_no_state_is_refused(tmp_path):
    (tmp_path / "fake.state").write_bytes(b"half a file")
    assert "is damaged" in refusal(tmp_path, Fake())


def test_a_state_of_other_networks_is_refused(tmp_path, whole):
    wider, fewer, taught_otherwise = Fake(), Fake(), Fake()
    wider.modules["model"] = nn.Linear(4, 2)
    del fewer.modules["mean"]
    taught_otherwise.optimisers.pop()
    for task in (wider, fewer, taught_otherwise):
        message = refusal(tmp_path, task)
        assert message.endswith(f"stage fake; choose another folder, or remove {tmp_path}")


@pytest.mark.parametrize("state", [[1], {"done": 3}])
def test_a_file_without_modules_is_refused(tmp_path, state):
    torch.save(state, tmp_path / "fake.state")
    assert "does not fit" in refusal(tmp_path, Fake())


def test_a_lengthened_stage_goes_on(tmp_path, whole):
    longer = Fake(steps=STEPS + 3, stop=STEPS + 3)
    train(longer, tmp_path)
    assert longer.taken == [STEPS, STEPS + 1, STEPS + 2]


def test_a_state_beyond_the_last_step_is_refused(tmp_path, whole):
    message = refusal(tmp_path, Fake(steps=STEPS - 1))
    assert "has 12 steps behind it, expected at most 11; ask for 12 or more, or remove the file" in message


def test_only_the_state_and_the_log_are_left(tmp_path, whole):
    assert sorted(file.name for file in tmp_path.iterdir()) == ["fake.state", "losses.jsonl"]


def test_losses_are_logged(tmp_path, whole):
    rows = [json.loads(line) for line in (tmp_path / "losses.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, STEPS]
    assert {tuple(row) for row in rows} == {("stage", "step", "elapsed_s", "loss")}


def test_every_group_of_weights_has_its_own_rate(whole):
    for step, rates in enumerate(whole.rates):
        assert rates == pytest.approx([rate * learning_rate(step, STEPS) for rate in (0.3, 0.1, 0.02)])


def test_the_rate_warms_up_linearly():
    steps = 1_000_000
    assert [learning_rate(step, steps) for step in (0, 49, 99, 199)] == pytest.approx([0.005, 0.25, 0.5, 1], rel=1e-4)


def test_the_rate_falls_by_half_a_cosine_to_a_hundredth():
    rates = [learning_rate(step, 4000) for step in range(4000)]
    assert max(rates) == rates[199]
    assert (np.diff(rates[199:]) < 0).all()
    assert rates[2000] == pytest.approx(0.505)
    assert rates[1000] == pytest.approx(0.01 + 0.99 * (0.5 + math.sqrt(2) / 4))
    assert rates[-1] == pytest.approx(0.01, abs=1e-5)


def test_an_average_keeps_little_of_early_weights():
    old, new = nn.Linear(1, 1), nn.Linear(1, 1)
    for step, kept in ((0, 0.1), (8, 0.5), (90, 0.91), (1_000_000, 0.999)):
        nn.init.zeros_(old.weight)
        nn.init.ones_(new.weight)
        average(old, new, step)
        assert old.weight.item() == pytest.approx(1 - kept)
        assert new.weight.item() == 1
        assert old.weight.requires_grad


def test_descent_limits_the_gradient():
    layer = nn.Linear(1, 1, bias=False)
    optimiser = torch.optim.SGD(layer.parameters(), lr=1.0)
    for limit, moved in ((0.5, 0.5), (1e9, 1000.0)):
        nn.init.zeros_(layer.weight)
        descend(-1000 * layer(torch.ones(1, 1)).sum(), layer, optimiser, limit=limit)
        assert layer.weight.item() == pytest.approx(moved, rel=1e-4)


@pytest.mark.slow
@pytest.mark.usefixtures("small_batches")
def test_stages_resume_to_the_same_weights(tmp_path, monkeypatch, new_task):
    monkeypatch.setattr(training, "SAVE_EVERY", 1)
    folders = [tmp_path / name for name in ("whole", "interrupted")]
    for folder in folders:
        folder.mkdir()
    whole, first, second = (new_task(CPU) for _ in range(3))
    start = {name: value.clone() for name, value in whole.modules.state_dict().items()}
    train(whole, folders[0])
    advance = first.advance

    def interrupted(step):
        if step == 1:
            raise KeyboardInterrupt
        return advance(step)

    first.advance = interrupted
    with pytest.raises(KeyboardInterrupt):
        train(first, folders[1])
    train(second, folders[1])
    assert equal(second.modules, whole.modules)
    assert not all(torch.equal(value, start[name]) for name, value in whole.modules.state_dict().items())


def test_timesteps_are_spread_over_the_schedule():
    for seed in range(20):
        timesteps = denoising._timesteps(np.random.default_rng(seed))
        assert timesteps.dtype == torch.int64
        starts, width = np.linspace(0, 1000, denoising.BATCH, endpoint=False, retstep=True)
        assert (np.sort(timesteps) >= np.floor(starts)).all()
        assert (np.sort(timesteps) < starts + width).all()
