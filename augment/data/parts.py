"""What is in a committed part: the records of a unit's edits, their pictures, and the reconstructions."""

from __future__ import annotations

from collections.abc import Iterator

from augment.data.ledger import Ledger, OutputError
from augment.data.shards import RECONSTRUCTION_SUFFIX, EditRecord
from augment.data.tar import iter_tar, sha256_file
from augment.types import UnitReport


def read_part(ledger: Ledger, report: UnitReport) -> Iterator[tuple[EditRecord, bytes]]:
    """The records of a committed part with their pictures (b"" where there is none); checked against its sha256.

    Raises:
        OutputError: if the part is missing or has other bytes than were committed.
    """
    path = ledger.part_path(report)
    if not path.is_file() or sha256_file(path) != report.sha256:
        raise OutputError(
            f"{path} is missing or damaged (its sha256 is not the committed one). "
            f"Delete {ledger.out / 'commits' / report.unit_id}.json and run `augment expand` again: it redoes it."
        )
    for _, files in iter_tar(path):
        if "json" in files:
            yield EditRecord.from_json(files["json"]), files.get("png", b"")


def read_reconstructions(ledger: Ledger, report: UnitReport) -> dict[str, bytes]:
    """The PNGs of a part's reconstructed sources, by source key."""
    pictures = iter_tar(ledger.part_path(report))
    return {
        key.removesuffix(RECONSTRUCTION_SUFFIX): files["png"]
        for key, files in pictures
        if key.endswith(RECONSTRUCTION_SUFFIX) and "json" not in files
    }
