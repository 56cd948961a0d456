"""Who has done what: the plan, the parts and the commits of one output folder, on a local disk or an object store.

    plan/plan.json, plan/units-000000.jsonl   written once; the fingerprint of everything that changes pixels
    parts/<unit>-<attempt>.tar                every attempt under a name of its own
    commits/<unit>.json                       created only if absent, naming the one part that counts

A unit with a commit is done. Two attempts at a unit may race: both write a part, one of the commits is first, the other
part is an orphan. Nothing here needs a server, only a store that can create a file on condition that it is absent.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from augment.errors import OutputError
from augment.ledger.events import EventLog
from augment.ledger.in_flight import forget_suspects
from augment.ledger.lease import Lease, acquire, kept_alive
from augment.ledger.plan import (
    Plan,
    fingerprint_difference,
    plan_from_json,
    unit_from_json,
)
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.storage.tar import sha256_file, write_tar
from augment.types import Unit, UnitReport

__all__ = ["Ledger", "OutputError"]

PLAN_FORMAT = 1
UNITS_PER_FILE = 1000

# What reading JSON of another shape raises, on the way into our own types.
_WRONG_SHAPE = (ValueError, KeyError, TypeError, AttributeError)
_REPORT_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "dict[str, float]": dict,
    "dict[str, int]": dict,
}


class Ledger:
    """The books of one output folder. Cheap to make; nothing is read before it is asked for.

    Args:
        out: the folder as a path or a URL.

    Raises:
        StoreError: if no store can be had for the URL.
    """

    def __init__(self, out: Path | str | Store) -> None:
        self.store: Store = out if isinstance(out, Store) else open_store(out)
        self._lease: Lease | None = None
        self.log = EventLog(self.store)

    # ---- who may write --------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def lock(self) -> Iterator[Lease]:
        """Be the only driver of this folder.

        Raises:
            OutputError: if another living process is, or the folder cannot be written.
        """
        try:
            lease = acquire(self.store)
        except OutputError:
            raise
        except Exception as error:  # object stores have errors of their own for missing buckets and credentials
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise OutputError(
                f"output.path: {self.store} cannot be written ({reason}). Name a folder you can write to."
            ) from error
        with kept_alive(lease):
            self._lease = lease
            try:
                yield lease
            finally:
                self._lease = None
                self.log.flush()

    @property
    def turn(self) -> int:
        """The number of the lock that is held, which no other driver's had; 0 if none is."""
        return self._lease.number if self._lease else 0

    def confirm_lock(self) -> None:
        """Raise OutputError if another driver took the lock over: a process that was suspended learns of it late."""
        if self._lease:
            self._lease.confirm()

    # ---- plan -----------------------------------------------------------------------------------------------------
    def read_plan(self) -> Plan | None:
        """The plan of this folder, or None if it has none yet."""
        try:
            data = self.store.read("plan/plan.json")
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # object stores have errors of their own for missing buckets and credentials
            raise OutputError(
                f"{self.store.at('plan/plan.json')} could not be read ({_short(error)}). Look at its permissions; for "
                "a URL also at the network and the credentials."
            ) from error
        try:
            head = json.loads(data)
            if head["format"] != PLAN_FORMAT:
                raise OutputError(
                    f"{self.store} has a plan of format {head['format']!r}; this version writes format {PLAN_FORMAT}. "
                    "Choose another output.path."
                )
            return plan_from_json(head)
        except _WRONG_SHAPE as error:
            raise OutputError(
                f"{self.store.at('plan/plan.json')} is not readable ({_short(error)}). Restore it, or choose another "
                "output.path."
            ) from error

    def write_plan(self, fingerprint: Mapping[str, Any], units: Iterable[Unit], class_names: Mapping[int, str]) -> Plan:
        """Write the units, then the head, which makes the plan count. Replaces a plan of which nothing is done yet.

        Raises:
            OutputError: if the folder holds results, which would be taken for results of this plan, or be replaced.
        """
        listed = self.store.list("plan")
        whose = "of another plan than this job's" if "plan/plan.json" in listed else "but no plan"
        if self.store.list("commits"):
            raise OutputError(f"{self.store} has commits/, {whose}. Restore plan/, or choose another output.path.")
        published = ("shards", self.store.list("shards")), ("rejected", self.store.list("rejected"))
        foreign = [name for name, files in published if files]
        if foreign := foreign + ["manifest.json"] * self.store.exists("manifest.json"):
            raise OutputError(
                f"{self.store} already has {', '.join(foreign)}, {whose}: this job would replace them. "
                "Choose another output.path."
            )
        self.store.remove(["plan/plan.json"])  # first: units without a head are no plan
        forget_suspects(self.store)  # of inputs as another plan used them
        self.store.remove(name for name in listed if name.startswith("plan/units-"))
        lines: list[str] = []
        totals = {"units": 0, "sources": 0, "planned": 0}

        def flush() -> None:
            name = f"plan/units-{(totals['units'] - 1) // UNITS_PER_FILE:06d}.jsonl"
            self.store.write(name, "".join(lines).encode())
            lines.clear()

        for unit in units:
            lines.append(json.dumps(unit, default=_fields, sort_keys=True) + "\n")
            totals["units"] += 1
            totals["sources"] += len(unit.sources)
            totals["planned"] += unit.planned
            if len(lines) == UNITS_PER_FILE:
                flush()
        if lines:
            flush()
        # Through JSON once, so that the plan just made equals the plan read back (tuples become lists).
        plain = json.loads(json.dumps(dict(fingerprint)))
        plan = Plan(plain, totals["units"], totals["sources"], totals["planned"], dict(class_names))
        head = {"format": PLAN_FORMAT, **dataclasses.asdict(plan)}
        self.store.write("plan/plan.json", (json.dumps(head, indent=2, sort_keys=True) + "\n").encode())
        return plan

    def check_fingerprint(self, plan: Plan, fingerprint: Mapping[str, Any]) -> None:
        """Refuse to go on with settings that would make other pixels than those already written.

        Raises:
            OutputError: with a line for every difference.
        """
        if difference := fingerprint_difference(plan.fingerprint, fingerprint):
            raise OutputError(
                f"{self.store} was planned with other inputs or settings:\n  "
                + "\n  ".join(difference)
                + "\nRestore them to go on, or choose another output.path. "
                "(Thresholds, workers, batch size and paths may change.)"
            )

    def units(self) -> Iterator[Unit]:
        """All planned units, in plan order, one file in memory at a time."""
        for name in self.store.list("plan"):
            if not name.startswith("plan/units-"):
                continue
            for number, line in enumerate(self.store.read(name).splitlines(), 1):
                try:
                    unit = unit_from_json(json.loads(line))
                except _WRONG_SHAPE as error:
                    raise OutputError(
                        f"{self.store.at(name)}: line {number} is not readable ({_short(error)}). Restore it, or "
                        "choose another output.path."
                    ) from error
                yield unit

    # ---- about the run --------------------------------------------------------------------------------------------
    def write_run_file(self, name: str, content: str | Mapping[str, Any]) -> None:
        """Keep a text, or a mapping as JSON, under `run/`; a file that says the same already is left alone."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2, sort_keys=True) + "\n"
        with contextlib.suppress(FileNotFoundError):
            if self.store.read(f"run/{name}") == text.encode():
                return
        self.store.write(f"run/{name}", text.encode())

    # ---- parts and commits ----------------------------------------------------------------------------------------
    def write_part(self, unit_id: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[str, str]:
        """Write an attempt at a unit under a name that no other attempt has. Returns its file name and sha256."""
        name = f"{unit_id}-{uuid.uuid4().hex[:12]}.tar"
        with self.store.scratch() as folder:
            write_tar(folder / name, samples)
            sha256 = sha256_file(folder / name)
            self.store.put(folder / name, f"parts/{name}")
        return name, sha256

    def commit(self, report: UnitReport, replaces: bool = False) -> UnitReport:
        """Make a part count, unless one of the same plan does already. Returns the report that counts.

        If that is another's, the part of `report` is removed. A marker that counts for nothing (of another plan, or
        without its part: a worker that outlived its driver may leave one) is replaced; with `replaces`, any is that
        has no more edits.

        Raises:
            OutputError: if the folder has got another plan meanwhile; the part is removed.
        """
        marker = f"commits/{report.unit_id}.json"
        data = (json.dumps(dataclasses.asdict(report), sort_keys=True) + "\n").encode()
        if self.store.create(marker, data):
            return report
        winner = None
        with contextlib.suppress(OutputError, FileNotFoundError):  # not readable: counts for nothing; gone: swept
            winner = self.report_of(report.unit_id)
        if winner is not None and winner.part == report.part:
            return report  # this very commit, which a store carried out before it was asked a second time
        counts = winner is not None and winner.plan == report.plan and self.has_part(winner)
        if winner is not None and counts and not (replaces and winner.edited <= report.edited):
            self.store.remove([f"parts/{report.part}"])
            return winner
        plan = self.read_plan()
        if plan is not None and plan.digest != report.plan:
            self.store.remove([f"parts/{report.part}"])
            raise OutputError(
                f"{self.store} was planned anew while unit {report.unit_id} of the old plan was at work; its part is "
                "not wanted any more."
            ) from None
        self.store.write(marker, data)
        return report

    def report_of(self, unit_id: str) -> UnitReport:
        """The report of a unit that is done.

        Raises:
            FileNotFoundError: if it is not done. OutputError: if its report is not readable.
        """
        marker = f"commits/{unit_id}.json"
        return _parse_commit(self.store.at(marker), self.store.read(marker))

    def committed(self) -> dict[str, UnitReport]:
        """The reports of all units that are done, by unit.

        Raises:
            OutputError: if one is not readable.
        """
        found = self.store.read_many(name for name in self.store.list("commits") if name.endswith(".json"))
        return {Path(name).stem: _parse_commit(self.store.at(name), data) for name, data in found}

    def recover(self, plan: Plan) -> dict[str, UnitReport]:
        """Put the books in order after whatever happened before; call it under the lock. Returns what is done.

        A commit of another plan, or whose part is gone, is taken back. Parts that no commit names, and unfinished
        files, are removed.

        Raises:
            OutputError: if all parts of a published dataset are gone; then nothing is touched.
        """
        self.confirm_lock()  # what looks like an orphan here may be the next driver's
        reports, parts = self.committed(), self.store.list("parts")
        if reports and not parts and self.store.exists("manifest.json"):
            raise OutputError(
                f"{self.store} has {len(reports)} finished units and a published dataset, but no parts/: going on "
                "would make everything again. Restore parts/; if that is wanted, delete commits/ and manifest.json."
            )
        done = {u: r for u, r in reports.items() if r.plan == plan.digest and f"parts/{r.part}" in parts}
        self.store.remove(f"commits/{unit_id}.json" for unit_id in reports.keys() - done.keys())
        self.store.remove(parts.keys() - {f"parts/{report.part}" for report in done.values()})
        self.store.sweep()
        return done

    def has_part(self, report: UnitReport) -> bool:
        """Whether a committed part is there."""
        return self.store.exists(f"parts/{report.part}")


def _fields(value: Any) -> dict[str, Any]:
    """A dataclass for JSON. (`dataclasses.asdict` copies deeply: a minute more for a million sources.)"""
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _parse_commit(path: str, data: bytes) -> UnitReport:
    try:
        report = UnitReport(**json.loads(data))
        for field in dataclasses.fields(report):
            if not isinstance(value := getattr(report, field.name), _REPORT_KINDS[str(field.type)]):
                raise TypeError(f"{field.name} is {value!r}")
    except _WRONG_SHAPE as error:
        raise OutputError(
            f"{path} is not readable ({_short(error)}). Delete it and run `augment expand` again: it redoes that unit."
        ) from error
    return report


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
