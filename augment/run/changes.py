"""Inputs whose content has changed under the same name and size, as a re-encoded BMP or a retouched TIFF has.

    plan/inputs.parquet    for each source: size, time of change, and version, as the last plan saw them

A file that was written since is read and compared by its hash. One that is as it was, copied or touched, changes
nothing; one that has changed gets a version, which is part of the names of its units, so its edits are looked for anew.
Times are known of local files and of tars, on a disk or in a store, not of single objects in a store.

A local file that a manifest lists and that is not there now, as on a disk that is away, is taken for what it was: what
was made of it stays.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq

from augment.dataset.index import read_columns
from augment.errors import InputError
from augment.inputs.keys import without_hash
from augment.inputs.locate import is_url, version_of
from augment.inputs.readers import read_bytes
from augment.ledger.ledger import Ledger
from augment.storage.parquet import read_parquet
from augment.types import Source

logger = logging.getLogger(__name__)
INPUTS = "plan/inputs.parquet"
_AT_ONCE = 16
_VERSION_DIGITS = 16


def with_versions(ledger: Ledger, sources: Sequence[Source]) -> list[Source]:
    """Return the sources, those with a version whose content has changed since the last plan. Writes nothing.

    Those that are not there now have the size and the version that the last plan saw; see `absent`.

    Args:
        ledger: of the output folder.
        sources: as listed.
    """
    before = _read(ledger)
    if not before:
        return list(sources)
    if gone := {source.key for source in absent(ledger, sources)}:
        sources = [replace(s, size=before[s.key][0]) if s.key in gone else s for s in sources]
    times = _times(sources)
    written = [
        source
        for source, time in zip(sources, times, strict=True)
        if (seen := before.get(source.key)) and seen[0] == source.size and time and seen[1] != time
    ]
    if written:
        logger.warning("reading %d images that were written since the last run", len(written))
    known = _published(ledger) if written else {}
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        hashes = dict(zip((s.key for s in written), pool.map(_hash, written), strict=True))
    found = []
    for source in sources:
        size, _, version = before.get(source.key, (-1, "", ""))
        if source.key in hashes and not (version == "" and known.get(source.key) == hashes[source.key]):
            version = hashes[source.key][:_VERSION_DIGITS]
        found.append(replace(source, version=version) if version and size == source.size else source)
    return found


def absent(ledger: Ledger, sources: Sequence[Source]) -> list[Source]:
    """Return the sources, as listed, whose local files the last plan has seen and that are not there now."""
    before = _read(ledger)
    empty = [s for s in sources if s.size == 0 and before.get(s.key, (0, "", ""))[0] > 0 and not is_url(s.locator)]
    return [source for source, time in zip(empty, _times(empty), strict=True) if not time]


def record_inputs(ledger: Ledger, sources: Sequence[Source]) -> None:
    """Write down how the sources of a plan look now, unless that is known. Call it once the plan is written."""
    before = _read(ledger)
    seen = (before.get(s.key, (-1, "", "")) for s in sources)
    columns = {
        "key": [s.key for s in sources],
        "size": [s.size for s in sources],
        # That of a file that is not there now is the one it had: it need not be read when it is back.
        "time": [
            time or (b[1] if b[0] == s.size else "") for s, b, time in zip(sources, seen, _times(sources), strict=True)
        ],
        "version": [s.version for s in sources],
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer, compression="zstd")
    if not ledger.store.exists(INPUTS) or ledger.store.read(INPUTS) != buffer.getvalue():
        ledger.staging.replace(INPUTS, buffer.getvalue())


def with_new_keys(ledger: Ledger, sources: Sequence[Source]) -> list[str]:
    """Return the keys of the last plan to which a hash has joined since, because new images have the same names."""
    before, now = _read(ledger), {source.key for source in sources}
    plain = {without_hash(key) for key in now - before.keys()} - now
    return sorted(plain & before.keys())


def _read(ledger: Ledger) -> dict[str, tuple[int, str, str]]:
    """Return key -> size, time and version of what the last plan saw; empty if there is no such plan."""
    try:
        table = read_parquet(ledger.store.read(INPUTS))
        columns = (table[name].to_pylist() for name in ("key", "size", "time", "version"))
        return {key: seen for key, *seen in zip(*columns, strict=True)}  # type: ignore[misc]
    except (FileNotFoundError, NotADirectoryError, KeyError, pa.ArrowInvalid):
        return {}


def _times(sources: Sequence[Source]) -> list[str]:
    """Return for each source when its file, or its tar, was changed, as text that can be compared; "" if not known."""
    files: dict[str, str] = {}

    def time(source: Source) -> str:
        tar, inside, _ = source.locator.partition(".tar::")
        path = f"{tar}.tar" if inside else source.locator
        if path not in files:
            files[path] = _time(path, asked=bool(inside))
        return files[path]

    return [time(source) for source in sources]


def _time(path: str, *, asked: bool) -> str:
    if is_url(path):
        try:
            return version_of(path) if asked else ""
        except InputError:
            return ""
    try:
        return str(os.stat(path).st_mtime_ns)
    except OSError:
        return ""


def _published(ledger: Ledger) -> dict[str, str]:
    """Return source key -> hash of its content, of the published edits."""
    try:
        with ledger.store.open("index.parquet") as file:
            table = read_columns(file, ["source_key", "source_sha256"])
    except (FileNotFoundError, NotADirectoryError, pa.ArrowInvalid):
        return {}
    return dict(zip(table["source_key"].to_pylist(), table["source_sha256"].to_pylist(), strict=True))


def _hash(source: Source) -> str:
    try:
        return hashlib.sha256(read_bytes(source)).hexdigest()
    except InputError:
        return "unreadable"  # not what it was
