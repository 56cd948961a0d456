"""What of a plan is there already: in units that stay as they are, in units of earlier plans, in other outputs.

An edit is looked for under its source's key among what was planned before: with the same size of the source and the
same prompts it is the same edit as far as a listing knows. The worker that takes it over compares the content of the
source, by `aug_id`.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from augment.dataset.parts import read_part
from augment.dataset.record import edit_key
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.types import EditStatus, FinishedPart, PlannedSource, Unit, UnitReport, Variant

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Growth:
    """The edits of a plan, by what has to be done for them.

    Attributes:
        new: edits to make, those that failed before and are tried again among them.
        kept: edits that stay, failed ones in units that are not tried again among them.
        dropped: edits made before that are not wanted any more.
        units: units to make, those of which every edit is found again among them.
        found_in: unit id -> the parts that hold some of the unit's edits.
    """

    new: int = 0
    kept: int = 0
    dropped: int = 0
    units: int = 0
    found_in: Mapping[str, tuple[FinishedPart, ...]] = field(default_factory=dict)

    def line(self) -> str:
        """Return one line for a person."""
        dropped = f"; {self.dropped:,} are not wanted any more" if self.dropped else ""
        return f"{self.new:,} of {self.new + self.kept:,} edits are new{dropped}"


class _Made:
    """Edits that were made before, by the key of their source and their identity, with the part that holds each."""

    def __init__(self) -> None:
        self._parts: dict[str, dict[int, FinishedPart]] = {}

    def add(self, ledger: Ledger, reports: Mapping[str, UnitReport], out: str = "") -> None:
        """Take in finished units of a folder; `out` is where it lies, "" for the run's own."""
        left = dict(reports)
        for unit in ledger.units_of_all_plans():
            if (report := left.pop(unit.unit_id, None)) is None:
                continue
            part = FinishedPart(report.part, report.sha256, out)
            try:
                failed = _failed(ledger, report)
            except OutputError as error:  # as a worker does that finds a part damaged
                logger.warning("the edits of a part are made again: %s", error)
                continue
            for planned in unit.sources:
                parts = self._parts.setdefault(planned.source.key, {})
                for variant in planned.variants:
                    if edit_key(planned.source.key, variant.index) not in failed:
                        parts.setdefault(_identity(planned, variant), part)

    def __len__(self) -> int:
        return sum(map(len, self._parts.values()))

    def part_of(self, planned: PlannedSource, variant: Variant) -> FinishedPart | None:
        """Return the part that holds an edit; None if it was not made."""
        return self._parts.get(planned.source.key, {}).get(_identity(planned, variant))


def compare(
    ledger: Ledger,
    unit_ids: Collection[str],
    units: Iterable[Unit],
    done: Mapping[str, UnitReport],
    pixels: str,
    *,
    again: Container[str] = frozenset(),
    reuse: Sequence[Ledger] = (),
) -> Growth:
    """Compare the units of a plan with what is done.

    Args:
        ledger: of the output folder.
        unit_ids: of all units of the plan, which need not be written yet.
        units: the units themselves; consumed one at a time.
        done: the reports of all finished units of the folder, by id, whatever plan they belong to.
        pixels: hash of the settings that pixels depend on; see `UnitReport.pixels`.
        again: ids of finished units in which failed edits are tried again.
        reuse: other output folders whose edits may be taken over.

    Raises:
        OutputError: if units are left to do and a folder to reuse has no plan.
    """
    stay = {unit_id for unit_id in unit_ids if unit_id in done and unit_id not in again}
    before, elsewhere = _Made(), _Made()
    leave = {unit_id: report for unit_id, report in done.items() if unit_id not in stay}
    usable = {unit_id: report for unit_id, report in leave.items() if report.pixels == pixels}
    if usable:
        before.add(ledger, usable)
    dropped = sum(report.edited for report in leave.values()) - sum(report.edited for report in usable.values())
    for other in reuse if len(stay) < len(unit_ids) else ():  # a finished run needs none, and they may be gone
        if other.read_plan() is None:
            raise OutputError(
                f"reuse: {other.store} has no plan/plan.json: it is no output folder of `augment expand`."
            )
        reports = {unit_id: report for unit_id, report in other.committed().items() if report.pixels == pixels}
        elsewhere.add(other, reports, other.store.url)
    new = kept = 0
    taken: set[tuple[str, int]] = set()
    found_in: dict[str, tuple[FinishedPart, ...]] = {}
    for unit in units:
        parts: dict[FinishedPart, None] = {}  # in the order in which they are met
        for planned in unit.sources:
            for variant in planned.variants:
                if (part := before.part_of(planned, variant)) is not None:
                    taken.add((planned.source.key, _identity(planned, variant)))
                if unit.unit_id in stay:  # made, or taken over by a run that did not come to its end
                    kept += 1
                    continue
                part = part or elsewhere.part_of(planned, variant)
                new, kept = new + (part is None), kept + (part is not None)
                parts |= {} if part is None else {part: None}
        if parts:
            found_in[unit.unit_id] = tuple(parts)
    return Growth(new, kept, dropped + len(before) - len(taken), len(unit_ids) - len(stay), found_in)


def _identity(planned: PlannedSource, variant: Variant) -> int:
    """Return a number for all that an edit's pixels depend on beside the settings, as far as a listing knows."""
    source = planned.source
    return hash((source.size, source.version, planned.source_prompt, variant.prompt))


def _failed(ledger: Ledger, report: UnitReport) -> frozenset[str]:
    """Return the keys of the edits in a part that failed. Raises OutputError if it is damaged."""
    if not report.failed:
        return frozenset()
    return frozenset(record.key for record, _ in read_part(ledger, report) if record.status == EditStatus.FAILED)
