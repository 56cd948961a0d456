"""Which setting to take, given the scores of the edits under each: means, the Pareto front, the rule and the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from augment.editing.config import Setting
from augment.scoring.intervals import Estimate, mean_of, share_of

Scores = Mapping[str, float]  # of one edit: those of a run, and `patch_distance`

LABEL_SLACK = 0.01  # share of edits by which the label may be lost more often than in the best setting

# The target comes first: a setting that changes nothing keeps every label, and of a few edits one is more than a point.
RULE = (
    "of the settings whose alignment with the target prompts is within the 95 % interval of the best, those that keep "
    "the label in as many edits as the best of them, but for one point; of these the one that keeps most structure: "
    "whose patches are nearest to those of the source"
)


@dataclass(frozen=True)
class SettingRow:
    """What the edits under one setting are like.

    Attributes:
        setting: strength and guidance scale.
        steps: that the strength inverts and redoes.
        label_kept: share of the edits whose `label_probability` reaches the config's threshold, with Wilson's interval;
            the mean probability where the config has no threshold.
        target_reached: mean `text_alignment`, a cosine.
        patch_distance: mean `patch_distance` of edit and source, 0..2; small where the structure is kept.
        source_similarity: its mean, a cosine. It is shown and decides nothing: it is low for every edit that happened.
        edits: how many there are.
    """

    setting: Setting
    steps: int
    label_kept: Estimate
    target_reached: Estimate
    patch_distance: Estimate
    source_similarity: Estimate
    edits: int

    @property
    def goals(self) -> tuple[float, float, float]:
        """Return what is to be large: label kept, target reached, and the distance to the source with a minus."""
        return self.label_kept.value, self.target_reached.value, -self.patch_distance.value

    def as_dict(self) -> dict[str, Any]:
        """Return the row of `--json`, without what it is in comparison with others."""
        named = ("label_kept", "target_reached", "patch_distance", "source_similarity")
        figures = {k: v for name in named for k, v in getattr(self, name).named(name).items()}
        return {**self.setting._asdict(), "steps": self.steps, **figures, "edits": self.edits}


def setting_row(
    setting: Setting, steps: int, images: Sequence[Sequence[Scores]], min_label_probability: float | None
) -> SettingRow:
    """Return the means over the edits of one setting, with 95 % intervals.

    Edits of one image are alike, so the intervals of cosines and distances are those of the images' means. The share of
    labels kept counts edits, because of a few images nearly all keep them; its interval is a little too narrow.

    Args:
        images: for each image the scores of its edits, equally many for all.
        min_label_probability: from which a label counts as kept.

    Raises:
        ValueError: for fewer than two images.
    """

    def mean(name: str) -> Estimate:
        return mean_of([fmean(edit[name] for edit in edits) for edits in images])

    kept = mean("label_probability")
    if min_label_probability is not None:
        kept = share_of([edit["label_probability"] >= min_label_probability for edits in images for edit in edits])
    return SettingRow(
        setting,
        steps,
        label_kept=kept,
        target_reached=mean("text_alignment"),
        patch_distance=mean("patch_distance"),
        source_similarity=mean("source_similarity"),
        edits=sum(map(len, images)),
    )


def pareto_front(rows: Sequence[SettingRow]) -> list[SettingRow]:
    """Return the rows that no other row dominates: is at least as good in all three goals, and better in one."""
    return [row for row in rows if not any(_dominates(other.goals, row.goals) for other in rows)]


def _dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    return all(x >= y for x, y in zip(a, b, strict=True)) and any(x > y for x, y in zip(a, b, strict=True))


def recommended(rows: Sequence[SettingRow]) -> SettingRow:
    """Return the row that `RULE` chooses; of equals that which reaches more. It is on the Pareto front."""
    best = max(rows, key=lambda row: row.target_reached.value)
    reaching = [row for row in rows if row.target_reached.value >= best.target_reached.low]
    kept = max(row.label_kept.value for row in reaching)
    keeping = [row for row in reaching if row.label_kept.value >= kept - LABEL_SLACK - 1e-9]
    return max(keeping, key=lambda row: row.goals[::-1])


@dataclass(frozen=True)
class TuneReport:
    """The result of a sweep.

    Attributes:
        out: folder of the report and the contact sheet, or its URL.
        rows: one per setting, by strength and then by guidance.
        current: the config's own setting, if it is in the grid.
        images: how many were edited.
        skipped: key of an image that could not be edited -> why.
        seconds: all of it, loading the models included.
        cpu_seconds: of this process.
    """

    out: str
    rows: tuple[SettingRow, ...]
    current: Setting
    images: int
    skipped: Mapping[str, str]
    seconds: float
    cpu_seconds: float

    @property
    def recommended(self) -> SettingRow:
        """Return the row of the setting to take."""
        return recommended(self.rows)

    def as_dict(self) -> dict[str, Any]:
        """Return the content of `--json`, and of `report.json`."""
        front = pareto_front(self.rows)
        return {
            "out": self.out,
            "recommended": self.recommended.setting._asdict(),
            "current": self.current._asdict(),
            "rule": RULE,
            "rows": [row.as_dict() | {"on_front": row in front} for row in self.rows],
            "images": self.images,
            "skipped": dict(self.skipped),
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
        }

    def lines(self) -> list[str]:
        """Return lines for a person: a table with the front marked, and why a setting is recommended."""
        front, best = pareto_front(self.rows), self.recommended
        headings = ("label kept", "target reached", "patch distance")
        lines = ["  ".join(("strength  guidance  steps", *(f"{name:20}" for name in headings), "source similarity"))]
        for row in self.rows:
            marks = [
                *(["front"] if row in front else []),
                *(["current"] if row.setting == self.current else []),
                *(["recommended"] if row is best else []),
            ]
            cells = (
                f"{row.setting.strength:<8g}  {row.setting.guidance_scale:<8g}  {row.steps:<5}",
                f"{_cell(row.label_kept):20}",
                f"{_cell(row.target_reached):20}",
                f"{_cell(row.patch_distance):20}",
                f"{row.source_similarity.value:<17.3f}",
                ", ".join(marks),
            )
            lines.append("  ".join(cells).rstrip())
        chosen = f"editing.strength={best.setting.strength:g}, editing.guidance_scale={best.setting.guidance_scale:g}"
        return [
            *lines,
            f"edits           {best.edits} per setting, of {self.images} images; {len(self.skipped)} images left out",
            f"recommended     {chosen}",
            f"why             {RULE}",
            f"look at         {self.out}/contact_sheet.png, {self.out}/report.json",
        ]


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({estimate.low:.3f}-{estimate.high:.3f})"
