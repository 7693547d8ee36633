"""The defaults that a bundle records: the system's, or what the exporter's caller chose, checked as generate would."""

import pytest

from foley.cli import cli
from foley.errors import RequestError
from foley.manifest import Defaults
from foley.schedule import NoiseSchedule
from foley_export.checkpoint import open_checkpoint
from foley_export.cli import export as export_command
from foley_export.defaults import DefaultKnobs
from foley_export.export import Options, export

SYSTEM = Defaults(steps=100, guidance=7.5, sampler="pndm", seconds=10.0)
SCHEDULE = NoiseSchedule()


def test_without_a_choice_the_systems_stay():
    assert DefaultKnobs().over(SYSTEM, SCHEDULE) is SYSTEM


@pytest.mark.parametrize(
    ("name", "value"), [("steps", 8), ("guidance", 3.0), ("sampler", "dpmpp-2m"), ("seconds", 2.56)]
)
def test_one_choice_leaves_the_others(name, value):
    chosen = DefaultKnobs(**{name: value}).over(SYSTEM, SCHEDULE)
    assert {key for key in SYSTEM.__struct_fields__ if getattr(chosen, key) != getattr(SYSTEM, key)} == {name}
    assert getattr(chosen, name) == value


BAD = {
    ("steps", 0): "steps is 0",
    ("steps", 2.5): "steps is 2.5",
    ("guidance", -1.0): "guidance is -1.0",
    ("guidance", float("nan")): "guidance is nan",
    ("sampler", "eular"): "did you mean euler",
    ("seconds", 0.0): "seconds is 0.0",
    ("seconds", 601.0): "up to 600",
}


@pytest.mark.parametrize(("name", "value"), BAD)
def test_what_generate_refuses_is_no_default(name, value):
    with pytest.raises(RequestError, match=BAD[name, value]):
        DefaultKnobs(**{name: value})


def test_a_default_that_the_schedule_cannot_do_is_refused():
    with pytest.raises(RequestError, match="steps: got 1001, expected a whole number from 1 to 1000"):
        DefaultKnobs(steps=1001).over(SYSTEM, SCHEDULE)
    with pytest.raises(RequestError, match="lms cannot use a schedule with zero terminal SNR"):
        DefaultKnobs(sampler="lms").over(SYSTEM, NoiseSchedule(rescale_betas_zero_snr=True))


@pytest.mark.usefixtures("quick_model")
class TestExport:
    @pytest.fixture
    def place(self, checkpoint):
        return checkpoint(layout="no-adapter")

    @pytest.mark.slow
    def test_the_bundle_records_them(self, place, tmp_path):
        chosen = DefaultKnobs(steps=12, guidance=3, sampler="dpmpp-2m", seconds=2.56)
        manifest = export(open_checkpoint(str(place)), tmp_path / "bundle", Options(defaults=chosen))
        assert manifest.defaults == Defaults(steps=12, guidance=3.0, sampler="dpmpp-2m", seconds=2.56)

    @pytest.mark.slow
    def test_on_the_command_line(self, command, place, tmp_path, monkeypatch):
        monkeypatch.setitem(cli.commands, "export", export_command)
        options = ("--steps", 12, "--guidance", 3, "--sampler", "dpmpp-2m", "--seconds", 2.56)
        assert command("export", place, "-o", tmp_path / "bundle", *options).code == 0
        assert "defaults  dpmpp-2m, 12 steps, guidance 3, 2.56 s" in command("inspect", tmp_path / "bundle").out

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (("--steps", 0), "steps is 0"),
            (("--steps", 1001), "steps: got 1001"),
            (("--guidance", "nan"), "guidance is nan"),
            (("--sampler", "eular"), "did you mean euler"),
            (("--seconds", 601), "up to 600"),
        ],
    )
    def test_a_mistake_is_one_line_and_no_folder(self, command, place, tmp_path, monkeypatch, options, words):
        monkeypatch.setitem(cli.commands, "export", export_command)
        command("export", place, "-o", tmp_path / "bundle", *options).refused(words)
        assert list(tmp_path.iterdir()) == []

    def test_a_mistake_is_told_before_anything_is_fetched(self, command, tmp_path, monkeypatch):
        monkeypatch.setitem(cli.commands, "export", export_command)
        command("export", "no/such/folder", "-o", tmp_path / "bundle", "--steps", 0).refused("steps is 0")
