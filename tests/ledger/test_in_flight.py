"""From a worker's death to the input that is quarantined."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.errors import OutputError
from augment.ledger.in_flight import InFlight, InFlightRecord, Suspects
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.types import Unit
from tests.dataset.parts import planned_sources

FOX, OWL, BROKEN = "00_fox", "01_owl", "02_broken"
UNIT = Unit("u000000", tuple(planned_sources(3)))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(tmp_path)


def die(
    store: Store, attempt: str, *keys: str, alone: bool = False, cleared: tuple[str, ...] = ()
) -> InFlightRecord | None:
    """An attempt at the unit begins with these inputs, and its driver, new each time, finds that the worker died."""
    in_flight = InFlight(store, UNIT.unit_id, attempt)
    for key in cleared:
        in_flight.begin([key], alone=True)
        in_flight.clear(key)
    in_flight.begin(keys, alone)
    return Suspects(store).worker_died(UNIT.unit_id, attempt)


def state(store: Store) -> tuple[tuple[str, ...], dict[str, str]]:
    return Suspects(store).for_unit(UNIT)


@pytest.mark.parametrize("kind", ["local", "s3"])
def test_from_a_batch_to_quarantine(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    store = open_store(tmp_path if kind == "local" else request.getfixturevalue("object_store")())
    assert state(store) == ((), {})
    assert die(store, "0", FOX, OWL, BROKEN) == InFlightRecord((FOX, OWL, BROKEN), False, ())
    assert state(store) == ((FOX, OWL, BROKEN), {})
    assert die(store, "1", BROKEN, alone=True, cleared=(FOX, OWL)) == InFlightRecord((BROKEN,), True, (FOX, OWL))
    assert state(store) == ((BROKEN,), {})
    die(store, "2", BROKEN, alone=True)
    assert state(store) == ((), {BROKEN: "killed its worker 2 times, alone"})
    assert store.list("run/in_flight") == {}


def test_the_suspect_with_most_deaths_is_tried_first(store: Store) -> None:
    die(store, "0", FOX, OWL, BROKEN)
    die(store, "1", BROKEN, alone=True)
    assert state(store) == ((BROKEN, FOX, OWL), {})


def test_deaths_on_a_batch_of_several_quarantine_no_input(store: Store) -> None:
    for attempt in range(5):
        die(store, str(attempt), FOX, OWL)
    assert state(store) == ((FOX, OWL), {})


def test_between_two_batches_no_input_is_suspected(store: Store) -> None:
    assert die(store, "0", cleared=(FOX,)) == InFlightRecord((), False, (FOX,))
    assert state(store) == ((), {})


def test_a_finished_unit_clears_its_suspects_but_not_quarantined_inputs(store: Store) -> None:
    die(store, "0", FOX, OWL)
    for attempt in ("1", "2"):
        die(store, attempt, OWL, alone=True)
    suspects = Suspects(store)
    suspects.unit_done(UNIT)
    assert suspects.for_unit(UNIT) == state(store) == ((), {OWL: "killed its worker 2 times, alone"})


def test_a_driver_that_died_after_the_last_commit_leaves_no_suspects(store: Store) -> None:
    die(store, "a", FOX, OWL)
    for attempt in ("b", "c"):
        die(store, attempt, FOX, alone=True)
    Suspects(store).clear()
    assert state(store) == ((), {FOX: "killed its worker 2 times, alone"})


def test_reset_gives_quarantined_inputs_another_chance(store: Store) -> None:
    for attempt in ("1", "2"):
        die(store, attempt, OWL, alone=True)
    Suspects(store).reset([Unit("u000001", ())])
    assert OWL in state(store)[1]
    Suspects(store).reset([UNIT])
    assert state(store) == ((), {})


def test_no_in_flight_file_and_one_that_is_not_readable(store: Store) -> None:
    assert Suspects(store).worker_died(UNIT.unit_id, "0") is None
    store.write("run/in_flight/u000000-1.json", b"{")
    assert Suspects(store).worker_died(UNIT.unit_id, "1") is None
    assert state(store) == ((), {})
    assert store.list("run/in_flight") == {}


def test_a_unit_that_ended_well_leaves_no_in_flight_file(store: Store) -> None:
    in_flight = InFlight(store, UNIT.unit_id, "0")
    in_flight.begin([FOX])
    assert list(store.list("run/in_flight")) == ["run/in_flight/u000000-0.json"]
    in_flight.close()
    assert store.list("run/in_flight") == {}


def test_another_machine_was_lost(store: Store) -> None:
    InFlight(store, UNIT.unit_id, "0").begin([FOX], alone=True)
    Suspects(store).discard(UNIT.unit_id, "0")
    assert Suspects(store).worker_died(UNIT.unit_id, "0") is None
    assert state(store) == ((), {})


@pytest.mark.parametrize("blame", [True, False])
def test_the_driver_died_as_well(store: Store, blame: bool) -> None:
    """In-flight files count if the driver was the worker itself; workers that die because their driver did do not."""
    die(store, "0", FOX, OWL)
    InFlight(store, UNIT.unit_id, "1", in_driver=True).begin([FOX], alone=True)
    InFlight(store, "u000001", "5", in_driver=True).begin([BROKEN])
    suspects = Suspects(store)
    suspects.merge_all() if blame else suspects.discard_all()
    assert store.list("run/in_flight") == {}
    assert state(store) == (((FOX, OWL, BROKEN) if blame else (FOX, OWL)), {})
    if blame:
        die(store, "2", FOX, alone=True)
        assert state(store) == ((OWL, BROKEN), {FOX: "killed its worker 2 times, alone"})


def test_what_workers_of_ray_left_proves_nothing_to_a_local_run(store: Store) -> None:
    die(store, "0", OWL, alone=True)
    InFlight(store, UNIT.unit_id, "1").begin([OWL], alone=True)
    InFlight(store, UNIT.unit_id, "2").begin([FOX, BROKEN])
    store.write("run/in_flight/u000001-3.json", b'{"keys": ["02_broken"], "alone": true, "cleared": []}')
    store.write("run/in_flight/u000001-4.json", b"{")
    Suspects(store).merge_all()
    assert state(store) == ((OWL,), {})
    assert store.list("run/in_flight") == {}


def test_a_ruined_list_of_suspects_says_what_to_delete(store: Store) -> None:
    store.write("run/suspects.json", b"[")
    with pytest.raises(OutputError, match=r"run/suspects\.json is not readable .*Delete it"):
        Suspects(store)
