"""From a worker's death to the input that is left alone from then on."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.ledger.in_flight import Begun, Journal, Suspects
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.types import Unit
from tests.dataset.parts import planned_sources

FOX, OWL, BROKEN = "00_fox", "01_owl", "02_broken"
UNIT = Unit("u000000", tuple(planned_sources(3)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def die(store: Store, attempt: str, *keys: str, alone: bool = False, cleared: tuple[str, ...] = ()) -> Begun | None:
    """An attempt at the unit begins with these inputs, and its driver, new each time, finds that the worker died."""
    journal = Journal(store, UNIT.unit_id, attempt)
    for key in cleared:
        journal.begin([key], alone=True)
        journal.clear(key)
    journal.begin(keys, alone)
    return Suspects(store).died(UNIT.unit_id, attempt)


def state(store: Store) -> tuple[tuple[str, ...], dict[str, str]]:
    return Suspects(store).of(UNIT)


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_from_a_batch_to_quarantine(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = open_store(tmp_path if kind == "local" else request.getfixturevalue("object_store")())
    assert state(store) == ((), {})
    assert die(store, "0", FOX, OWL, BROKEN) == Begun((FOX, OWL, BROKEN), False, ())
    assert state(store) == ((FOX, OWL, BROKEN), {})
    assert die(store, "1", BROKEN, alone=True, cleared=(FOX, OWL)) == Begun((BROKEN,), True, (FOX, OWL))
    assert state(store) == ((BROKEN,), {})
    die(store, "2", BROKEN, alone=True)
    assert state(store) == ((), {BROKEN: "killed its worker 2 times, alone"})
    assert store.list("run/journal") == {}


def test_the_likeliest_is_tried_first(store: Store) -> None:
    die(store, "0", FOX, OWL, BROKEN)
    die(store, "1", BROKEN, alone=True)
    assert state(store) == ((BROKEN, FOX, OWL), {})


def test_deaths_in_company_put_nobody_into_quarantine(store: Store) -> None:
    for attempt in range(5):
        die(store, str(attempt), FOX, OWL)
    assert state(store) == ((FOX, OWL), {})


def test_between_two_batches_nobody_is_suspected(store: Store) -> None:
    assert die(store, "0", cleared=(FOX,)) == Begun((), False, (FOX,))
    assert state(store) == ((), {})


def test_a_finished_unit_clears_its_suspects_but_not_who_is_in_quarantine(store: Store) -> None:
    die(store, "0", FOX, OWL)
    for attempt in ("1", "2"):
        die(store, attempt, OWL, alone=True)
    suspects = Suspects(store)
    suspects.done(UNIT)
    assert suspects.of(UNIT) == state(store) == ((), {OWL: "killed its worker 2 times, alone"})


def test_a_driver_that_died_after_the_last_commit_leaves_no_suspects(store: Store) -> None:
    die(store, "a", FOX, OWL)
    for attempt in ("b", "c"):
        die(store, attempt, FOX, alone=True)
    Suspects(store).acquit()
    assert state(store) == ((), {FOX: "killed its worker 2 times, alone"})


def test_pardon(store: Store) -> None:
    for attempt in ("1", "2"):
        die(store, attempt, OWL, alone=True)
    Suspects(store).pardon([Unit("u000001", ())])
    assert OWL in state(store)[1]
    Suspects(store).pardon([UNIT])
    assert state(store) == ((), {})


def test_no_journal_and_one_that_says_nothing(store: Store) -> None:
    assert Suspects(store).died(UNIT.unit_id, "0") is None
    store.write("run/journal/u000000-1.json", b"{")
    assert Suspects(store).died(UNIT.unit_id, "1") is None
    assert state(store) == ((), {})
    assert store.list("run/journal") == {}


def test_a_unit_that_ended_well_leaves_no_journal(store: Store) -> None:
    journal = Journal(store, UNIT.unit_id, "0")
    journal.begin([FOX])
    assert list(store.list("run/journal")) == ["run/journal/u000000-0.json"]
    journal.close()
    assert store.list("run/journal") == {}


def test_another_machine_was_lost(store: Store) -> None:
    Journal(store, UNIT.unit_id, "0").begin([FOX], alone=True)
    Suspects(store).innocent(UNIT.unit_id, "0")
    assert Suspects(store).died(UNIT.unit_id, "0") is None
    assert state(store) == ((), {})


@pytest.mark.parametrize("blame", [True, False])
def test_the_driver_died_as_well(store: Store, blame: bool) -> None:
    """Its journals count if it was the worker itself; workers that die because their driver did are nobody's fault."""
    die(store, "0", FOX, OWL)
    Journal(store, UNIT.unit_id, "1").begin([FOX], alone=True)
    Journal(store, "u000001", "5").begin([BROKEN])
    suspects = Suspects(store)
    suspects.absorb() if blame else suspects.forget()
    assert store.list("run/journal") == {}
    assert state(store) == (((FOX, OWL, BROKEN) if blame else (FOX, OWL)), {})
    if blame:
        die(store, "2", FOX, alone=True)
        assert state(store) == ((OWL, BROKEN), {FOX: "killed its worker 2 times, alone"})


def test_a_ruined_list_of_suspects_says_what_to_delete(store: Store) -> None:
    store.write("run/suspects.json", b"[")
    with pytest.raises(OutputError, match=r"run/suspects\.json is not readable .*Delete it"):
        Suspects(store)
