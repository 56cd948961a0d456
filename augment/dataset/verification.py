"""What `verify` has found in an output folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Verification:
    """What was found. `planned` comes from the plan; the other counts were counted, not read from the manifest.

    Attributes:
        accepted, rejected: samples in the shards of either kind. failed: rows of the index with that status.
        shards: number of shards for training.
        problems: one line each; empty if all is well.
    """

    planned: int = 0
    accepted: int = 0
    rejected: int = 0
    failed: int = 0
    shards: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Return whether no problem was found."""
        return not self.problems

    def as_dict(self) -> dict[str, Any]:
        """Return what was found as JSON, for `--json`."""
        return {
            "ok": self.ok,
            "planned": self.planned,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "failed": self.failed,
            "shards": self.shards,
            "problems": self.problems,
        }
