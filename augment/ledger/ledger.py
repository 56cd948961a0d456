"""The plan, the parts and the commits of one output folder, on a local disk or an object store.

    plan/plan.json, plan/units-<plan>-*.jsonl  the fingerprint of all that is wanted, and the cut into units
    parts/<unit>-<attempt>.tar                 every attempt under a name of its own
    commits/<unit>.json                        created only if absent, naming the one part that counts

A unit with a commit is done. When two attempts at a unit race, both write a part, but only one creates the commit; the
part of the other is removed. No server is needed, only a store that creates a file on the condition that it is absent.

A unit's name is a hash of its content, so a commit says what it is the result of, whatever has become of the plan since
(`plan.named_by_content`). When the dataset grows, a new plan replaces the old one: units that are in both are done
already, and what else was done before stays until the new plan is done too, because its edits may be used again.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from augment.errors import OutputError
from augment.ledger.events import EventLog
from augment.ledger.lease import Lease, acquire, kept_alive
from augment.ledger.lost_parts import with_parts
from augment.ledger.plan import Plan, fingerprint_difference, pixel_settings
from augment.ledger.plan_files import check_unplanned, files_of_other_plans, read_plan, read_units, write_plan
from augment.ledger.report import report_from_json, report_to_json
from augment.ledger.staging import Staging, fence
from augment.storage.resolve import open_store
from augment.storage.store import Store
from augment.storage.tar import sha256_file, write_tar
from augment.types import Unit, UnitReport

_PART = re.compile(r"parts/u[0-9a-f]+-[0-9a-f]{12}\.tar")  # see `write_part`


class Ledger:
    """Reads and writes the plan, the parts and the commits of one output folder. Nothing is read on construction.

    Args:
        out: the folder as a path, a URL or an open store.

    Attributes:
        store: where the folder lies.
        log: `run/events.jsonl`.

    Raises:
        StoreError: if no store can be had for the URL.
    """

    def __init__(self, out: Path | str | Store) -> None:
        self.store: Store = out if isinstance(out, Store) else open_store(out)
        self._lease: Lease | None = None
        self.log = EventLog(self.store)

    # ---- who may write --------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def lock(self, date: Callable[[], float] = time.time) -> Iterator[Lease]:
        """Hold the lease of this folder for as long as the block lasts, so that there is one driver only.

        Args:
            date: seconds since 1970, by the clock of this machine.

        Raises:
            OutputError: if another driver holds it, or has taken it over meanwhile, or the folder cannot be written.
        """
        try:
            lease = acquire(self.store, date)
        except OutputError:
            raise
        except Exception as error:  # object stores have errors of their own for missing buckets and credentials
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            raise OutputError(
                f"output.path: {self.store} cannot be written ({reason}). Name a folder you can write to."
            ) from error
        with kept_alive(lease):
            fence(self.store, lease.number)
            self._lease = lease
            try:
                yield lease
            except Exception:
                # Whatever went wrong, such as a file that is gone: if the lease is lost, that is why.
                with contextlib.suppress(OSError):
                    lease.confirm()
                raise
            else:
                with contextlib.suppress(OSError):
                    lease.confirm()
            finally:
                self._lease = None
                self.log.flush()

    @property
    def fencing_token(self) -> int:
        """Return the number of the lease that is held, larger than that of any driver before; 0 if none is held."""
        return self._lease.number if self._lease else 0

    def confirm_lock(self) -> None:
        """Raise OutputError if another driver has taken the lease over, which a suspended process learns of late."""
        if self._lease:
            self._lease.confirm()

    @property
    def staging(self) -> Staging:
        """Return where files wait that only the holder of the lease may put in place, or remove."""
        return Staging(self.store, self.fencing_token, self.confirm_lock)

    # ---- plan -----------------------------------------------------------------------------------------------------
    def read_plan(self) -> Plan | None:
        """Return the plan of this folder, or None if it has none yet; see `plan_files.read_plan`."""
        return read_plan(self.store)

    def write_plan(self, fingerprint: Mapping[str, Any], units: Iterable[Unit], class_names: Mapping[int, str]) -> Plan:
        """Write a plan in place of the one that is there, if any, and return it; see `plan_files.write_plan`."""
        return write_plan(self.store, self.staging, fingerprint, units, class_names)

    def units(self) -> Iterator[Unit]:
        """Yield all planned units in plan order; see `plan_files.read_units`."""
        plan = self.read_plan()
        return iter(()) if plan is None else read_units(self.store, plan)

    def units_of_all_plans(self) -> Iterator[Unit]:
        """Yield the units of the plan and of those that it has replaced, as long as they are kept; some come twice."""
        return read_units(self.store)

    def check_pixels(self, plan: Plan, fingerprint: Mapping[str, Any]) -> None:
        """Check that edits made with these settings have the pixels that the plan's have.

        Raises:
            OutputError: if they do not; the message has a line for every difference.
        """
        if difference := fingerprint_difference(pixel_settings(plan.fingerprint), pixel_settings(fingerprint)):
            raise OutputError(
                f"{self.store} was planned with other settings, and every edit would have other pixels:\n  "
                + "\n  ".join(difference)
                + "\nRestore them to go on, choose another output.path, or make all edits again with --replace. "
                "(Images, classes, prompts, variants, thresholds, workers, batch size and paths may change.)"
            )

    # ---- about the run --------------------------------------------------------------------------------------------
    def write_run_file(self, name: str, content: str | Mapping[str, Any]) -> None:
        """Write a text, or a mapping as JSON, to `run/<name>`, unless the file has this content already."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2, sort_keys=True) + "\n"
        with contextlib.suppress(FileNotFoundError):
            if self.store.read(f"run/{name}") == text.encode():
                return
        self.staging.replace(f"run/{name}", text.encode())

    # ---- parts and commits ----------------------------------------------------------------------------------------
    def write_part(self, unit_id: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[str, str]:
        """Write the samples of one attempt at a unit, under a name that no other attempt has.

        Args:
            unit_id: the unit.
            samples: pairs of key and files by extension.

        Returns:
            file name in `parts/`, and hexadecimal SHA-256.
        """
        name = f"{unit_id}-{uuid.uuid4().hex[:12]}.tar"
        with self.store.scratch() as folder:
            write_tar(folder / name, samples)
            sha256 = sha256_file(folder / name)
            self.store.put(folder / name, f"parts/{name}")
        return name, sha256

    def commit(self, report: UnitReport, replaces: bool = False) -> UnitReport:
        """Commit a part, unless the unit has a valid commit already.

        A commit whose part is gone is not valid and is replaced: a worker that outlived its driver may leave one. If
        another attempt's commit stands, the part of `report` is removed.

        Args:
            report: of the attempt; names its part.
            replaces: also replace a valid commit that has no more edits than `report`.

        Returns:
            the report that is committed now: `report`, or that of the other attempt.

        Raises:
            OutputError: if the part is gone, and there is no valid commit.
        """
        marker = f"commits/{report.unit_id}.json"
        data = report_to_json(report)
        # A worker that outlived its driver may have lost its part to the next driver's `recover`.
        has_part = self.has_part(report)
        if has_part and self.store.create(marker, data):
            return report
        winner = None
        with contextlib.suppress(OutputError, FileNotFoundError):  # not readable: not valid; gone: removed meanwhile
            winner = self.report_of(report.unit_id)
        if winner is not None and winner.part == report.part:
            return report  # this very commit: the store had carried out a call that was then repeated
        better = replaces and winner is not None and winner.edited <= report.edited and has_part
        if winner is not None and not better and self.has_part(winner):
            self.store.remove([f"parts/{report.part}"])
            return winner
        if not has_part:
            raise OutputError(
                f"{self.store.at(f'parts/{report.part}')} is gone, so its unit is not done: another driver has taken "
                "the folder over, or the file was removed. Run `augment expand` to go on."
            )
        self.store.write(marker, data)
        return report

    def report_of(self, unit_id: str) -> UnitReport:
        """Return the report of a unit that is done.

        Raises:
            FileNotFoundError: if it is not done. OutputError: if its report is not readable.
        """
        marker = f"commits/{unit_id}.json"
        return report_from_json(self.store.at(marker), self.store.read(marker))

    def committed(self) -> dict[str, UnitReport]:
        """Return the reports of all units that are done, by unit id.

        Raises:
            OutputError: if one is not readable.
        """
        found = self.store.read_many(name for name in self.store.list("commits") if name.endswith(".json"))
        return {Path(name).stem: report_from_json(self.store.at(name), data) for name, data in found}

    def finished(self) -> dict[str, UnitReport]:
        """Return the reports of all units that are done and have their part, by unit id. Removes nothing.

        Units of plans that were replaced are among them.

        Raises:
            OutputError: if parts of the published dataset are missing, or all parts (see `with_parts`); or a report is
                not readable.
        """
        return with_parts(self.store, self.committed(), self.store.list("parts"))

    def recover(self) -> dict[str, UnitReport]:
        """Remove what earlier runs left unfinished, and return the reports of all units that are done, by unit id.

        Removed are commits without their part, parts that no commit names, and unfinished files; nothing that has no
        name of a run. Call it under the lock.

        Raises:
            OutputError: if there is no plan, but files that a run would replace; or if parts of a published dataset, or
                all parts, are missing. Then nothing is touched.
        """
        if self.read_plan() is None:
            check_unplanned(self.store)
        reports, parts = self.committed(), self.store.list("parts")
        done = with_parts(self.store, reports, parts)
        self.staging.remove(f"commits/{unit_id}.json" for unit_id in reports.keys() - done.keys())
        # Listed before the lease is confirmed: what a new driver's workers write is not among them.
        named = {f"parts/{report.part}" for report in done.values()}
        self.staging.remove(name for name in parts.keys() - named if _PART.fullmatch(name))
        self.store.sweep(self.confirm_lock)
        return done

    def forget_other_plans(self, plan: Plan) -> None:
        """Remove what belongs to plans that were replaced: their units, and the commits and parts of these.

        Call it under the lock, once all units of the plan are done and published.
        """
        wanted = {f"commits/{unit_id}.json" for unit_id in plan.unit_ids}
        others = [name for name in self.store.list("commits") if name.endswith(".json") and name not in wanted]
        dropped = [report_from_json(self.store.at(name), data) for name, data in self.store.read_many(others)]
        # Commits first: a part without a commit is swept by the next run, a commit without its part is a loss.
        self.staging.remove(others)
        self.staging.remove(f"parts/{report.part}" for report in dropped)
        self.staging.remove(files_of_other_plans(self.store, plan))

    def has_part(self, report: UnitReport) -> bool:
        """Return whether the part of a report exists."""
        return self.store.exists(f"parts/{report.part}")
