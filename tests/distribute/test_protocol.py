"""The protocol of driver and workers, without Ray: whatever happens in whatever order, nothing is lost or doubled.

Poison inputs kill every worker that edits them. Beside them workers die by chance, machines are lost, processes that
were thought dead commit after all, commits lose their answers, drivers are killed in the middle of what they write, are
taken over while they live, and run again with `--retry-failed`.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from augment.errors import OutputError
from augment.ledger.lease import SECONDS
from augment.ledger.ledger import Ledger
from tests.distribute.promises import Promises
from tests.distribute.simulated import SOURCES, Attempt, Driver, Kind, SimulatedWorker
from tests.memory_store import Killed

MOST_TASKS = 80  # that a run to the end may hand out: each poison input costs three, two units share a worker's death
INDEX = st.integers(0, 11)


class Protocol(Promises):
    """Drivers, workers and what happens to them.

    Chance has bounds, so that what must hold is exact: a unit outside of `mortal` loses its worker by chance once per
    driver, which is too seldom to be given up; and an input is alone with a worker that dies by chance once, which is
    too seldom to be quarantined.
    """

    @initialize(poison=st.sets(st.sampled_from(SOURCES), max_size=3), cursed=st.sampled_from(["", "u000001"]))
    def choose(self, poison: set[str], cursed: str) -> None:
        self.poison, self.mortal, self.cursed = frozenset(poison), frozenset({cursed} - {""}), bool(cursed)

    @precondition(lambda self: self.cursed)
    @rule()
    def curse_ends(self) -> None:
        self.cursed = False

    # ---- drivers ------------------------------------------------------------------------------------------------
    def begin(self, kind: Kind, retry_failed: bool, calls_left: int | None) -> None:
        """Start a driver, long enough after whatever the one before did last."""
        self.now += SECONDS + 40
        self.begun += 1
        if kind == "local":  # takes every input that is in flight alone for the one that killed the driver before
            alone = Counter(key for key in self.alone_in_flight() if key not in self.poison)
            if self.unlucky & alone.keys() or any(count > 1 for count in alone.values()):
                kind = "ray"
            else:
                self.unlucky |= alone.keys()
        with contextlib.suppress(Killed):
            driver = Driver(self.store, self.plan, lambda: self.now, kind, retry_failed, calls_left)
            driver.number = self.begun
            self.drivers.append(driver)
            self.held = True
            self.replaced |= driver.again
            return
        self.held = False  # killed at once, but it may have taken the lease of the one before

    @precondition(lambda self: not self.held)
    @rule(kind=st.sampled_from(["local", "ray"]), retry=st.booleans(), calls=st.none() | st.integers(0, 100))
    def start(self, kind: Kind, retry: bool, calls: int | None) -> None:
        self.begin(kind, retry, calls)

    @precondition(lambda self: self.held and self.busy(0, 0) and len(self.drivers) < 3)
    @rule(kind=st.sampled_from(["local", "ray"]), retry=st.booleans())
    def take_over_from_a_suspended_driver(self, kind: Kind, retry: bool) -> None:
        self.begin(kind, retry, None)

    @precondition(lambda self: self.held)
    @rule(kind=st.sampled_from(["local", "ray"]))
    def a_second_driver_is_refused(self, kind: Kind) -> None:
        with pytest.raises(OutputError, match="is being written by another run"):
            Driver(self.store, self.plan, lambda: self.now, kind, retry_failed=False, calls_left=None)

    def bury(self, driver: Driver, outlived: bool) -> None:
        """A driver is dead; its workers die with it or go on without."""
        driver.die()
        self.held = self.held and driver is not self.drivers[-1]
        self.drivers.remove(driver)
        self.zombies += driver.attempts if outlived and driver.kind == "ray" else []

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX)
    def kill_driver(self, which: int) -> None:
        """Its workers end with it if the number is a multiple of three, otherwise they go on."""
        self.bury(self.drivers[which % len(self.drivers)], outlived=which % 3 > 0)

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX, calls=st.integers(0, 5))
    def kill_driver_soon(self, which: int, calls: int) -> None:
        self.drivers[which % len(self.drivers)].client.calls_left = calls

    @precondition(lambda self: any(driver.drained for driver in self.drivers))
    @rule(which=INDEX)
    def publish(self, which: int) -> None:
        drained = [driver for driver in self.drivers if driver.drained]
        driver = drained[which % len(drained)]
        try:
            with self.lives(driver):
                reports = driver.publish()
                assert self.holds(driver), "one that had lost the lease has published"
                self.check_accounts(reports)
                driver.end()
                self.drivers.remove(driver)
                self.held = False
        except OutputError:
            assert not self.holds(driver)
            self.bury(driver, outlived=False)

    @contextlib.contextmanager
    def lives(self, driver: Driver):  # type: ignore[no-untyped-def]
        """What a driver does, unless it is killed over it."""
        try:
            yield
        except Killed:
            self.bury(driver, outlived=True)

    # ---- workers ------------------------------------------------------------------------------------------------
    @precondition(lambda self: self.drivers)
    @rule(order=st.integers(0, 2**16), steps=st.integers(1, 30))
    def work(self, order: int, steps: int) -> None:
        """Hand out units and let attempts go on, whichever comes first; the answers to some commits will be lost."""
        chance = random.Random(order)
        for _ in range(steps):
            if not self.drivers:
                return
            if self.zombies and chance.random() < 0.3:
                self.zombie_step(chance.choice(self.zombies))
            driver = self.drivers[-1] if chance.random() < 0.8 else chance.choice(self.drivers)
            worker = chance.choice(driver.workers)
            with self.lives(driver):
                if driver.hand_out(worker) and chance.random() < 0.2:
                    worker.attempts[-1].client.lost = chance.choice(["before", "after", "repeated"])
            if worker.attempts:
                self.step(driver, worker, chance.choice(worker.attempts))

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX)
    def come_to_the_end(self, which: int) -> None:
        """Nothing else happens until a driver has an outcome for every unit, or poison kills it."""
        driver, handed_out = self.drivers[which % len(self.drivers)], 0
        while driver in self.drivers and not driver.drained:
            for worker in driver.workers:
                with self.lives(driver):
                    handed_out += driver.hand_out(worker)
                for attempt in list(worker.attempts):
                    if attempt in worker.attempts and driver in self.drivers:  # it has not died with another one
                        self.step(driver, worker, attempt)
            assert handed_out < MOST_TASKS, "the queue does not end"

    def step(self, driver: Driver, worker: SimulatedWorker, attempt: Attempt) -> None:
        """An attempt goes on, or its worker dies of the poison that it edits; the driver learns what came of it."""
        cursed = self.cursed and attempt.task.unit.unit_id in self.mortal and not attempt.keys
        if cursed or self.poison.intersection(attempt.keys):
            self.kill(driver, worker)
            return
        try:
            report = attempt.step()
        except OSError:  # the answer to its commit was lost
            worker.attempts.remove(attempt)
            with self.lives(driver):
                driver.queue.put_back(attempt.task)
            return
        except OutputError:  # its part is gone
            assert not self.holds(driver), "the part of a driver that holds the lease was removed"
            self.bury(driver, outlived=False)
            return
        if report is not None:
            worker.attempts.remove(attempt)
            if self.holds(driver) and report.unit_id not in self.replaced:  # nobody may have replaced it meanwhile
                assert Ledger(self.store).report_of(report.unit_id) == report, "the driver was told of another commit"
                assert Ledger(self.store).has_part(report), "the driver was told of a part that is gone"
            wanted = report.planned - len(attempt.task.quarantined)
            assert not attempt.task.replaces or report.edited >= wanted, "a worse commit was not replaced"
            with self.lives(driver):
                driver.queue.done(attempt.task, report)

    def kill(self, driver: Driver, worker: SimulatedWorker) -> None:
        if driver.kind == "local":
            self.bury(driver, outlived=False)
            return
        with self.lives(driver):
            driver.worker_died(worker)

    def may_die(self, driver: Driver, worker: SimulatedWorker) -> bool:
        """Whether chance has not struck these units too often; strikes if so."""
        units = {attempt.task.unit.unit_id for attempt in worker.attempts} - self.mortal
        alone = {attempt.keys[0] for attempt in worker.attempts if attempt.alone} - self.poison
        number = driver.number
        if alone & self.unlucky or any(self.by_chance[number, unit] for unit in units):
            return False
        self.by_chance.update((number, unit) for unit in units)
        self.unlucky |= alone
        return True

    def busy(self, which: int, index: int) -> tuple[Driver, SimulatedWorker] | None:
        """One of the workers that do something, if any does; with a suspect alone, if any has and `index` is even."""
        found = [(d, w) for d in self.drivers for w in d.workers if w.attempts]
        alone = [(d, w) for d, w in found if w.attempts[0].alone]
        found = alone if alone and index % 2 == 0 else found
        return found[(which + index) % len(found)] if found else None

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX, index=INDEX)
    def worker_dies_by_chance(self, which: int, index: int) -> None:
        if (found := self.busy(which, index)) and (found[0].kind == "local" or self.may_die(*found)):
            self.kill(*found)

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX, index=INDEX)
    def worker_fails_as_a_whole(self, which: int, index: int) -> None:
        """One of its attempts raised an error that no input explains, the others are put back."""
        if (found := self.busy(which, index)) and found[0].kind == "ray" and self.may_die(*found):
            driver, worker = found
            (first, *others), worker.attempts = worker.attempts, []
            with self.lives(driver):
                driver.queue.worker_died(first.task, "RuntimeError: it is broken", suspect=False)
                for other in others:
                    driver.queue.put_back(other.task)

    @precondition(lambda self: self.busy(0, 0))
    @rule(which=INDEX, index=INDEX, thought=st.booleans())
    def machine_is_lost(self, which: int, index: int, thought: bool) -> None:
        """It is gone, or is only thought to be, and what it was at goes on."""
        if (found := self.busy(which, index)) is None or found[0].kind == "local":
            return
        driver, worker = found
        attempts = [a for a in worker.attempts if self.losses[driver.number, a.task.unit.unit_id] < 5]
        for attempt in attempts:
            worker.attempts.remove(attempt)
            self.losses[driver.number, attempt.task.unit.unit_id] += 1
        self.zombies += attempts if thought else []
        with self.lives(driver):
            for attempt in attempts:
                driver.queue.machine_lost(attempt.task)

    @precondition(lambda self: self.zombies)
    @rule(which=INDEX)
    def zombie_ends(self, which: int) -> None:
        self.zombies.pop(which % len(self.zombies))

    def zombie_step(self, zombie: Attempt) -> None:
        """Nobody waits for what it does."""
        ended = bool(self.poison.intersection(zombie.keys))
        try:
            ended = ended or zombie.step() is not None
        except (OSError, OutputError):  # the answer to its commit was lost, or its part is gone
            ended = True
        if ended:
            self.zombies.remove(zombie)

    def teardown(self) -> None:
        """Nothing happens any more: the last driver, or a new one, comes to the end."""
        try:
            if not self.held or self.drivers[-1].kind == "local" or self.drivers[-1].client.calls_left is not None:
                self.begin("ray", retry_failed=False, calls_left=None)
            self.come_to_the_end(len(self.drivers) - 1)
            driver = self.drivers[-1]
            self.check_accounts(dict(driver.publish()))
            self.no_innocent_input_is_quarantined()
        finally:
            for driver in self.drivers:
                driver.die()


def run(examples: int) -> None:
    run_state_machine_as_test(
        Protocol,
        settings=settings(
            derandomize=True,
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            database=None,
        ),
    )


@pytest.mark.timeout(900)  # a failure is made small first
def test_nothing_is_lost_or_doubled_whatever_happens() -> None:
    run(100)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nothing_is_lost_or_doubled_in_many_more_runs() -> None:
    run(3000)
