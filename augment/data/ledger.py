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
import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.data.tar import sha256_file, write_bytes_atomic, write_tar
from augment.types import PlannedSource, Source, Unit, UnitReport, Variant

PLAN_FORMAT = 1
UNITS_PER_FILE = 1000


class OutputError(ValueError):
    """The output folder cannot be used as asked; the message says why and what to do."""


@dataclass(frozen=True)
class Plan:
    """The head of a plan.

    Attributes:
        fingerprint: dotted key -> value of everything that changes pixels or the cut into units.
        units: number of units. sources, planned: number of images, and of edits wanted.
        class_names: label -> class name.
    """

    fingerprint: dict[str, Any]
    units: int
    sources: int
    planned: int
    class_names: dict[int, str]

    @property
    def digest(self) -> str:
        """Hash of the fingerprint; the `config_hash` of every record."""
        return digest_of(self.fingerprint)


def digest_of(value: Any) -> str:
    """Sixteen hexadecimal digits that depend on a JSON value only."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def flatten(mapping: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings as one mapping with dotted keys; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in mapping.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def fingerprint_difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """One line for every key in which two fingerprints differ."""
    lines = []
    for key in sorted(old.keys() | new.keys()):
        before, after = (repr(f[key]) if key in f else "(absent)" for f in (old, new))
        if before != after:
            lines.append(f"{key}: {before} in the plan, {after} now")
    return lines


def sources_digest(sources: Iterable[Source]) -> str:
    """Hash of the inputs as listed: key, size, label, class, caption and attributes, but not where they lie."""
    state = hashlib.sha256()
    for s in sources:
        row = [s.key, s.size, s.label, s.class_name, s.caption, s.attributes]
        state.update(json.dumps(row, sort_keys=True).encode() + b"\n")
    return state.hexdigest()[:16]


def cut_units(planned: Iterable[PlannedSource], unit_size: int) -> Iterator[Unit]:
    """Units of `unit_size` sources in the order given, whoever will run them."""
    block: list[PlannedSource] = []
    count = 0
    for source in planned:
        block.append(source)
        if len(block) == unit_size:
            yield Unit(f"u{count:06d}", tuple(block))
            block, count = [], count + 1
    if block:
        yield Unit(f"u{count:06d}", tuple(block))


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
        try:
            head = json.loads((self.out / "plan" / "plan.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError) as error:
            raise OutputError(
                f"{self.out}/plan/plan.json is not readable ({error}). Choose another output.path."
            ) from error
        if head.get("format") != PLAN_FORMAT:
            raise OutputError(
                f"{self.out} has a plan of format {head.get('format')!r}; this version writes format {PLAN_FORMAT}. "
                "Choose another output.path."
            )
        return Plan(
            head["fingerprint"], head["units"], head["sources"], head["planned"], _int_keys(head["class_names"])
        )

    def write_plan(self, fingerprint: Mapping[str, Any], units: Iterable[Unit], class_names: Mapping[int, str]) -> Plan:
        """Write the units, then the head, which makes the plan count. Replaces a plan of which nothing is done yet.

        Raises:
            OutputError: if the folder holds results that are not this job's.
        """
        assert not self.committed()  # parts of another plan would be taken for parts of this one
        if foreign := [n for n in ("shards", "rejected", "manifest.json") if (self.out / n).exists()]:
            raise OutputError(
                f"{self.out} already has {', '.join(foreign)}, but no plan: those files are not this "
                "job's, and it would replace them. Choose another output.path."
            )
        folder = self.out / "plan"
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
        if difference := fingerprint_difference(plan.fingerprint, json.loads(json.dumps(dict(fingerprint)))):
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
                yield from (_unit_from_json(json.loads(line)) for line in file)

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

    def commit(self, report: UnitReport) -> bool:
        """Make a part count, if no other of its unit does yet. False if another was first; then the part is removed."""
        folder = self.out / "commits"
        folder.mkdir(parents=True, exist_ok=True)
        beside = folder / f".{report.unit_id}.{uuid.uuid4().hex}.tmp"
        write_bytes_atomic(beside, (json.dumps(dataclasses.asdict(report), sort_keys=True) + "\n").encode())
        try:
            os.link(beside, folder / f"{report.unit_id}.json")
        except FileExistsError:
            (self.out / "parts" / report.part).unlink(missing_ok=True)
            return False
        finally:
            beside.unlink(missing_ok=True)
        return True

    def committed(self) -> dict[str, UnitReport]:
        """The reports of all units that are done, by unit."""
        reports = {}
        for path in sorted((self.out / "commits").glob("u*.json")):
            reports[path.stem] = UnitReport(**json.loads(path.read_bytes()))
        return reports

    def recover(self) -> dict[str, UnitReport]:
        """Put the books in order after whatever happened before; call it under the lock. Returns what is done.

        A commit whose part is gone is taken back. Parts that no commit names, and unfinished files, are removed.
        """
        done = {}
        for unit_id, report in self.committed().items():
            if (self.out / "parts" / report.part).is_file():
                done[unit_id] = report
            else:
                (self.out / "commits" / f"{unit_id}.json").unlink()
        named = {report.part for report in done.values()}
        for path in (self.out / "parts").glob("*"):
            if path.name not in named:
                path.unlink(missing_ok=True)
        for path in [*(self.out / "commits").glob(".*.tmp"), *(self.out / "plan").glob(".*.tmp")]:
            path.unlink(missing_ok=True)
        return done

    def part_path(self, report: UnitReport) -> Path:
        """Where a committed part lies."""
        return self.out / "parts" / report.part


def _int_keys(names: Mapping[str, str]) -> dict[int, str]:
    """JSON knows only strings as keys."""
    return {int(label): name for label, name in names.items()}


def _unit_from_json(row: dict[str, Any]) -> Unit:
    sources = []
    for planned in row["sources"]:
        variants = tuple(Variant(**v) for v in planned["variants"])
        sources.append(PlannedSource(Source(**planned["source"]), planned["source_prompt"], variants))
    return Unit(row["unit_id"], tuple(sources))


def relocate(unit: Unit, locators: Mapping[str, str]) -> Unit:
    """The unit with its sources where they are now: a plan outlives a moved input folder."""
    moved = tuple(
        dataclasses.replace(p, source=dataclasses.replace(p.source, locator=locators[p.source.key]))
        for p in unit.sources
    )
    return Unit(unit.unit_id, moved)
