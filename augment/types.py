"""Plain host-side data: all that crosses a process boundary. No tensors, no open files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


@dataclass(frozen=True)
class Source:
    """One image of the input dataset, not yet read.

    Attributes:
        key: stable name from the relative path or the record's key; never from list position.
        locator: where the bytes are: a path, or `tar path::member name`.
        size: bytes, as listed; part of the plan's fingerprint.
        label: class index.
        class_name: the word that edits must keep.
        caption: source prompt that came with the image, or "".
        attributes: what is known about the scene (for example `background: snow`), or empty.
    """

    key: str
    locator: str
    size: int
    label: int
    class_name: str
    caption: str = ""
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """One planned edit of a source."""

    index: int
    prompt: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PlannedSource:
    """A source with its source prompt and the edits that are wanted of it."""

    source: Source
    source_prompt: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True)
class Unit:
    """The atom of work, retry and statistics: a fixed number of sources, whoever runs it."""

    unit_id: str
    sources: tuple[PlannedSource, ...]

    @property
    def planned(self) -> int:
        """Number of edits planned."""
        return sum(len(s.variants) for s in self.sources)


class EditStatus(StrEnum):
    """What became of one planned edit; the three add up to the plan."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True)
class Verdict:
    """A filter's decision about one edit; `reason` is "" when it is kept."""

    keep: bool
    reason: str
    score: float


@dataclass(frozen=True)
class UnitReport:
    """What a worker says when a unit is committed; `plan` is the digest of its plan. Timings in seconds."""

    unit_id: str
    plan: str
    part: str
    sha256: str
    planned: int
    edited: int
    failed: int
    seconds: dict[str, float]
    psnr_sum: float = 0.0
    vae_psnr_sum: float = 0.0
    inverted: int = 0
