"""Models in folders that have moved: where one lies is no matter, a hash of its files is in the plan."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from augment.models.config import is_earlier_digest
from augment.models.packaged import packaged_model

SECTIONS = ("model", "segmentation", "clip")  # of a config, that name a model
Identities = dict[str, dict[str, str]]


def as_planned(settings: Mapping[str, Any], planned: Mapping[str, Any]) -> dict[str, Any]:
    """Return a fingerprint in which models that a plan has under another folder are called as they are there.

    They are told by their files. A plan from before the files of tokenizers were part of a revision keeps its revision,
    so that its edits count on.

    Args:
        settings: fingerprint of the job as it is now.
        planned: fingerprint of the plan.
    """
    found = dict(settings)
    before = identities(planned)
    for section, now in identities(settings).items():
        then = before.get(section, {})
        if then.keys() == now.keys() == {"name", "revision"} and _is_same(now, then["revision"]):
            found |= {f"{section}.{key}": value for key, value in then.items()}
    return found


def identities(fingerprint: Mapping[str, Any]) -> Identities:
    """Return section -> name and revision of its model, as far as a fingerprint has them."""
    found: Identities = {}
    for section in SECTIONS:
        for key in ("name", "revision"):
            if (dotted := f"{section}.{key}") in fingerprint:
                found.setdefault(section, {})[key] = str(fingerprint[dotted])
    return found


def _is_same(now: Mapping[str, str], planned_revision: str) -> bool:
    if packaged_model(now["name"]) is not None or not Path(now["name"]).is_dir():
        return False
    return planned_revision == now["revision"] or is_earlier_digest(now["name"], planned_revision)
