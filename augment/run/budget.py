"""The failure budget: a run in which too many edits fail ends early."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from pydantic import BaseModel, ConfigDict, Field

from augment.errors import BudgetExceeded
from augment.types import UnitReport


class BudgetConfig(BaseModel):
    """How many edits may fail before the run ends. 1 switches a limit off."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    max_failed: float = Field(default=0.2, ge=0, le=1, description="share of all edits done that may have failed")
    max_failed_per_class: float = Field(
        default=0.5, ge=0, le=1, description="share of the edits done of any one class that may have failed"
    )
    after: int = Field(default=200, ge=0, description="edits done before `max_failed` is checked")
    after_per_class: int = Field(
        default=50, ge=0, description="edits of a class done before `max_failed_per_class` is checked"
    )


class FailureBudget:
    """Counts the failures of a run and raises when they exceed the budget.

    Args:
        config: the limits.
        done: reports of the units that were done before this run began; they count as well.
    """

    def __init__(self, config: BudgetConfig, done: Iterable[UnitReport] = ()) -> None:
        self._config = config
        self._done = self._failed = 0
        self._stages: Counter[str] = Counter()
        self._class_done: Counter[str] = Counter()
        self._class_failed: Counter[str] = Counter()
        for report in done:
            self._count(report)

    def observe(self, report: UnitReport) -> None:
        """Count a unit. Raises BudgetExceeded if more has failed than is allowed."""
        self._count(report)
        self.check()

    def check(self) -> None:
        """Raise BudgetExceeded if more has failed than is allowed, failures of earlier runs included."""
        config = self._config
        if self._done >= max(1, config.after) and self._failed > config.max_failed * self._done:
            raise BudgetExceeded(
                self._message("edits", self._failed, self._done, "budget.max_failed", config.max_failed)
            )
        limit = config.max_failed_per_class
        exceeding = [
            name
            for name, failed in self._class_failed.items()
            if self._class_done[name] >= max(1, config.after_per_class) and failed > limit * self._class_done[name]
        ]
        if exceeding:
            worst = max(exceeding, key=lambda name: (self._class_failed[name] / self._class_done[name], name))
            others = f" (and {len(exceeding) - 1} more classes)" if len(exceeding) > 1 else ""
            failed, done = self._class_failed[worst], self._class_done[worst]
            what = f"edits of the class {worst!r}{others}"
            raise BudgetExceeded(self._message(what, failed, done, "budget.max_failed_per_class", limit))

    def _count(self, report: UnitReport) -> None:
        self._done += report.planned
        self._failed += report.failed
        self._stages.update(report.failed_by_stage)
        self._class_done.update(report.planned_by_class)
        self._class_failed.update(report.failed_by_class)

    def _message(self, what: str, failed: int, done: int, key: str, limit: float) -> str:
        stages = ", ".join(f"{stage} {count}" for stage, count in self._stages.most_common(3))
        return (
            f"{failed} of {done} {what} have failed, {failed / done:.1%}; {key} is {limit:.1%}. "
            f"Most frequent stages of all failures: {stages or 'not known'}. What is done is kept. "
            "See `augment status OUT`; repair the cause and run the same command with --retry-failed, or raise "
            f"{key} and run it again to go on without them."
        )
