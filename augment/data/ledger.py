"""Who has done what: the plan, the parts and the commits of one output folder.

    plan/plan.json, plan/units-000000.jsonl   written once; the fingerprint of everything that changes pixels
    parts/<unit>-<attempt>.tar                every attempt under a name of its own
    commits/<unit>.json                       created only if absent, naming the one part that counts

A unit with a commit is done. Two attempts at a unit may race: both write a part, one of the commits is first, the other
part is an orphan. Nothing here needs a server, only a file system on which `link` fails if the name exists.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from augment.data.plan import Plan, fingerprint_difference, plan_from_json, unit_from_json
from augment.data.tar import sha256_file, write_bytes_atomic, write_tar
from augment.types import Unit, UnitReport

PLAN_FORMAT = 1
UNITS_PER_FILE = 1000


class OutputError(ValueError):
    """The output folder cannot be used as asked; the message says why and what to do."""


# What reading JSON of another shape raises, on the way into our own types.
_WRONG_SHAPE = (ValueError, KeyError, TypeError, AttributeError)
_REPORT_KINDS: dict[str, type | tuple[type, ...]] = {
    "str": str,
    "int": int,
    "float": (int, float),
    "dict[str, float]": dict,
}


class Ledger:
    """The books of one output folder on a POSIX file system. Cheap to make; nothing is read before it is asked for."""

    def __init__(self, out: Path | str) -> None:
        self.out = Path(out)

    # ---- who may write --------------------------------------------------------------------------------------------
    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only driver of this folder. The kernel drops the lock with the process, however that ends.

        Raises:
            OutputError: if another living process has it, or the folder cannot be written.
        """
        path = self.out / "run" / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise OutputError(
                f"output.path: {self.out} cannot be written ({error.strerror}). Name a folder you can write to."
            ) from error
        try:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = os.pread(file, 200, 0).decode(errors="replace").strip() or "unknown"
                raise OutputError(
                    f"{self.out} is being written by another run ({holder}). "
                    "Wait for it, stop it, or choose another output.path."
                ) from None
            os.ftruncate(file, 0)
            os.pwrite(file, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
            yield
        finally:
            os.close(file)

    # ---- plan -----------------------------------------------------------------------------------------------------
    def read_plan(self) -> Plan | None:
        """The plan of this folder, or None if it has none yet."""
        path = self.out / "plan" / "plan.json"
        try:
            head = json.loads(path.read_bytes())
            if head["format"] != PLAN_FORMAT:
                raise OutputError(
                    f"{self.out} has a plan of format {head['format']!r}; this version writes format {PLAN_FORMAT}. "
                    "Choose another output.path."
                )
            return plan_from_json(head)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OutputError:
            raise
        except (OSError, *_WRONG_SHAPE) as error:
            raise OutputError(
                f"{path} is not readable ({_short(error)}). Restore it, or choose another output.path."
            ) from error

    def write_plan(self, fingerprint: Mapping[str, Any], units: Iterable[Unit], class_names: Mapping[int, str]) -> Plan:
        """Write the units, then the head, which makes the plan count. Replaces a plan of which nothing is done yet.

        Raises:
            OutputError: if the folder holds results, which would be taken for results of this plan, or be replaced.
        """
        folder = self.out / "plan"
        whose = "of another plan than this job's" if (folder / "plan.json").exists() else "but no plan"
        if any((self.out / "commits").glob("u*.json")):
            raise OutputError(f"{self.out} has commits/, {whose}. Restore plan/, or choose another output.path.")
        if foreign := [n for n in ("shards", "rejected", "manifest.json") if (self.out / n).exists()]:
            raise OutputError(
                f"{self.out} already has {', '.join(foreign)}, {whose}: this job would replace them. "
                "Choose another output.path."
            )
        for path in [folder / "plan.json", *folder.glob("units-*.jsonl")]:
            path.unlink(missing_ok=True)
        lines: list[str] = []
        totals = {"units": 0, "sources": 0, "planned": 0}

        def flush() -> None:
            name = f"units-{(totals['units'] - 1) // UNITS_PER_FILE:06d}.jsonl"
            write_bytes_atomic(folder / name, "".join(lines).encode())
            lines.clear()

        for unit in units:
            lines.append(json.dumps(dataclasses.asdict(unit), sort_keys=True) + "\n")
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
        write_bytes_atomic(folder / "plan.json", (json.dumps(head, indent=2, sort_keys=True) + "\n").encode())
        return plan

    def check_fingerprint(self, plan: Plan, fingerprint: Mapping[str, Any]) -> None:
        """Refuse to go on with settings that would make other pixels than those already written.

        Raises:
            OutputError: with a line for every difference.
        """
        if difference := fingerprint_difference(plan.fingerprint, fingerprint):
            raise OutputError(
                f"{self.out} was planned with other inputs or settings:\n  "
                + "\n  ".join(difference)
                + "\nRestore them to go on, or choose another output.path. "
                "(Thresholds, workers, batch size and paths may change.)"
            )

    def units(self) -> Iterator[Unit]:
        """All planned units, in plan order, one file in memory at a time."""
        for path in sorted((self.out / "plan").glob("units-*.jsonl")):
            with path.open() as file:
                for number, line in enumerate(file, 1):
                    try:
                        unit = unit_from_json(json.loads(line))
                    except _WRONG_SHAPE as error:
                        raise OutputError(
                            f"{path}: line {number} is not readable ({_short(error)}). Restore it, or choose another "
                            "output.path."
                        ) from error
                    yield unit

    # ---- about the run --------------------------------------------------------------------------------------------
    def write_run_file(self, name: str, content: str | Mapping[str, Any]) -> None:
        """Keep a text, or a mapping as JSON, under `run/`; a file that says the same already is left alone."""
        text = content if isinstance(content, str) else json.dumps(content, indent=2, sort_keys=True) + "\n"
        path = self.out / "run" / name
        if not path.is_file() or path.read_text() != text:
            write_bytes_atomic(path, text.encode())

    def log_event(self, kind: str, content: Mapping[str, Any]) -> None:
        """Append a line with the time to `run/events.jsonl`."""
        row = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **content}
        with (self.out / "run" / "events.jsonl").open("a") as file:
            file.write(json.dumps(row, sort_keys=True) + "\n")

    # ---- parts and commits ----------------------------------------------------------------------------------------
    def write_part(self, unit_id: str, samples: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[str, str]:
        """Write an attempt at a unit under a name that no other attempt has. Returns its file name and sha256."""
        path = self.out / "parts" / f"{unit_id}-{uuid.uuid4().hex[:12]}.tar"
        write_tar(path, samples)
        return path.name, sha256_file(path)

    def commit(self, report: UnitReport) -> UnitReport:
        """Make a part count, unless one of the same plan does already. Returns the report that counts.

        If that is another's, the part of `report` is removed. A marker that counts for nothing (of another plan, or
        without its part: a worker that outlived its driver may leave one) is replaced.

        Raises:
            OutputError: if the folder has got another plan meanwhile; the part is removed.
        """
        marker = self.out / "commits" / f"{report.unit_id}.json"
        marker.parent.mkdir(parents=True, exist_ok=True)
        beside = marker.parent / f".{report.unit_id}.{uuid.uuid4().hex}.tmp"
        write_bytes_atomic(beside, (json.dumps(dataclasses.asdict(report), sort_keys=True) + "\n").encode())
        try:
            os.link(beside, marker)
        except FileExistsError:
            winner = None
            with contextlib.suppress(OutputError, FileNotFoundError):  # not readable: counts for nothing; gone: swept
                winner = _read_commit(marker)
            if winner is not None and winner.plan == report.plan and self.part_path(winner).is_file():
                self.part_path(report).unlink(missing_ok=True)
                return winner
            plan = self.read_plan()
            if plan is not None and plan.digest != report.plan:
                self.part_path(report).unlink(missing_ok=True)
                raise OutputError(
                    f"{self.out} was planned anew while unit {report.unit_id} of the old plan was at work; its part is "
                    "not wanted any more."
                ) from None
            os.replace(beside, marker)
        finally:
            beside.unlink(missing_ok=True)
        return report

    def committed(self) -> dict[str, UnitReport]:
        """The reports of all units that are done, by unit.

        Raises:
            OutputError: if one is not readable.
        """
        return {path.stem: _read_commit(path) for path in sorted((self.out / "commits").glob("u*.json"))}

    def recover(self, plan: Plan) -> dict[str, UnitReport]:
        """Put the books in order after whatever happened before; call it under the lock. Returns what is done.

        A commit of another plan, or whose part is gone, is taken back. Parts that no commit names, and unfinished
        files, are removed.
        """
        done = {}
        for unit_id, report in self.committed().items():
            if report.plan == plan.digest and self.part_path(report).is_file():
                done[unit_id] = report
            else:
                (self.out / "commits" / f"{unit_id}.json").unlink()
        named = {report.part for report in done.values()}
        unfinished = [p for name in ("", "run", "plan", "commits") for p in (self.out / name).glob(".*.tmp")]
        for path in [*unfinished, *(p for p in (self.out / "parts").glob("*") if p.name not in named)]:
            path.unlink(missing_ok=True)
        return done

    def part_path(self, report: UnitReport) -> Path:
        """Where a committed part lies."""
        return self.out / "parts" / report.part


def _read_commit(path: Path) -> UnitReport:
    try:
        report = UnitReport(**json.loads(path.read_bytes()))
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
