"""Every step of planning: what is left of a driver killed there, and what becomes of one that is suspended there while
another one takes over and plans."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.ledger.in_flight import InFlight, Suspects, notes_of_suspects
from augment.ledger.ledger import Ledger
from augment.ledger.plan import cut_units, named_by_content
from augment.storage.store import Store
from tests.dataset.parts import CLASS_NAMES, FINGERPRINT, planned_sources
from tests.dataset.steps import Folder, Happens, content, killed, take_over, walk
from tests.memory_store import Killed

PLACES = ("plan/units-", "plan/plan.json", "run/config.resolved.yaml")


def planned_with(seed: int) -> Callable[[Ledger], None]:
    """What plans for a seed, as the main job does."""

    def plan(ledger: Ledger) -> None:
        units = named_by_content(cut_units(planned_sources(6), 2), str(seed))
        ledger.write_plan(FINGERPRINT | {"seed": seed}, units, CLASS_NAMES)
        ledger.write_run_file("config.resolved.yaml", f"seed: {seed}\n")

    return plan


def old_plan(path: Path) -> None:
    with Ledger(path).lock():
        planned_with(0)(Ledger(path))


@pytest.fixture(params=["disk", "store"])
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Folder]:
    monkeypatch.setattr("augment.ledger.plan_files.UNITS_PER_FILE", 1)
    made = Folder(request.param, old_plan)
    yield made
    made.close()


def state(store: Store) -> dict[str, bytes]:
    """All that planning writes."""
    names = ["run/config.resolved.yaml", *notes_of_suspects(store)]
    return content(store) | {name: store.read(name) for name in names}


def is_good(store: Store, seed: int) -> None:
    """The folder has the plan of a seed, with all of its units."""
    ledger = Ledger(store)
    plan = ledger.read_plan()
    assert plan is not None and plan.fingerprint["seed"] == seed
    assert tuple(unit.unit_id for unit in ledger.units()) == plan.unit_ids
    assert store.read("run/config.resolved.yaml") == f"seed: {seed}\n".encode()


def test_a_driver_killed_at_any_step_leaves_what_the_next_one_plans_over(folder: Folder) -> None:
    def run(store: Store, other: Store, happens: Happens) -> None:
        ledger = Ledger(store)
        with contextlib.suppress(Killed), folder.stepping(store, killed(happens)), ledger.lock():
            planned_with(1)(ledger)
        take_over(Ledger(other), planned_with(1))
        is_good(other, 1)

    walk(folder, run, PLACES, at_least=10)


@pytest.mark.parametrize("seed", [0, 1, 2], ids=["old", "same", "other"])
def test_a_driver_suspended_at_any_step_cannot_spoil_the_next_ones_plan(folder: Folder, seed: int) -> None:
    def run(store: Store, other: Store, happens: Happens) -> None:
        found = dict[str, bytes]()

        def suspended() -> None:
            take_over(Ledger(other), planned_with(seed))
            suspects = Suspects(other)  # what a worker of the new driver was editing when it died
            InFlight(other, "u000001", "an-attempt").begin(["one", "two"])
            InFlight(other, "u000002", "an-attempt").begin(["three"], alone=True)
            suspects.worker_died("u000002", "an-attempt")
            found.update(state(other))
            assert {"run/suspects.json", "run/in_flight/u000001-an-attempt.json"} <= found.keys()

        ledger, error = Ledger(store), ""
        try:
            with ledger.lock(), folder.stepping(store, happens(suspended)):
                planned_with(1)(ledger)
        except OutputError as lost:
            error = str(lost)
        assert bool(found) == ("was taken over by another run" in error)
        if found:
            assert state(other) == found
            is_good(other, seed)

    walk(folder, run, PLACES, at_least=10)
