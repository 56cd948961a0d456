"""Which inputs a worker was editing when it died: those are tried alone next, and one that kills twice is quarantined.

    run/in_flight/<unit>-<attempt>.json    written by a worker: the inputs of its batch; removed when the unit is done
    run/suspects.json                      written by the driver: for each suspect, the workers that died on it alone

When a worker dies, its in-flight file stays behind. The driver makes the inputs named there suspects, and the next
attempt at the unit tries each suspect alone first. A suspect that survives is cleared, so a worker that died for
another reason costs no input. Files that an earlier run has left prove something only if its driver was its own worker
(`run.executor: local` in one process): others die when their driver does, whatever they are editing. An input that was
alone with its worker in `DEATHS_ALONE` deaths is quarantined: it is not read again, and its edits are recorded as
failed, with the reason.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from dataclasses import dataclass

from augment.errors import OutputError
from augment.storage.retry import RetryingStore
from augment.storage.store import Store
from augment.types import Unit

DEATHS_ALONE = 2
_FOLDER, _SUSPECTS = "run/in_flight", "run/suspects.json"


@dataclass(frozen=True)
class InFlightRecord:
    """The content of an in-flight file.

    Attributes:
        keys: source keys of the batch that the attempt had begun last.
        alone: whether that batch was one suspect, tried alone.
        cleared: source keys of suspects that this attempt had tried alone before, and survived.
        in_driver: whether the attempt was made in the driver's own process.
    """

    keys: tuple[str, ...]
    alone: bool
    cleared: tuple[str, ...]
    in_driver: bool = False


class InFlight:
    """Records, for the worker, which inputs one attempt at one unit has begun.

    Args:
        store: the run's output folder.
        unit_id: the unit.
        attempt: the attempt's name, `UnitTask.attempt`.
        in_driver: whether this process is the driver's, `UnitTask.in_driver`.
    """

    def __init__(self, store: Store, unit_id: str, attempt: str, in_driver: bool = False) -> None:
        self._store, self._name, self._in_driver = store, _name(unit_id, attempt), in_driver
        self._cleared: list[str] = []

    def begin(self, keys: Iterable[str], alone: bool = False) -> None:
        """Record that these inputs are being edited from now on; the batch before is done.

        Raises:
            OSError: if the file cannot be written.
        """
        content = {"keys": list(keys), "alone": alone, "cleared": self._cleared, "in_driver": self._in_driver}
        self._store.write(self._name, json.dumps(content).encode())

    def clear(self, key: str) -> None:
        """Note that a suspect was tried alone and the worker survived; the next `begin` writes it down."""
        self._cleared.append(key)

    def close(self) -> None:
        """Remove the file: the unit is done."""
        self._store.remove([self._name])


class Suspects:
    """Counts, for the driver, the deaths of workers that were alone with an input.

    Every change is written at once, because the driver may be killed as well. A store that does not answer is asked
    again for a while (`RetryingStore`), so that an outage does not end the run.

    Raises:
        OutputError: if `run/suspects.json` is not readable.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._retrying = store, RetryingStore(store)
        self._deaths = _read_suspects(store)

    def worker_died(self, unit_id: str, attempt: str) -> InFlightRecord | None:
        """Make the inputs suspects that an attempt was editing when its worker died, and remove its in-flight file.

        An input that was alone with the worker has one death more.

        Returns:
            what the in-flight file said; None if the attempt had not begun a batch.
        """
        begun = _read_record(self._retrying, _name(unit_id, attempt))
        self._retrying.remove([_name(unit_id, attempt)])  # first: a driver killed after this line counts nothing twice
        if begun is not None:
            for key in begun.keys:
                self._deaths[key] = self._deaths.get(key, 0) + begun.alone
            for key in begun.cleared:
                self._deaths.pop(key, None)
            self._save()
        return begun

    def discard(self, unit_id: str, attempt: str) -> None:
        """Remove the in-flight file of an attempt that no input ended."""
        # An outage may be why the attempt ended; a file that stays costs at most that its inputs are tried alone.
        with contextlib.suppress(OSError):
            self._store.remove([_name(unit_id, attempt)])

    def merge_all(self) -> None:
        """Take over what the in-flight files of earlier runs prove, and remove them all.

        A driver that was its own worker died of what it was editing, as far as can be known. All others prove nothing.
        """
        for name in self._store.list(_FOLDER):
            unit_id, _, attempt = name.removeprefix(f"{_FOLDER}/").removesuffix(".json").partition("-")
            begun = _read_record(self._retrying, name)
            if begun is not None and begun.in_driver:
                self.worker_died(unit_id, attempt)
            else:
                self.discard(unit_id, attempt)

    def discard_all(self) -> None:
        """Remove every in-flight file: those workers died because their driver did, not because of an input."""
        self._store.remove(self._store.list(_FOLDER))

    def for_unit(self, unit: Unit) -> tuple[tuple[str, ...], dict[str, str]]:
        """Return the unit's suspects, to be tried alone, most deaths first; and its quarantined inputs with reasons."""
        deaths = {p.source.key: self._deaths[p.source.key] for p in unit.sources if p.source.key in self._deaths}
        alone = sorted((key for key, count in deaths.items() if count < DEATHS_ALONE), key=lambda key: -deaths[key])
        quarantined = {key: count for key, count in deaths.items() if count >= DEATHS_ALONE}
        return tuple(alone), {key: f"killed its worker {count} times, alone" for key, count in quarantined.items()}

    def unit_done(self, unit: Unit) -> None:
        """Clear the suspects of a unit that is committed; quarantined inputs stay quarantined."""
        cleared = [p.source.key for p in unit.sources if self._deaths.get(p.source.key, DEATHS_ALONE) < DEATHS_ALONE]
        for key in cleared:
            del self._deaths[key]
        if cleared:
            self._save()

    def clear(self) -> None:
        """Clear all suspects once all units are done, also those of a driver that died before `unit_done`."""
        quarantined = {key: count for key, count in self._deaths.items() if count >= DEATHS_ALONE}
        if quarantined != self._deaths:
            self._deaths = quarantined
            self._save()

    def reset(self, units: Iterable[Unit]) -> None:
        """Set the count of deaths to nothing for all inputs of these units, quarantined ones included."""
        keys = {p.source.key for unit in units for p in unit.sources} & self._deaths.keys()
        for key in keys:
            del self._deaths[key]
        if keys:
            self._save()

    def _save(self) -> None:
        self._retrying.write(_SUSPECTS, (json.dumps(self._deaths, indent=1, sort_keys=True) + "\n").encode())


def notes_of_suspects(store: Store) -> list[str]:
    """Return the names of the files with all that is recorded about suspects."""
    return [*([_SUSPECTS] if store.exists(_SUSPECTS) else []), *store.list(_FOLDER)]


def _name(unit_id: str, attempt: str) -> str:
    return f"{_FOLDER}/{unit_id}-{attempt}.json"


def _read_record(store: Store, name: str) -> InFlightRecord | None:
    try:
        content = json.loads(store.read(name))
        keys, cleared = tuple(map(str, content["keys"])), tuple(map(str, content["cleared"]))
        return InFlightRecord(keys, bool(content["alone"]), cleared, bool(content.get("in_driver", False)))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None  # the attempt had begun nothing, or what it had begun cannot be known


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
