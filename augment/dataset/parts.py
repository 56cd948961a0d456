"""What is in a committed part: the records of a unit's edits, their pictures, and the reconstructions."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from augment.dataset.assembly import PartScan, PlacedSample, scan_part
from augment.dataset.processes import Processes, Run
from augment.dataset.record import RECONSTRUCTION_SUFFIX, EditRecord
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.storage.tar import iter_tar
from augment.types import UnitReport

_AHEAD = 2  # parts for each process


def read_samples(ledger: Ledger, report: UnitReport) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the samples of a committed part as they were written; it is read whole first, to check its sha256.

    Raises:
        OutputError: if the part is missing or has other bytes than were committed.
    """
    yield from iter_tar(io.BytesIO(_checked(ledger, report)))


def read_part(ledger: Ledger, report: UnitReport) -> Iterator[tuple[EditRecord, bytes]]:
    """Return a committed part's records with their pictures (b"" where there is none). Raises as `read_samples`."""
    return _records(_checked(ledger, report))


@dataclass(frozen=True)
class LocalPart:
    """A part as a file of this machine.

    Attributes:
        path: of the file.
        temporary: whether it is a copy, which goes when the next part comes.
    """

    path: Path
    temporary: bool

    def copy(self, sample: PlacedSample, file: BinaryIO) -> PlacedSample:
        """Append the files of a sample of this part to another file, and return where they are then."""
        files = {}
        with self.path.open("rb") as part:
            for extension, (offset, size) in sample.files.items():
                part.seek(offset)
                files[extension] = (file.tell(), size)
                file.write(part.read(size))
        return sample._replace(path=file.name, files=files)


def scan_parts(
    ledger: Ledger, reports: Iterable[UnitReport], processes: Processes, scratch: Path
) -> Iterator[tuple[PartScan, LocalPart]]:
    """Yield what is in many committed parts, one after the other; the next ones are read meanwhile.

    Args:
        ledger: of the folder.
        reports: of the parts.
        processes: that read them.
        scratch: a folder for the copies of parts that are in an object store.

    Raises:
        OutputError: if a part is missing or has other bytes than were committed.
    """
    coming: deque[tuple[Future[PartScan], LocalPart]] = deque()

    def oldest() -> Iterator[tuple[PartScan, LocalPart]]:
        scan, part = coming.popleft()
        yield scan.result(), part
        if part.temporary:
            part.path.unlink()

    for report in reports:
        here = ledger.store.local_path(f"parts/{report.part}")
        part = LocalPart(here or scratch / report.part, temporary=here is None)
        coming.append((processes.submit(_scanned, ledger, report, part), part))
        if len(coming) > _AHEAD * processes.count:
            yield from oldest()
    while coming:
        yield from oldest()


def _scanned(run: Run, ledger: Ledger, report: UnitReport, part: LocalPart) -> PartScan:
    if part.temporary:
        try:
            ledger.store.download(f"parts/{report.part}", part.path)
        except FileNotFoundError:
            raise _damaged(ledger, report) from None
    scan: PartScan | None = run(scan_part, str(part.path), report.sha256)
    if scan is None:
        raise _damaged(ledger, report)
    return scan


def read_reconstructions(ledger: Ledger, report: UnitReport) -> dict[str, bytes]:
    """Return the PNGs of a part's reconstructed sources, by source key. Raises as `read_samples`."""
    return {
        key.removesuffix(RECONSTRUCTION_SUFFIX): files["png"]
        for key, files in read_samples(ledger, report)
        if key.endswith(RECONSTRUCTION_SUFFIX) and "json" not in files
    }


def _checked(ledger: Ledger, report: UnitReport) -> bytes:
    try:
        data = ledger.store.read(f"parts/{report.part}")
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != report.sha256:
        raise _damaged(ledger, report)
    return data


def _damaged(ledger: Ledger, report: UnitReport) -> OutputError:
    return OutputError(
        f"{ledger.store.at(f'parts/{report.part}')} is missing or damaged (its sha256 is not the committed one). "
        f"Delete {ledger.store.at(f'commits/{report.unit_id}.json')} and run `augment expand` again: it redoes it."
    )


def _records(part: bytes) -> Iterator[tuple[EditRecord, bytes]]:
    for _, files in iter_tar(io.BytesIO(part)):
        if "json" in files:
            yield EditRecord.from_json(files["json"]), files.get("png", b"")
