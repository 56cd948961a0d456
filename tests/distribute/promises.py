"""What must hold of the protocol whatever happens, and what a test has to remember to know it."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
)

from augment.ledger.in_flight import DEATHS_ALONE
from augment.ledger.ledger import Ledger
from augment.types import UnitReport
from tests.distribute.simulated import UNITS, Attempt, Driver, unit_of
from tests.memory_store import MemoryStore


class Promises(RuleBasedStateMachine):
    """The state of a run and the invariants of it.

    Attributes:
        store, plan, now: the output folder, its plan, and the time by the clock of all drivers.
        poison: inputs that kill every worker that edits them.
        mortal: units that may lose their workers so often that they are given up.
        cursed: whether workers die of those units before they edit anything.
        drivers: those that live; the last one has the lease if `held`, otherwise nobody has.
        begun: number of drivers that were started.
        zombies: attempts that are thought dead, or whose driver is.
        by_chance, losses: deaths of workers by chance, and lost machines, by driver and unit.
        unlucky: inputs that were alone with a worker that died by chance.
        counted: reports of the valid commits, by unit.
        replaced: units that any driver was to make once more.
    """

    def __init__(self) -> None:
        super().__init__()
        self.store, self.now = MemoryStore(), 1e9
        self.plan = Ledger(self.store).write_plan({"seed": 0}, UNITS, {0: "fox"})
        self.poison: frozenset[str] = frozenset()
        self.mortal: frozenset[str] = frozenset()
        self.cursed = self.held = False
        self.begun = 0
        self.drivers: list[Driver] = []
        self.zombies: list[Attempt] = []
        self.by_chance: Counter[tuple[int, str]] = Counter()
        self.losses: Counter[tuple[int, str]] = Counter()
        self.unlucky: set[str] = set()
        self.counted: dict[str, UnitReport] = {}
        self.replaced: set[str] = set()

    def holds(self, driver: Driver) -> bool:
        return self.held and driver is self.drivers[-1]

    def alone_in_flight(self) -> list[str]:
        records = (json.loads(self.store.read(name)) for name in self.store.list("run/in_flight"))
        return [key for record in records if record["alone"] and record["in_driver"] for key in record["keys"]]

    def valid(self) -> dict[str, UnitReport]:
        ledger = Ledger(self.store)
        return {u: r for u, r in ledger.committed().items() if ledger.has_part(r)}

    @invariant()
    def a_commit_that_counts_goes_on_counting(self) -> None:
        valid = self.valid()
        for unit, before in self.counted.items():
            assert unit in valid, f"the commit of {unit} is gone"
            assert valid[unit] == before or (unit in self.replaced and valid[unit].edited >= before.edited)
        self.counted = valid

    @invariant()
    def no_innocent_input_is_quarantined(self) -> None:
        if self.store.exists("run/suspects.json"):
            deaths = json.loads(self.store.read("run/suspects.json"))
            assert {key for key, count in deaths.items() if count >= DEATHS_ALONE} <= self.poison

    def check_accounts(self, reports: dict[str, UnitReport]) -> None:
        """Every planned edit is accounted for, and a poison input costs only itself."""
        assert reports == self.valid()
        assert list(reports) == [unit.unit_id for unit in UNITS]
        poisoned = Counter(unit_of(key).unit_id for key in self.poison)
        for unit in UNITS:
            report = reports[unit.unit_id]
            assert report.planned == unit.planned == report.edited + report.failed
            given_up = unit.unit_id in self.mortal and report.failed == unit.planned
            assert given_up or report.failed == poisoned[unit.unit_id], unit.unit_id
