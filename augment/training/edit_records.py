"""What the records of edits say that no attribute of a source holds: numbers, and mappings."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from augment.inputs.locate import open_file, reaching
from augment.storage.tar import iter_tar, split_member_name
from augment.types import Source

SOURCE_KEY, SOURCE_SHA256 = "source_key", "source_sha256"  # fields that say what an edit was made of


def read_records(edits: Sequence[Source]) -> dict[str, Mapping[str, Any]]:
    """Return place -> record of some edits, for which their tars are read again."""
    found = {}
    members = {edit.place: edit.place.partition(".tar::") for edit in edits}
    keys = {(f"{tar}.tar", (split_member_name(m) or ("",))[0]): place for place, (tar, _, m) in members.items()}
    for tar in sorted({tar for tar, _ in keys}):
        with reaching(tar), open_file(tar) as file:
            for key, files in iter_tar(file):
                if (tar, key) in keys:
                    found[keys[tar, key]] = json.loads(files.get("json", b"{}"))
    return found


def number_in(value: Any) -> float | None:
    """Return a number of a record that is 0 or more; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
        return None
    return float(value)
