"""The picture of a training log."""

import json
from collections import defaultdict
from pathlib import Path


def plot_losses(log: Path, target: Path) -> Path:
    """Plot every loss of every stage over its steps, as lines in one panel a stage; give the picture's path."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    stages = read_losses(log)
    figure, axes = plt.subplots(1, len(stages), figsize=(4 * len(stages), 3.2), squeeze=False)
    for axis, (stage, losses) in zip(axes[0], stages.items(), strict=True):
        for name, points in losses.items():
            axis.plot(*zip(*sorted(points.items()), strict=True), label=name, linewidth=1)
        axis.set(title=stage, xlabel="step", yscale="log")
        axis.legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(target, dpi=100)
    plt.close(figure)
    return target


def read_losses(log: Path) -> dict[str, dict[str, dict[int, float]]]:
    """Read a log as stage → loss → step → value; of a step that was repeated after an interruption, the last counts."""
    stages: dict[str, dict[str, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    for line in log.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        stage, step = row.pop("stage"), row.pop("step")
        row.pop("elapsed_s")
        for name, value in row.items():
            stages[stage][name][step] = value
    return {stage: dict(losses) for stage, losses in stages.items()}
