"""Check the index against the plan and against the samples of the shards.

Plan, index and shards are in one order, so they are read side by side, one shard of a kind in memory at a time; only
what does not match is kept until the end, where it may find its counterpart after all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from augment.dataset.index import read_index, read_rows
from augment.dataset.record import SCORE_FIELDS, edit_key
from augment.dataset.verification import Verification
from augment.dataset.verify_samples import Row
from augment.dataset.verify_shards import STATUS_OF_FOLDER, PublishedShards
from augment.ledger.ledger import Ledger
from augment.types import EditStatus

_COLUMNS = ["key", "status", "stage", "reason", "shard", "label", *SCORE_FIELDS]
_NOT_SHOWN: Row = {"status": EditStatus.FAILED.value, "shard": ""}


def check_index(ledger: Ledger, index: str, shards: PublishedShards, result: Verification) -> None:
    """Check that every planned edit has its row, and that the row says what the shards say.

    Args:
        ledger: of the folder.
        index: name of the index.
        shards: of the same dataset.
        result: takes the problems and the counts.
    """
    join = _Join(shards, result)
    balance: Counter[str] = Counter()  # planned keys minus keys of the index; empty but for a few, as they go along
    planned = planned_keys(ledger)
    try:
        with ledger.store.open(index) as file:
            for row in read_index(file, _COLUMNS):
                join.add(row)
                if (key := next(planned, None)) != row["key"]:
                    _count(balance, row["key"], -1)
                    if key is not None:
                        _count(balance, key, 1)
            for key in planned:
                _count(balance, key, 1)
            join.close()
            # What is left has no row that says so; it may have one that says otherwise.
            rows = read_rows(file, join.samples) if join.samples else {}
    except (OSError, ValueError) as error:  # pyarrow's errors are ValueErrors
        result.problems.append(f"index.parquet: not readable ({error})")
        for name in list(shards.unread):
            shards.read(name)
        return
    surplus = {key: -count for key, count in balance.items() if count < 0}
    foreign = surplus.keys() - (planned_keys(ledger) if surplus else ())
    if repeated := sum(count - (key in foreign) for key, count in surplus.items()):
        result.problems.append(f"index.parquet: {repeated} keys occur more than once")
    for words, keys in (
        ("planned, but not in index.parquet", {key for key, count in balance.items() if count > 0}),
        ("in index.parquet, but not planned", foreign),
        ("in a shard, but not in index.parquet", join.samples.keys() - rows.keys()),
    ):
        if keys:
            result.problems.append(f"{len(keys)} edits are {words}, the first is {min(keys)}")
    for key, row in rows.items():
        if row["status"] == EditStatus.FAILED:
            join.compare(row, join.samples[key])
        else:
            result.problems.append(f"{join.samples[key]['shard']}: the key {key} occurs a second time")


class _Join:
    """Rows of the index and samples of the shards, which belong together in pairs.

    Attributes:
        samples: what the index is to say about samples that have found no row, by key.
    """

    def __init__(self, shards: PublishedShards, result: Verification) -> None:
        self.shards, self.result = shards, result
        self.samples: dict[str, Row] = {}
        self._rows: dict[str, Row] = {}  # those that say they are in a shard, but have found no sample there
        self._current: dict[str, dict[str, Row]] = {folder: {} for folder in STATUS_OF_FOLDER}

    def add(self, row: Row) -> None:
        """Compare a row with its sample if that is read, or keep it until the sample is."""
        key, shard, failed = row["key"], row["shard"], row["status"] == EditStatus.FAILED
        self.result.failed += failed
        if shard in self.shards.unread:
            self._read(shard)
        sample = self._current.get(shard.partition("/")[0], {}).pop(key, None)
        if sample is not None:
            self.compare(row, sample)
        elif shard or not failed:
            self._rows[key] = row
        if bool(row["stage"]) != failed:
            stage = f"in the stage {row['stage']!r}" if row["stage"] else "without a stage"
            self.result.problems.append(f"index.parquet: {key} is {row['status']} {stage}")
        if row["status"] != EditStatus.ACCEPTED and not row["reason"]:
            self.result.problems.append(f"index.parquet: {key} is {row['status']} without a reason")

    def _read(self, shard: str) -> None:
        folder = shard.partition("/")[0]
        self.samples |= self._current[folder]
        self._current[folder] = self.shards.read(shard)

    def close(self) -> None:
        """Read the shards that no row names, and pair what is left, once all rows are there."""
        for shard in list(self.shards.unread):
            self._read(shard)
        for left in self._current.values():
            self.samples |= left
        for key, row in self._rows.items():
            self.compare(row, self.samples.pop(key, _NOT_SHOWN))

    def compare(self, row: Row, sample: Row) -> None:
        """Note every field in which a row and its sample differ."""
        for name, value in sample.items():
            if row[name] != value:
                what = "" if name == "status" else f" its {name}"
                self.result.problems.append(f"index.parquet: {row['key']}{what} is {row[name]}, the shards say {value}")


def _count(balance: Counter[str], key: str, change: int) -> None:
    """Change a key's count; a count of 0 is removed."""
    balance[key] += change
    if not balance[key]:
        del balance[key]


def planned_keys(ledger: Ledger) -> Iterator[str]:
    """Return the keys of all planned edits, in plan order."""
    return (edit_key(p.source.key, v.index) for u in ledger.units() for p in u.sources for v in p.variants)
