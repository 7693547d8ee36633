"""The loop that every stage shares: learning rate, resuming after an interruption, progress."""

import io
import math
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, SupportsFloat

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from foley.errors import UsageError
from foley_export.demo_model.progress import Progress

SAVE_EVERY: Final = 250
"""Steps between saved states: a few minutes of work are lost at most."""
WARM_UP: Final = 200
UNFIT: Final = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What torch raises of a state that does not fit."""
DAMAGED: Final = (*UNFIT, EOFError, pickle.UnpicklingError)
"""Also of a damaged file."""


class Task(Protocol):
    """One stage of the recipe."""

    name: str
    steps: int
    modules: nn.ModuleDict
    """All that has weights, averages included."""
    optimisers: list[torch.optim.Optimizer]

    def advance(self, step: int) -> Mapping[str, SupportsFloat]:
        """Make training step `step`, whose randomness depends on its number only, and give its losses.

        They may still be on their way on the device: nobody waits for them before they are shown.
        """
        ...


def train(task: Task, folder: Path) -> None:
    """Train a task to its last step, from its saved state where there is one.

    The state lies in `folder/<task>.state` and is replaced atomically; it may come from another device.

    Raises:
        UsageError: the state is damaged, of other networks, or beyond the last step.
    """
    state = folder / f"{task.name}.state"
    done = _load(task, state)
    groups = [group for optimiser in task.optimisers for group in optimiser.param_groups]
    progress = Progress(task.name, folder / "losses.jsonl", done_before=done)
    for step in range(done, task.steps):
        for group in groups:
            group["lr"] = group["initial_lr"] * learning_rate(step, task.steps)
        progress.show(step + 1, task.steps, task.advance(step))
        if (step + 1) % SAVE_EVERY == 0 or step + 1 == task.steps:
            _save(task, state, step + 1)


def learning_rate(step: int, steps: int) -> float:
    """Give the share of the full rate at a step: a linear warm-up, then half a cosine down to a hundredth."""
    falling = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
    return min(1.0, (step + 1) / WARM_UP) * falling


def adamw(module: nn.Module, rate: float, decay: float = 0.0) -> torch.optim.Optimizer:
    """Give AdamW with the rate that `train` scales."""
    parameters = [{"params": list(module.parameters()), "initial_lr": rate}]
    return torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.99), weight_decay=decay)


def descend(loss: Tensor, module: nn.Module, *optimisers: torch.optim.Optimizer, limit: float = 1.0) -> None:
    """Make one step down the gradient of a loss, its norm over the module's weights limited."""
    for optimiser in optimisers:
        optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(module.parameters(), limit)
    for optimiser in optimisers:
        optimiser.step()


def average(mean: nn.Module, module: nn.Module, step: int, decay: float = 0.999) -> None:
    """Move an exponential moving average of weights by one step; early steps count for more."""
    kept = min(decay, (1 + step) / (10 + step))
    # all weights in one call: where they go one by one, a GPU waits for Python
    move = get_ema_multi_avg_fn(kept)  # type: ignore[no-untyped-call]
    move(list(mean.parameters()), list(module.parameters()), step)


def _load(task: Task, path: Path) -> int:
    """Restore a task; give how many steps are done."""
    if not path.exists():
        return 0
    state = _read(path)
    try:
        task.modules.load_state_dict(state["modules"])
        for optimiser, saved in zip(task.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)
        done = int(state["done"])
    except UNFIT as error:
        fix = f"choose another folder, or remove {path.parent}"
        raise UsageError(f"{path} does not fit the networks of the stage {task.name}; {fix}") from error
    if done > task.steps:
        fix = f"ask for {done} or more, or remove the file to train this stage again"
        raise UsageError(f"{path} has {done} steps behind it, expected at most {task.steps}; {fix}")
    return done


def _read(path: Path) -> Any:  # noqa: ANN401 - whatever the file holds
    content = io.BytesIO(path.read_bytes())  # so that what the disk refuses is not taken for damage
    try:
        return torch.load(content, weights_only=True, map_location="cpu")  # from there each goes to its own device
    except DAMAGED as error:
        raise UsageError(f"{path} is damaged; remove the file to train this stage again") from error


def _save(task: Task, path: Path, done: int) -> None:
    part = path.with_suffix(".part")
    optimisers = [optimiser.state_dict() for optimiser in task.optimisers]
    torch.save({"modules": task.modules.state_dict(), "optimisers": optimisers, "done": done}, part)
    part.rename(path)
