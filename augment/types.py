"""Plain host-side data: all that crosses a process boundary. No tensors, no open files."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MAX_LABEL = 2**63 - 1  # what a column of the index can hold


@dataclass(frozen=True, slots=True)
class Source:
    """One image of the input dataset, not yet read.

    Attributes:
        key: stable name from the relative path or the record's key; never from list position.
        locator: where the bytes are: a path, or `tar path::member name@offset of its bytes`.
        size: bytes, as listed; part of the plan's fingerprint.
        label: class index.
        class_name: the word that edits must keep.
        caption: source prompt that came with the image, or "".
        attributes: what is known about the scene (for example `background: snow`), or empty.
        version: tells a content from an earlier one with the same key and size; "" as long as there was none.
        mask: where the mask of the object is, as `locator` has it; "" if there is none, or no run asks for one.
        mask_size: bytes of the mask, as listed.
    """

    key: str
    locator: str
    size: int
    label: int
    class_name: str
    caption: str = ""
    attributes: dict[str, str] = field(default_factory=dict)
    version: str = ""
    mask: str = ""
    mask_size: int = 0

    @property
    def place(self) -> str:
        """Return the locator as a person writes it: `tar path::member name` for a file in a tar."""
        tar, inside, member = self.locator.partition(".tar::")
        return f"{tar}{inside}{member.rpartition('@')[0]}" if inside else self.locator


@dataclass(frozen=True, slots=True)
class Variant:
    """One planned edit of a source."""

    index: int
    prompt: str
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlannedSource:
    """A source with its source prompt and the edits that are wanted of it."""

    source: Source
    source_prompt: str
    variants: tuple[Variant, ...]


@dataclass(frozen=True, slots=True)
class FinishedPart:
    """A part that an earlier run committed, in which edits may be found again.

    Attributes:
        part, sha256: its file name in `parts/`, and hash.
        out: the output folder that it lies in, as a path or a URL; "" for the run's own.
    """

    part: str
    sha256: str
    out: str = ""


@dataclass(frozen=True, slots=True)
class Unit:
    """The atom of work, retry and statistics: a fixed set of sources, whoever runs it.

    Attributes:
        found_in: parts that hold some of its edits already; no part of the plan.
    """

    unit_id: str
    sources: tuple[PlannedSource, ...]
    found_in: tuple[FinishedPart, ...] = ()

    @property
    def planned(self) -> int:
        """Number of edits planned."""
        return sum(len(s.variants) for s in self.sources)


class EditStatus(StrEnum):
    """What became of one planned edit; the three add up to the plan."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A filter's decision about one edit; `reason` is "" when it is kept."""

    keep: bool
    reason: str
    score: float


@dataclass(frozen=True, slots=True)
class UnitTask:
    """A unit as it is handed to a worker: what to do, and what is known about inputs that may kill it.

    Attributes:
        attempt: names this attempt; the worker's in-flight file has this name.
        alone: keys of inputs to be tried alone first, because a worker died on a batch that they were in. What is made
            of them there is thrown away: which images share a batch must not depend on who died when.
        quarantined: keys of inputs that are not to be touched -> why.
        batch_size: at most so many images at once; 0: as many as the config says.
        replaces: commit over the marker that the unit has already, rather than let the first one count.
        in_driver: whether the worker is the driver's own process, and dies with it and for the same reason.
    """

    unit: Unit
    attempt: str = "0"
    alone: tuple[str, ...] = ()
    quarantined: dict[str, str] = field(default_factory=dict)
    batch_size: int = 0
    replaces: bool = False
    in_driver: bool = False


@dataclass(frozen=True, slots=True)
class UnitReport:
    """What a worker says when a unit is committed.

    Attributes:
        pixels: hash of the settings that the pixels of its edits depend on. part, sha256: the tar with its edits.
        planned, edited, failed: edits; the last two add up to the first.
        kept: those of the edited ones that an earlier run had made.
        seconds: by stage: `alone` (suspects), `read`, `wait` (for the model to be free), `model`, `encode`, `write`;
            and `idle`, in which the model had waited for this unit's batches.
        psnr_sum, vae_psnr_sum: dB over the `inverted` images.
        failed_by_stage, failed_by_class, planned_by_class: edits.
        provisional: edits by verdict under the current thresholds (`accepted`, or the score that was too low),
            for progress only: the verdict that counts is finalize's.
        batch_size: images that fit into memory at once, as far as this worker knows.
    """

    unit_id: str
    pixels: str
    part: str
    sha256: str
    planned: int
    edited: int
    failed: int
    seconds: dict[str, float]
    psnr_sum: float = 0.0
    vae_psnr_sum: float = 0.0
    inverted: int = 0
    failed_by_stage: dict[str, int] = field(default_factory=dict)
    failed_by_class: dict[str, int] = field(default_factory=dict)
    planned_by_class: dict[str, int] = field(default_factory=dict)
    provisional: dict[str, int] = field(default_factory=dict)
    batch_size: int = 0
    kept: int = 0
