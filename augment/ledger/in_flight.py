"""Which inputs were at work when a worker died: suspects are tried alone, and what kills twice alone is quarantined.

    run/journal/<unit>-<attempt>.json    a worker's: the inputs of the batch it has begun; gone when the unit is done
    run/suspects.json                    the driver's: deaths of each input tried alone

A death of a worker leaves its journal behind. The driver makes its inputs suspects; the next attempt at the unit tries
each suspect alone first. One that survives is cleared, so a worker that somebody else killed costs no input. One that
was alone with a worker that died twice is not touched again, and its edits are failed ones with a reason.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from augment.errors import OutputError
from augment.storage.retry import PatientStore
from augment.storage.store import Store
from augment.types import Unit

DEATHS_ALONE = 2
_FOLDER, _SUSPECTS = "run/journal", "run/suspects.json"


@dataclass(frozen=True)
class Begun:
    """What an attempt had begun when it was heard of last: inputs by key, whether there was one alone, and those that
    it had tried alone and survived."""

    keys: tuple[str, ...]
    alone: bool
    cleared: tuple[str, ...]


class Journal:
    """The worker's side: one attempt at one unit."""

    def __init__(self, store: Store, unit_id: str, attempt: str) -> None:
        self._store, self._name = store, _name(unit_id, attempt)
        self._cleared: list[str] = []

    def begin(self, keys: Iterable[str], alone: bool = False) -> None:
        """From now on these inputs are at work; whatever was before is done."""
        content = {"keys": list(keys), "alone": alone, "cleared": self._cleared}
        self._store.write(self._name, json.dumps(content).encode())

    def clear(self, key: str) -> None:
        """An input that was alone has done no harm."""
        self._cleared.append(key)

    def close(self) -> None:
        """The unit is done."""
        self._store.remove([self._name])


class Suspects:
    """The driver's side. Every change is written at once: the driver may be killed as well.

    What must be known is read and written with patience: a store that does not answer costs no run.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._patient = store, PatientStore(store)
        self._deaths = _read_suspects(store)

    def died(self, unit_id: str, attempt: str) -> Begun | None:
        """Take over the journal of an attempt whose worker is dead: what it had begun are suspects, and what it had
        begun alone has one death more. Returns what the journal said; None if nothing had begun."""
        begun = _read_journal(self._patient, _name(unit_id, attempt))
        self._patient.remove([_name(unit_id, attempt)])  # before it counts: a driver killed here counts nothing twice
        if begun is not None:
            for key in begun.keys:
                self._deaths[key] = self._deaths.get(key, 0) + begun.alone
            for key in begun.cleared:
                self._deaths.pop(key, None)
            self._save()
        return begun

    def innocent(self, unit_id: str, attempt: str) -> None:
        """Forget an attempt that ended for a reason which is no input's."""
        with contextlib.suppress(OSError):  # it may be the very reason; at worst inputs are tried alone, and survive
            self._store.remove([_name(unit_id, attempt)])

    def absorb(self) -> None:
        """Take over every journal: of a driver that was its own worker, and died as such."""
        for name in self._store.list(_FOLDER):
            unit_id, _, attempt = name.removeprefix(f"{_FOLDER}/").removesuffix(".json").partition("-")
            self.died(unit_id, attempt)

    def forget(self) -> None:
        """Drop every journal: of workers that died because their driver did."""
        self._store.remove(self._store.list(_FOLDER))

    def of(self, unit: Unit) -> tuple[tuple[str, ...], dict[str, str]]:
        """The unit's inputs to be tried alone, the likeliest first; and those in quarantine, with the reason."""
        deaths = {p.source.key: self._deaths[p.source.key] for p in unit.sources if p.source.key in self._deaths}
        alone = sorted((key for key, count in deaths.items() if count < DEATHS_ALONE), key=lambda key: -deaths[key])
        quarantined = {key: count for key, count in deaths.items() if count >= DEATHS_ALONE}
        return tuple(alone), {key: f"killed its worker {count} times, alone" for key, count in quarantined.items()}

    def done(self, unit: Unit) -> None:
        """The unit is committed: who was suspected in it is cleared. What is in quarantine stays there."""
        cleared = [p.source.key for p in unit.sources if self._deaths.get(p.source.key, DEATHS_ALONE) < DEATHS_ALONE]
        for key in cleared:
            del self._deaths[key]
        if cleared:
            self._save()

    def acquit(self) -> None:
        """All units are done: who is not in quarantine is suspected no more, also where a driver died before `done`."""
        guilty = {key: count for key, count in self._deaths.items() if count >= DEATHS_ALONE}
        if guilty != self._deaths:
            self._deaths = guilty
            self._save()

    def pardon(self, units: Iterable[Unit]) -> None:
        """Give the quarantined inputs of these units another chance."""
        keys = {p.source.key for unit in units for p in unit.sources} & self._deaths.keys()
        for key in keys:
            del self._deaths[key]
        if keys:
            self._save()

    def _save(self) -> None:
        self._patient.write(_SUSPECTS, (json.dumps(self._deaths, indent=1, sort_keys=True) + "\n").encode())


def forget_suspects(store: Store) -> None:
    """Drop all that is known of inputs: they will be used in another way."""
    store.remove([_SUSPECTS])
    store.clear(_FOLDER)


def _name(unit_id: str, attempt: str) -> str:
    return f"{_FOLDER}/{unit_id}-{attempt}.json"


def _read_journal(store: Store, name: str) -> Begun | None:
    try:
        content = json.loads(store.read(name))
        keys, cleared = tuple(map(str, content["keys"])), tuple(map(str, content["cleared"]))
        return Begun(keys, bool(content["alone"]), cleared)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # nothing had begun, or nothing that can be known


def _read_suspects(store: Store) -> dict[str, int]:
    try:
        return {str(key): int(count) for key, count in json.loads(store.read(_SUSPECTS)).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise OutputError(
            f"{store.at(_SUSPECTS)} is not readable ({type(error).__name__}: {error}). Delete it: inputs that kill "
            "workers are then found again."
        ) from error
