"""Lines of progress, the log of losses, and its picture."""

import json
from types import SimpleNamespace

import pytest

from foley_export.demo_model import progress as progress_module
from foley_export.demo_model.losses import plot_losses, read_losses
from foley_export.demo_model.progress import Progress


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=clock))
    return clock


@pytest.fixture
def log(tmp_path):
    return tmp_path / "losses.jsonl"


def start(clock, log=None, done_before=0) -> Progress:
    return Progress("stage", log, done_before, started=clock())


def rows(log):
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def test_a_line_every_ten_seconds_and_at_the_end(clock, capsys):
    progress = start(clock)
    for step in range(1, 26):
        clock.now += 1
        progress.show(step, 25, {"loss": 1.0})
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines()] == ["1/25", "12/25", "23/25", "25/25"]


def test_a_line_tells_the_mean_since_the_last_and_what_is_left(clock, capsys):
    progress = start(clock)
    for step, loss in enumerate((8.0, *[1.0, 2.0] * 5, 3.0), 1):
        clock.now += 1.5
        progress.show(step, 40, {"loss": loss})
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "stage 1/40 loss 8.0000 (1.0 min left)"
    assert lines[1] == "stage 8/40 loss 1.4286 (0.8 min left)"


class Loss:
    """One that is told to whoever asks, and remembers at which step that was."""

    def __init__(self, clock: Clock, asked: list[float]) -> None:
        self.clock, self.asked = clock, asked

    def __float__(self) -> float:
        self.asked.append(self.clock.now - 1000)
        return 1.5


def test_losses_are_asked_for_when_they_are_shown_only(clock, log):
    progress, asked = start(clock, log), []
    for step in range(1, 13):
        clock.now += 1
        progress.show(step, 40, {"loss": Loss(clock, asked)})
    assert asked == [1.0] + [12.0] * 11
    assert rows(log)[-1]["loss"] == 1.5


def test_what_is_left_after_resuming_counts_new_steps_only(clock, capsys):
    progress = start(clock, done_before=500)
    clock.now += 60
    progress.show(501, 510, {"loss": 1.0})
    assert capsys.readouterr().err == "stage 501/510 loss 1.0000 (9.0 min left)\n"


def test_a_stage_without_losses_logs_nothing(clock, log, capsys):
    progress = start(clock, log)
    progress.show(1, 1, {})
    assert capsys.readouterr().err.startswith("stage 1/1 ")
    assert not log.exists()


def test_the_log_has_a_row_a_line(clock, log):
    progress = start(clock, log)
    for step, loss in ((1, 4.0), (2, 1.0), (3, 2.0)):
        clock.now += 2
        progress.show(step, 3, {"loss": loss, "other": 2 * loss})
    assert rows(log) == [
        {"stage": "stage", "step": 1, "elapsed_s": 2.0, "loss": 4.0, "other": 8.0},
        {"stage": "stage", "step": 3, "elapsed_s": 6.0, "loss": 1.5, "other": 3.0},
    ]


def test_a_loss_that_begins_between_lines_is_averaged_over_its_own_steps(clock, log):
    progress = start(clock, log)
    for step, losses in enumerate(({"loss": 1.0}, {"loss": 1.0}, {"loss": 1.0, "judge": 2.0}), 1):
        progress.show(step, 3, losses)
    assert rows(log)[-1]["judge"] == 2.0


def test_what_is_left_counts_the_first_chunk_whole(clock, capsys):
    progress = start(clock)
    clock.now += 64
    progress.show(64, 640, {})
    assert "(9.6 min left)" in capsys.readouterr().err


def test_of_a_repeated_step_the_last_counts(log):
    logged = [("a", 1, 5.0), ("a", 300, 2.0), ("a", 250, 3.0), ("a", 300, 1.0), ("b", 1, 7.0)]
    log.write_text(
        "".join(
            json.dumps({"stage": stage, "step": step, "elapsed_s": 1.0, "loss": loss}) + "\n"
            for stage, step, loss in logged
        )
    )
    assert read_losses(log) == {"a": {"loss": {1: 5.0, 300: 1.0, 250: 3.0}}, "b": {"loss": {1: 7.0}}}


def test_losses_of_a_stage_may_begin_later(log, clock):
    for step, losses in ((1, {"loss": 2.0}), (2, {"loss": 1.0, "judge": 0.5})):
        start(clock, log).show(step, step, losses)
    assert read_losses(log) == {"stage": {"loss": {1: 2.0, 2: 1.0}, "judge": {2: 0.5}}}


def test_the_picture_is_a_png(log, tmp_path):
    pytest.importorskip("matplotlib")
    stages = [("a", 1, 5.0), ("a", 2, 2.0), ("b", 1, 0.0), ("b", 2, 0.5)]
    log.write_text(
        "".join(
            json.dumps({"stage": stage, "step": step, "elapsed_s": 1.0, "loss": loss}) + "\n"
            for stage, step, loss in stages
        )
    )
    target = tmp_path / "losses.png"
    assert plot_losses(log, target) == target
    assert target.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert target.stat().st_size > 5000
