"""When too much has failed: the share, from when on it counts, and what the message says."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from augment.errors import BudgetExceeded
from augment.run.budget import BudgetConfig, FailureBudget
from augment.types import UnitReport


def report(done: int, failed: int, stage: str = "decode", name: str = "fox") -> UnitReport:
    by_stage, by_class = ({stage: failed}, {name: failed}) if failed else ({}, {})
    return UnitReport(
        "u000000",
        "plan",
        "part",
        "sha",
        planned=done,
        edited=done - failed,
        failed=failed,
        seconds={},
        failed_by_stage=by_stage,
        failed_by_class=by_class,
        planned_by_class={name: done},
    )


def test_exactly_the_share_is_within_the_budget() -> None:
    budget = FailureBudget(BudgetConfig(max_failed=0.25, after=100))
    budget.observe(report(100, 25))
    with pytest.raises(BudgetExceeded, match=r"^26 of 101 edits have failed, 25\.7%; budget\.max_failed is 25\.0%"):
        budget.observe(report(1, 1))


def test_shares_count_only_after_enough_edits() -> None:
    budget = FailureBudget(BudgetConfig(max_failed=0.2, after=200, after_per_class=10_000))
    budget.observe(report(199, 199))
    with pytest.raises(BudgetExceeded, match="199 of 200 edits"):
        budget.observe(report(1, 0))


def test_what_failed_before_this_run_counts_and_is_known_at_the_start() -> None:
    before = [report(150, 30), report(150, 40, "worker")]
    with pytest.raises(BudgetExceeded) as caught:
        FailureBudget(BudgetConfig(), before).check()
    message = str(caught.value)
    assert "70 of 300 edits have failed, 23.3%; budget.max_failed is 20.0%" in message
    assert "worker 40, decode 30" in message
    for remedy in ("augment status OUT", "--retry-failed", "raise budget.max_failed "):
        assert remedy in message


def test_a_class_has_a_share_of_its_own() -> None:
    budget = FailureBudget(BudgetConfig(max_failed=1.0, max_failed_per_class=0.5, after_per_class=50))
    budget.observe(report(1000, 0, name="owl"))
    budget.observe(report(49, 49, name="fox"))  # too few of it yet
    budget.observe(report(100, 50, name="cat"))  # just within
    with pytest.raises(BudgetExceeded) as caught:
        budget.observe(report(1, 0, name="fox"))
    assert "49 of 50 edits of the class 'fox' have failed, 98.0%" in str(caught.value)
    assert "raise budget.max_failed_per_class" in str(caught.value)


def test_of_several_classes_the_worst_is_named() -> None:
    budget = FailureBudget(BudgetConfig(max_failed=1.0), [report(60, 31, name="cat"), report(60, 60, name="dog")])
    with pytest.raises(BudgetExceeded, match=r"60 of 60 edits of the class 'dog' \(and 1 more classes\)"):
        budget.check()


def test_nothing_may_fail_and_everything_may() -> None:
    strict = FailureBudget(BudgetConfig(max_failed=0.0, after=0, after_per_class=10_000))
    strict.check()
    with pytest.raises(BudgetExceeded, match="1 of 4 edits"):
        strict.observe(report(4, 1))
    FailureBudget(BudgetConfig(max_failed=1.0, max_failed_per_class=1.0)).observe(report(10_000, 10_000))


@pytest.mark.parametrize("field", ["max_failed", "max_failed_per_class"])
def test_a_share_is_between_0_and_1(field: str) -> None:
    with pytest.raises(ValidationError):
        BudgetConfig.model_validate({field: 20})
