"""What of a replaced bundle's plans stays: those that take other weights, and what builds have learnt."""

import os
from pathlib import Path

import pytest
from support.plan_records import CONTENT, keep

from foley_engines.plans.carry import carry_over
from foley_engines.plans.store import PlanStore


@pytest.fixture
def former(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "former")


@pytest.fixture
def target(tmp_path: Path) -> PlanStore:
    return PlanStore(tmp_path / "target")


@pytest.mark.parametrize("links", [True, False])
def test_refittable_plans_and_timings_stay(
    former: PlanStore, target: PlanStore, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    kept, lost = keep(former, "yes"), keep(former, "no")
    former.keep_timings("10.16 H100", b"timings")
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    assert carry_over(former.folder, target.folder) == 1
    assert target.records("denoise_step") == [kept]
    assert target.read_plan(kept) == CONTENT["yes"]
    assert not target.holds(lost)
    assert target.timings("10.16 H100") == b"timings"
    assert former.holds(kept)


def refuse(*_: object) -> None:
    raise PermissionError("no links here")


def test_a_record_that_cannot_be_read_and_one_whose_plan_is_gone_are_no_reason_to_fail(
    former: PlanStore, target: PlanStore
) -> None:
    kept = keep(former, "yes")
    (former.folder / "denoise_step-0000.json").write_text("{")
    (former.folder / kept.plan).unlink()
    assert carry_over(former.folder, target.folder) == 1
    assert not target.holds(kept)


def test_nothing_to_keep_makes_no_folder(former: PlanStore, target: PlanStore) -> None:
    keep(former, "no")
    assert carry_over(former.folder, target.folder) == 0
    assert carry_over(target.folder, former.folder) == 0
    assert not target.folder.exists()
