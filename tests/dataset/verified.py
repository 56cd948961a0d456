"""A published dataset for the tests of `verify`, and its problems without the generation in their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from augment.dataset.publish import publish as publish_dataset
from augment.dataset.shards import ShardLimits
from augment.dataset.verification import Verification
from augment.dataset.verify import verify as verify_dataset
from augment.types import Verdict
from tests.dataset.parts import finished_ledger, shard_of

TRAIN, SECOND = "shards/train-000000.tar", "shards/train-000001.tar"  # without the generation


def judge(scores: Mapping[str, float]) -> Verdict:
    keep = scores["label_probability"] >= 0.35
    return Verdict(keep, "" if keep else "label_probability too low", scores["label_probability"])


def published(out: Path) -> Path:
    """A published dataset in a folder."""
    publish_dataset(finished_ledger(out), judge=judge, judge_settings={}, limits=ShardLimits(max_shard_samples=3))
    return out


def verify(out: Path | str, derived: Sequence[str] = (), processes: int | None = None) -> Verification:
    """Verify; the names in the problems are without the generation."""
    result = verify_dataset(out, derived, processes)
    result.problems = [
        re.sub(r"-[0-9a-f]{12}-|(?<=index)/[0-9a-f]{12}(?=\.parquet)", lambda m: "-" * (m[0][0] == "-"), p)
        for p in result.problems
    ]
    return result


def at(out: Path, name: str) -> Path:
    """The file of a shard."""
    return out / shard_of(out, int(name[-10:-4]))


def index_at(out: Path) -> Path:
    (path,) = (out / "index").glob("*.parquet")
    return path
