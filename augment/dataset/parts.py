"""What is in a committed part: the records of a unit's edits, their pictures, and the reconstructions."""

from __future__ import annotations

import hashlib
import io
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from augment.dataset.record import RECONSTRUCTION_SUFFIX, EditRecord
from augment.errors import OutputError
from augment.ledger.ledger import Ledger
from augment.storage.tar import iter_tar
from augment.types import UnitReport

_AHEAD = 2  # parts


def read_samples(ledger: Ledger, report: UnitReport) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Yield the samples of a committed part as they were written; it is read whole first, to check its sha256.

    Raises:
        OutputError: if the part is missing or has other bytes than were committed.
    """
    yield from iter_tar(io.BytesIO(_checked(ledger, report)))


def read_part(ledger: Ledger, report: UnitReport) -> Iterator[tuple[EditRecord, bytes]]:
    """Return a committed part's records with their pictures (b"" where there is none). Raises as `read_samples`."""
    return _records(_checked(ledger, report))


def read_parts(ledger: Ledger, reports: Iterable[UnitReport]) -> Iterator[tuple[EditRecord, bytes]]:
    """Yield what `read_part` gives, for many parts one after the other; the next ones are read meanwhile."""
    with ThreadPoolExecutor(_AHEAD) as pool:
        coming: deque[Future[bytes]] = deque()
        for report in reports:
            coming.append(pool.submit(_checked, ledger, report))
            if len(coming) > _AHEAD:
                yield from _records(coming.popleft().result())
        while coming:
            yield from _records(coming.popleft().result())


def read_reconstructions(ledger: Ledger, report: UnitReport) -> dict[str, bytes]:
    """Return the PNGs of a part's reconstructed sources, by source key. Raises as `read_samples`."""
    return {
        key.removesuffix(RECONSTRUCTION_SUFFIX): files["png"]
        for key, files in read_samples(ledger, report)
        if key.endswith(RECONSTRUCTION_SUFFIX) and "json" not in files
    }


def _checked(ledger: Ledger, report: UnitReport) -> bytes:
    name = f"parts/{report.part}"
    try:
        data = ledger.store.read(name)
    except FileNotFoundError:
        data = b""
    if hashlib.sha256(data).hexdigest() != report.sha256:
        raise OutputError(
            f"{ledger.store.at(name)} is missing or damaged (its sha256 is not the committed one). Delete "
            f"{ledger.store.at(f'commits/{report.unit_id}.json')} and run `augment expand` again: it redoes it."
        )
    return data


def _records(part: bytes) -> Iterator[tuple[EditRecord, bytes]]:
    for _, files in iter_tar(io.BytesIO(part)):
        if "json" in files:
            yield EditRecord.from_json(files["json"]), files.get("png", b"")
